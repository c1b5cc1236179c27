"""A scripted forge's routes in Gitea's form: as much as the adapter asks for."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.core.errors import NotFound
from tidemill.core.pull_request import Check, CheckState, Position
from tidemill.forges.scripted_http import Served, body_of, paged, refuse
from tidemill.forges.scripted_payloads import github_comment, github_pull
from tidemill.forges.scripted_site import ScriptedComment, ScriptedPull

_CHECKS = {"success": CheckState.PASSED, "failure": CheckState.FAILED, "error": CheckState.FAILED}


class GiteaRoutes:
    """Gitea's API over a scripted forge. Each inline comment is a review of its own."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def routes(self) -> list[Route]:
        """All of them."""
        repo = "/api/v1/repos/{project:path}"
        return [
            Route("/api/v1/user", self.user),
            Route(repo + "/pulls/comments/{comment:int}/resolve", self.resolve, methods=["POST"]),
            Route(repo + "/pulls/{number:int}/reviews/{review:int}/comments", self.review_comments),
            Route(repo + "/pulls/{number:int}/reviews", self.reviews),
            Route(repo + "/pulls/{number:int}/reviews", self.review, methods=["POST"]),
            Route(repo + "/pulls/{number:int}", self.pull),
            Route(repo + "/issues/{number:int}/comments", self.comments),
            Route(repo + "/issues/{number:int}/comments", self.comment, methods=["POST"]),
            Route(repo + "/issues/{number:int}", self.issue),
            Route(repo + "/issues/comments/{comment:int}/reactions", self.reactions),
            Route(repo + "/issues/comments/{comment:int}", self.edit, methods=["PATCH"]),
            Route(repo + "/statuses/{sha}", self.status, methods=["POST"]),
            Route(repo + "/collaborators/{login}/permission", self.permission),
            Route(repo, self.repository),
        ]

    def login(self, request: Request) -> str:
        """Who asks."""
        return self._served.login(request.headers.get("authorization", "").removeprefix("token "))

    async def user(self, request: Request) -> Response:
        """Who the token is."""
        return JSONResponse({"login": self.login(request)})

    async def repository(self, request: Request) -> Response:
        """A project."""
        self.login(request)
        project = self._served.site.project(request.path_params["project"])
        return JSONResponse({"full_name": project.path, "permissions": {"pull": True, "push": True, "admin": False}})

    async def issue(self, request: Request) -> Response:
        """An issue, or a pull request in an issue's form."""
        self.login(request)
        number = request.path_params["number"]
        project = self._served.site.project(request.path_params["project"])
        if number in project.pulls:
            return JSONResponse({"title": project.pulls[number].title, "body": None, "pull_request": {}})
        title, body = self._served.site.issue(project.path, number)
        return JSONResponse({"title": title, "body": body})

    async def pull(self, request: Request) -> Response:
        """A pull request."""
        self.login(request)
        pull = self._served.pull(request)
        made = github_pull(pull)
        made["head"] |= {"repo_id": 2 if pull.fork else 1}
        default = self._served.site.project(pull.project).default
        tip = await self._served.site.target_head(pull)
        made["base"] |= {"repo_id": 1, "sha": tip, "repo": {"default_branch": default}}
        return JSONResponse(made | {"merge_base": pull.base})

    async def comments(self, request: Request) -> Response:
        """The comments on the whole, all at once."""
        self.login(request)
        found = [said for said in self._served.pull(request).comments if said.thread is None]
        return JSONResponse([github_comment(said) for said in found])

    async def comment(self, request: Request) -> Response:
        """A comment on the whole."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment")
        return JSONResponse(github_comment(await self._served.site.say(pull, login, str(body["body"]))), 201)

    async def edit(self, request: Request) -> Response:
        """Another text for a comment."""
        self.login(request)
        pull, comment = self._served.found(request.path_params["project"], request.path_params["comment"])
        body = await body_of(request)
        return JSONResponse(github_comment(self._served.site.edit(pull, comment, str(body["body"]))))

    async def reviews(self, request: Request) -> Response:
        """The reviews, page by page."""
        self.login(request)
        found = [said for said in self._served.pull(request).comments if said.thread is not None]
        return paged(request, [{"id": said.id, "comments_count": 1} for said in found], size="limit")

    async def review(self, request: Request) -> Response:
        """A review with one inline comment; on a line that has a thread, an answer in it."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment_inline")
        given = body["comments"][0]
        position = Position(given["path"], int(given["new_position"]), int(given["new_position"]))
        first = next((said for said in pull.comments if said.thread and said.position == position), None)
        if first is not None:
            said = await self._served.site.say(pull, login, str(given["body"]), first.id)
        else:
            said = await self._served.site.say_inline(pull, login, str(given["body"]), position, str(body["commit_id"]))
        return JSONResponse({"id": said.id, "comments_count": 1})

    async def review_comments(self, request: Request) -> Response:
        """The comments of a review."""
        self.login(request)
        pull = self._served.pull(request)
        said = self._served.site.comment(pull, request.path_params["review"])
        return JSONResponse([_inline(pull, said)])

    async def resolve(self, request: Request) -> Response:
        """A thread resolved."""
        login = self.login(request)
        pull, comment = self._served.found(request.path_params["project"], request.path_params["comment"])
        refuse(pull, "resolve")
        thread = self._served.site.comment(pull, comment).thread
        if thread is None:
            raise NotFound("The target couldn't be found.")
        await self._served.site.resolve(pull, thread, login)
        return Response(status_code=204)

    async def reactions(self, request: Request) -> Response:
        """The reactions to a comment; `null` where there are none."""
        self.login(request)
        pull, comment = self._served.found(request.path_params["project"], request.path_params["comment"])
        counts = self._served.site.comment(pull, comment).reactions
        found = [{"content": name, "user": {"login": person}} for name, people in counts.items() for person in people]
        return JSONResponse(found or None)

    async def status(self, request: Request) -> Response:
        """A commit's status."""
        self.login(request)
        body, path = await body_of(request), request.path_params
        state = _CHECKS.get(str(body["state"]), CheckState.RUNNING)
        check = Check(str(body["context"]), path["sha"], state, str(body.get("description", "")), "")
        self._served.put_check(path["project"], check)
        return JSONResponse({"status": body["state"], "context": check.name}, 201)

    async def permission(self, request: Request) -> Response:
        """What somebody may do."""
        self.login(request)
        project = self._served.site.project(request.path_params["project"])
        return JSONResponse({"permission": "write" if request.path_params["login"] in project.writers else "read"})


def _inline(pull: ScriptedPull, said: ScriptedComment) -> dict[str, Any]:
    resolved = said.thread is not None and pull.resolved[said.thread]
    return {
        **github_comment(said),
        "path": said.path,
        "position": said.end or 0,
        "original_position": 0,
        "commit_id": pull.head if said.position is not None else said.commit,
        "resolver": {"login": "maintainer"} if resolved else None,
    }
