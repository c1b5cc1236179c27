"""A scripted forge's routes in GitHub's form: as much as the adapter asks for, with GitHub's bounds."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.core.errors import NotAuthenticated, NotFound
from tidemill.core.pull_request import Annotation, AnnotationLevel, Check, CheckState, Position
from tidemill.forges.port import Refused
from tidemill.forges.scripted_http import Served, body_of, refuse
from tidemill.forges.scripted_payloads import github_comment, github_pull
from tidemill.forges.scripted_site import ScriptedComment, ScriptedPull

MOST_ANNOTATIONS = 50
SUMMARY_LIMIT = 65_535
_REACTIONS = {"+1": "THUMBS_UP", "-1": "THUMBS_DOWN"}
_STATES = {"success": CheckState.PASSED, "failure": CheckState.FAILED, "neutral": CheckState.NEUTRAL}
_STATUS_STATES = {"success": CheckState.PASSED, "failure": CheckState.FAILED, "error": CheckState.FAILED}


class GitHubRoutes:
    """GitHub's API over a scripted forge."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def routes(self) -> list[Route]:
        """All of them; they stand under /api, as on an Enterprise server."""
        repo = "/api/v3/repos/{project:path}"
        return [
            Route("/api/graphql", self.graphql, methods=["POST"]),
            Route("/api/v3/user", self.user),
            Route("/api/v3/app", self.app),
            Route("/api/v3/app/installations/{id:int}/access_tokens", self.access_token, methods=["POST"]),
            Route(repo + "/installation", self.installation),
            Route(repo + "/pulls/{number:int}/comments/{first:int}/replies", self.reply, methods=["POST"]),
            Route(repo + "/pulls/{number:int}/comments", self.comment_inline, methods=["POST"]),
            Route(repo + "/pulls/{number:int}", self.pull),
            Route(repo + "/compare/{base}...{head}", self.compare),
            Route(repo + "/branches/{branch:path}", self.branch),
            Route(repo + "/issues/{number:int}/comments", self.comment, methods=["POST"]),
            Route(repo + "/issues/{number:int}", self.issue),
            Route(repo + "/issues/comments/{comment:int}", self.edit, methods=["PATCH"]),
            Route(repo + "/pulls/comments/{comment:int}", self.edit, methods=["PATCH"]),
            Route(repo + "/commits/{sha}/check-runs", self.runs),
            Route(repo + "/check-runs", self.start_run, methods=["POST"]),
            Route(repo + "/check-runs/{run:int}", self.change_run, methods=["PATCH"]),
            Route(repo + "/statuses/{sha}", self.status, methods=["POST"]),
            Route(repo + "/collaborators/{login}/permission", self.permission),
            Route(repo, self.repository),
        ]

    def login(self, request: Request) -> str:
        """Who asks."""
        return self._served.login(request.headers.get("authorization", "").removeprefix("Bearer "))

    def _app(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            key = RSAKey.import_key(self._served.app_key or "")
            claims = jwt.decode(token, key, algorithms=["RS256"]).claims
        except (JoseError, ValueError) as error:
            raise NotAuthenticated("A JSON web token could not be decoded") from error
        if int(claims["exp"]) - int(claims["iat"]) > 660:
            raise NotAuthenticated("'Expiration time' claim ('exp') is too far in the future")

    async def user(self, request: Request) -> Response:
        """Who the token is."""
        return JSONResponse({"login": self.login(request)}, headers={"x-oauth-scopes": "repo"})

    async def app(self, request: Request) -> Response:
        """Which App asks."""
        self._app(request)
        return JSONResponse({"slug": "tidemill", "permissions": {"pull_requests": "write", "checks": "write"}})

    async def installation(self, request: Request) -> Response:
        """The App's installation that holds a project."""
        self._app(request)
        self._served.site.project(request.path_params["project"])
        return JSONResponse({"id": self._served.installation})

    async def access_token(self, request: Request) -> Response:
        """An installation's token."""
        self._app(request)
        if request.path_params["id"] != self._served.installation:
            raise NotFound("Not Found")
        ends = self._served.site.clock() + timedelta(hours=1)
        token = next(iter(self._served.tokens))
        return JSONResponse({"token": token, "expires_at": ends.isoformat()}, 201)

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
        made = github_pull(pull := self._served.pull(request))
        made["base"]["repo"] |= {"default_branch": self._served.site.project(pull.project).default}
        return JSONResponse(made)

    async def compare(self, request: Request) -> Response:
        """Where two commits part."""
        self.login(request)
        repository = self._served.site.project(request.path_params["project"]).repository
        base = await repository.merge_base(request.path_params["base"], request.path_params["head"])
        return JSONResponse({"merge_base_commit": {"sha": base}, "files": []})

    async def branch(self, request: Request) -> Response:
        """A branch."""
        self.login(request)
        tip = await self._served.site.tip(request.path_params["project"], request.path_params["branch"])
        return JSONResponse({"name": request.path_params["branch"], "commit": {"sha": tip}})

    async def comment(self, request: Request) -> Response:
        """A comment on the whole."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment")
        return JSONResponse(github_comment(await self._served.site.say(pull, login, str(body.get("body", "")))), 201)

    async def comment_inline(self, request: Request) -> Response:
        """A new thread."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment_inline")
        end = int(body["line"])
        position = Position(str(body["path"]), int(body.get("start_line", end)), end)
        said = await self._served.site.say_inline(pull, login, str(body["body"]), position, str(body["commit_id"]))
        return JSONResponse(github_comment(said), 201)

    async def reply(self, request: Request) -> Response:
        """An answer in a thread."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        said = await self._served.site.say(pull, login, str(body["body"]), request.path_params["first"])
        return JSONResponse(github_comment(said), 201)

    async def edit(self, request: Request) -> Response:
        """Another text for a comment."""
        self.login(request)
        pull, comment = self._served.found(request.path_params["project"], request.path_params["comment"])
        body = await body_of(request)
        return JSONResponse(github_comment(self._served.site.edit(pull, comment, str(body["body"]))))

    async def permission(self, request: Request) -> Response:
        """What somebody may do."""
        self.login(request)
        project = self._served.site.project(request.path_params["project"])
        return JSONResponse({"permission": "write" if request.path_params["login"] in project.writers else "read"})

    async def status(self, request: Request) -> Response:
        """A commit's status."""
        self.login(request)
        body, path = await body_of(request), request.path_params
        if len(str(body.get("description", ""))) > 140:
            raise Refused("Description is too long (maximum is 140 characters)")
        state = _STATUS_STATES.get(str(body["state"]), CheckState.RUNNING)
        check = Check(str(body["context"]), path["sha"], state, str(body.get("description", "")), "")
        self._served.put_check(path["project"], check)
        return JSONResponse({"state": body["state"], "context": check.name}, 201)

    async def runs(self, request: Request) -> Response:
        """A commit's check runs of a name, newest first."""
        self.login(request)
        name, sha = request.query_params.get("check_name"), request.path_params["sha"]
        found = [run for run in self._served.runs.values() if run["head_sha"] == sha and run["name"] == name]
        shown = [_run(run) for run in reversed(found)]
        return JSONResponse({"total_count": len(shown), "check_runs": shown})

    async def start_run(self, request: Request) -> Response:
        """A new check run."""
        self.login(request)
        body = await body_of(request)
        await self._served.site.project(request.path_params["project"]).repository.commit_of(str(body["head_sha"]))
        run = {"id": len(self._served.runs) + 1, "name": body["name"], "head_sha": body["head_sha"], "annotations": []}
        changed = self._changed(request, run, body)
        self._served.runs[int(run["id"])] = changed
        return JSONResponse(_run(changed), 201)

    async def change_run(self, request: Request) -> Response:
        """A change of a check run; annotations are added to those that it has."""
        self.login(request)
        run = self._served.runs[request.path_params["run"]]
        self._served.runs[int(run["id"])] = self._changed(request, run, await body_of(request))
        return JSONResponse(_run(self._served.runs[int(run["id"])]))

    def _changed(self, request: Request, run: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        output = body.get("output") or {}
        annotations = output.get("annotations") or []
        if len(annotations) > MOST_ANNOTATIONS:
            raise Refused(f"Invalid request. No more than {MOST_ANNOTATIONS} items are allowed in annotations.")
        if len(output.get("summary") or "") > SUMMARY_LIMIT:
            raise Refused(f"Only {SUMMARY_LIMIT} characters are allowed for summary.")
        made = {**run, "status": "queued", **body, "annotations": [*run["annotations"], *annotations]}
        if "conclusion" in body:
            made["status"] = "completed"
        self._served.put_check(request.path_params["project"], _check(made))
        return made

    async def graphql(self, request: Request) -> Response:
        """The queries of the adapter, told apart by what they ask for."""
        login, body = self.login(request), await body_of(request)
        query, variables = str(body["query"]), body.get("variables") or {}
        site = self._served.site
        if "resolveReviewThread" in query:
            for project in site.projects.values():
                for pull in project.pulls.values():
                    if variables["id"] in pull.resolved:
                        refuse(pull, "resolve")
                        await site.resolve(pull, variables["id"], login)
                        thread = {"id": variables["id"], "isResolved": True}
                        return JSONResponse({"data": {"resolveReviewThread": {"thread": thread}}})
            return _error("NOT_FOUND", "Could not resolve to a node with the global id")
        after = int(variables.get("after") or 0)
        if "node(id" in query:
            found = next(p for project in site.projects.values() for p in project.pulls.values()
                         if variables["id"] in p.resolved)  # fmt: skip
            comments = [said for said in found.comments if said.thread == variables["id"]]
            return JSONResponse(
                {"data": {"node": {"page": _page([_node(one, login) for one in comments], after, 100)}}}
            )
        path = f"{variables['owner']}/{variables['name']}"
        if path not in site.projects or variables["number"] not in site.projects[path].pulls:
            return _error("NOT_FOUND", "Could not resolve to a PullRequest")
        pull = site.pull(path, variables["number"])
        if "reviewThreads" in query:
            page = _page([_thread(pull, thread, login) for thread in pull.resolved], after, 50)
        else:
            page = _page([_node(one, login) for one in pull.comments if one.thread is None], after, 100)
        return JSONResponse({"data": {"repository": {"pullRequest": {"page": page}}}})


def _thread(pull: ScriptedPull, thread: str, login: str) -> dict[str, Any]:
    comments = [said for said in pull.comments if said.thread == thread]
    first = comments[0]
    return {
        "id": thread,
        "isResolved": pull.resolved[thread],
        "path": first.path,
        "line": first.end,
        "startLine": first.start if first.start != first.end else None,
        "diffSide": "RIGHT",
        "comments": _page([_node(one, login) for one in comments], 0, 50),
    }


def _node(said: ScriptedComment, login: str) -> dict[str, Any]:
    name = said.author.removesuffix("[bot]")
    return {
        "fullDatabaseId": str(said.id),
        "body": said.body,
        "createdAt": said.created_at.isoformat(),
        "viewerDidAuthor": said.author == login,
        "author": {"login": name, "__typename": "User" if name == said.author else "Bot"},
        "reactionGroups": [
            {"content": _REACTIONS.get(reaction, reaction.upper()), "reactors": {"totalCount": len(people)}}
            for reaction, people in said.reactions.items()
        ],
    }


def _page(nodes: Sequence[Any], after: int, size: int) -> dict[str, Any]:
    end = after + size
    info = {"hasNextPage": end < len(nodes), "endCursor": str(end)}
    return {"pageInfo": info, "nodes": list(nodes[after:end])}


def _error(kind: str, message: str) -> Response:
    return JSONResponse({"data": None, "errors": [{"type": kind, "message": message}]})


def _run(run: dict[str, Any]) -> dict[str, Any]:
    shown = {name: run.get(name) for name in ("id", "name", "head_sha", "status", "conclusion", "external_id")}
    return {**shown, "output": {"annotations_count": len(run["annotations"])}}


def _check(run: dict[str, Any]) -> Check:
    output = run.get("output") or {}
    state = _STATES.get(run.get("conclusion") or "", CheckState.RUNNING)
    annotations = tuple(
        Annotation(
            Position(one["path"], one["start_line"], one["end_line"]),
            AnnotationLevel(one["annotation_level"]),
            one.get("title") or "",
            one["message"],
        )
        for one in run["annotations"]
    )
    return Check(
        run["name"],
        run["head_sha"],
        state,
        output.get("title") or "",
        output.get("summary") or "",
        annotations,
        run.get("details_url"),
    )
