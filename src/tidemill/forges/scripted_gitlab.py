"""A scripted forge's routes in GitLab's form: as much as the adapter asks for."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.pull_request import Check, CheckState, Position, PullRequestState
from tidemill.forges.scripted_http import Served, body_of, paged, refuse
from tidemill.forges.scripted_site import ScriptedComment, ScriptedPull

_STATES = {PullRequestState.OPEN: "opened", PullRequestState.MERGED: "merged", PullRequestState.CLOSED: "closed"}
_CHECKS = {"success": CheckState.PASSED, "failed": CheckState.FAILED}
_EMOJIS = {"+1": "thumbsup", "-1": "thumbsdown"}


class GitLabRoutes:
    """GitLab's API over a scripted forge."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def routes(self) -> list[Route]:
        """All of them."""
        project = "/api/v4/projects/{project:path}"
        request = project + "/merge_requests/{number:int}"
        return [
            Route("/api/v4/user", self.user),
            Route("/api/v4/users", self.users),
            Route("/api/v4/personal_access_tokens/self", self.token),
            Route(request + "/discussions/{thread}/notes", self.reply, methods=["POST"]),
            Route(request + "/discussions/{thread}", self.resolve, methods=["PUT"]),
            Route(request + "/discussions", self.discussions),
            Route(request + "/discussions", self.begin, methods=["POST"]),
            Route(request + "/notes/{comment:int}/award_emoji", self.emojis),
            Route(request + "/notes/{comment:int}", self.edit, methods=["PUT"]),
            Route(request + "/notes", self.note, methods=["POST"]),
            Route(request, self.merge_request),
            Route(project + "/issues/{number:int}", self.issue),
            Route(project + "/statuses/{sha}", self.status, methods=["POST"]),
            Route(project + "/repository/branches/{branch:path}", self.branch),
            Route(project + "/members/all/{id:int}", self.member),
            Route(project, self.project),
        ]

    def login(self, request: Request) -> str:
        """Who asks."""
        return self._served.login(request.headers.get("private-token", ""))

    async def user(self, request: Request) -> Response:
        """Who the token is."""
        return JSONResponse({"id": 1, "username": self.login(request)})

    async def token(self, request: Request) -> Response:
        """What the token may do."""
        self.login(request)
        return JSONResponse({"scopes": ["api"], "expires_at": None})

    async def project(self, request: Request) -> Response:
        """A project, and what the token's owner may do there."""
        self.login(request)
        project = self._served.site.project(request.path_params["project"])
        access = {"project_access": {"access_level": 30}, "group_access": None}
        return JSONResponse({"path_with_namespace": project.path, "permissions": access})

    async def users(self, request: Request) -> Response:
        """People of a name; the id is made of their place among those who may push."""
        self.login(request)
        name = request.query_params["username"]
        return JSONResponse([{"id": self._ids().get(name, 999), "username": name}])

    async def member(self, request: Request) -> Response:
        """What somebody may do."""
        self.login(request)
        project = self._served.site.project(request.path_params["project"])
        for name in project.writers:
            if self._ids()[name] == request.path_params["id"]:
                return JSONResponse({"id": request.path_params["id"], "access_level": 30})
        raise NotFound("404 Not found")

    async def merge_request(self, request: Request) -> Response:
        """A merge request."""
        self.login(request)
        pull = self._served.pull(request)
        return JSONResponse(
            {
                "iid": pull.number,
                "title": pull.title,
                "description": pull.body,
                "author": {"username": pull.author},
                "state": _STATES[pull.state],
                "draft": pull.draft,
                "source_branch": pull.source,
                "target_branch": pull.target,
                "source_project_id": 2 if pull.fork else 1,
                "target_project_id": 1,
                "sha": pull.head,
                "diff_refs": {"base_sha": pull.base, "head_sha": pull.head, "start_sha": pull.base},
                "web_url": f"/{pull.project}/-/merge_requests/{pull.number}",
                "merge_commit_sha": pull.merge_commit,
                "labels": list(pull.labels),
            }
        )

    async def issue(self, request: Request) -> Response:
        """An issue."""
        self.login(request)
        title, body = self._served.site.issue(request.path_params["project"], request.path_params["number"])
        return JSONResponse({"title": title, "description": body, "confidential": title.startswith("Confidential")})

    async def branch(self, request: Request) -> Response:
        """A branch."""
        self.login(request)
        tip = await self._served.site.tip(request.path_params["project"], request.path_params["branch"])
        default = self._served.site.project(request.path_params["project"]).default == request.path_params["branch"]
        return JSONResponse({"name": request.path_params["branch"], "commit": {"id": tip}, "default": default})

    async def discussions(self, request: Request) -> Response:
        """Every thread and every note that stands alone, in the order in which they began."""
        self.login(request)
        pull = self._served.pull(request)
        found: dict[str, list[ScriptedComment]] = {}
        for said in pull.comments:
            found.setdefault(said.thread or f"note-{said.id}", []).append(said)
        return paged(request, [_discussion(pull, thread, notes) for thread, notes in found.items()], default=20)

    async def begin(self, request: Request) -> Response:
        """A new thread on lines of the diff."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment_inline")
        place = body["position"]
        if place["head_sha"] != pull.head or place["base_sha"] != pull.base or "new_line" not in place:
            raise InvalidInput('400 Bad request - Note {:line_code=>["can\'t be blank"]}')
        await self._check_sides(pull, place)
        end = int(place["new_line"])
        begin = place.get("line_range", {}).get("start", {}).get("new_line", end)
        position = Position(place["new_path"], begin, end)
        said = await self._served.site.say_inline(pull, login, str(body["body"]), position)
        return JSONResponse(_discussion(pull, str(said.thread), [said]), 201)

    async def note(self, request: Request) -> Response:
        """A comment on the whole."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "comment")
        return JSONResponse(_note(pull, await self._served.site.say(pull, login, str(body["body"]))), 201)

    async def reply(self, request: Request) -> Response:
        """An answer in a thread."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        first = self._first(pull, request.path_params["thread"])
        return JSONResponse(_note(pull, await self._served.site.say(pull, login, str(body["body"]), first.id)), 201)

    async def edit(self, request: Request) -> Response:
        """Another text for a note."""
        self.login(request)
        pull, body = self._served.pull(request), await body_of(request)
        return JSONResponse(_note(pull, self._served.site.edit(pull, request.path_params["comment"], body["body"])))

    async def resolve(self, request: Request) -> Response:
        """A thread resolved, or not any more."""
        login, pull, body = self.login(request), self._served.pull(request), await body_of(request)
        refuse(pull, "resolve")
        thread = request.path_params["thread"]
        await self._served.site.resolve(pull, thread, login, resolved=body["resolved"] is True)
        notes = [said for said in pull.comments if said.thread == thread]
        return JSONResponse(_discussion(pull, thread, notes))

    async def emojis(self, request: Request) -> Response:
        """The reactions to a note, one for each person."""
        self.login(request)
        said = self._served.site.comment(self._served.pull(request), request.path_params["comment"])
        found = [
            {"name": _EMOJIS.get(name, name), "user": {"username": person}}
            for name, people in said.reactions.items()
            for person in sorted(people)
        ]
        return paged(request, found, default=20)

    async def status(self, request: Request) -> Response:
        """A commit's status."""
        self.login(request)
        body, path = await body_of(request), request.path_params
        state = _CHECKS.get(str(body["state"]), CheckState.RUNNING)
        for pull in self._served.site.project(path["project"]).pulls.values():
            old = pull.checks.get((path["sha"], str(body["name"])))
            if old is not None and old.state is state:
                raise InvalidInput(f"Cannot transition status via :{body['state']} from :{body['state']}")
        check = Check(str(body["name"]), path["sha"], state, str(body.get("description", "")), "")
        self._served.put_check(path["project"], check)
        return JSONResponse({"status": body["state"], "name": check.name}, 201)

    def _ids(self) -> dict[str, int]:
        names = {name for project in self._served.site.projects.values() for name in project.writers}
        return {name: number for number, name in enumerate(sorted(names), start=10)}

    def _first(self, pull: ScriptedPull, thread: str) -> ScriptedComment:
        for said in pull.comments:
            if said.thread == thread:
                return said
        raise NotFound("404 Discussion Not Found")

    async def _check_sides(self, pull: ScriptedPull, place: dict[str, Any]) -> None:
        """GitLab finds a line by both numbers where it stands on both sides, and by one where it was added."""
        for file in (await self._served.site.diff(pull)).files:
            for line in (line for hunk in file.hunks for line in hunk.lines if file.path == place["new_path"]):
                if line.new == place["new_line"] and line.old != place.get("old_line"):
                    raise InvalidInput('400 Bad request - Note {:line_code=>["can\'t be blank"]}')


def _discussion(pull: ScriptedPull, thread: str, notes: list[ScriptedComment]) -> dict[str, Any]:
    return {"id": thread, "individual_note": notes[0].thread is None, "notes": [_note(pull, one) for one in notes]}


def _note(pull: ScriptedPull, said: ScriptedComment) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": said.id,
        "type": None if said.thread is None else "DiffNote",
        "body": said.body,
        "author": {"id": 1, "username": said.author},
        "created_at": said.created_at.isoformat(),
        "system": False,
    }
    if said.thread is not None:
        current = said.position is not None
        made |= {
            "resolvable": True,
            "resolved": pull.resolved[said.thread],
            "position": {
                "head_sha": pull.head if current else said.commit,
                "new_path": said.path,
                "new_line": said.end,
                "line_range": {"start": {"new_line": said.start}} if current else None,
            },
        }
    return made
