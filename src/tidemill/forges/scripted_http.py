"""What the routes of a scripted forge server share: who asks, pages, bodies, and answers in the forges' forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tidemill.core.errors import InvalidInput, NotAuthenticated, NotFound, TidemillError
from tidemill.core.pull_request import Check
from tidemill.forges.scripted import Faults
from tidemill.forges.scripted_site import ScriptedPull, ScriptedSite

STATUSES = {"forge_refused": 422}
LARGEST_PAGE = 100


@dataclass(slots=True)
class Served:
    """What one server serves.

    Attributes:
        site: what the forge holds.
        tokens: whose each token is: logins by token.
        faults: what is to go wrong.
        runs: GitHub's check runs, by id.
        installation: the number of the App's installation.
    """

    site: ScriptedSite
    tokens: Mapping[str, str]
    app_key: str | None = None
    faults: Faults = field(default_factory=Faults)
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    installation: int = 1

    def login(self, token: str) -> str:
        """Whose a token is."""
        if token not in self.tokens:
            raise NotAuthenticated("Bad credentials")
        return self.tokens[token]

    def put_check(self, project: str, check: Check) -> None:
        """Shows a check on the pull requests whose newest commit it is of."""
        for pull in self.site.project(project).pulls.values():
            if pull.head == check.commit:
                pull.checks[check.commit, check.name] = check

    def pull(self, request: Request) -> ScriptedPull:
        """The pull request that a path names."""
        return self.site.pull(request.path_params["project"], request.path_params["number"])

    def found(self, project: str, comment: int) -> tuple[ScriptedPull, int]:
        """The pull request of a project that has a comment."""
        for pull in self.site.project(project).pulls.values():
            if any(said.id == comment for said in pull.comments):
                return pull, comment
        raise NotFound("Not Found")


def refuse(pull: ScriptedPull, action: str) -> None:
    """Goes on where the pull request lets programs do this."""
    if action in pull.refused:
        raise Forbidden("Resource not accessible by integration")


class Forbidden(TidemillError):
    """The account may not do that."""

    status = 403
    code = "forbidden"


async def body_of(request: Request) -> dict[str, Any]:
    """A request's JSON object."""
    try:
        value = await request.json()
    except ValueError as error:
        raise InvalidInput("Problems parsing JSON") from error
    if not isinstance(value, dict):
        raise InvalidInput("Body should be a JSON object")
    return value


def paged(request: Request, items: Sequence[Any], *, size: str = "per_page", default: int = 30) -> Response:
    """One page of a list, with the next one's address in `Link`."""
    per_page = max(1, min(int(request.query_params.get(size, default)), LARGEST_PAGE))
    page = max(1, int(request.query_params.get("page", 1)))
    headers = {}
    if page * per_page < len(items):
        headers["link"] = f'<{request.url.include_query_params(page=page + 1)}>; rel="next"'
    return JSONResponse(list(items[(page - 1) * per_page : page * per_page]), headers=headers)


async def told(request: Request, error: Exception) -> Response:
    """An error in the form that forges share: a `message`."""
    del request
    assert isinstance(error, TidemillError)  # noqa: S101 - it is registered for those alone
    status = STATUSES.get(error.code, error.status)
    return JSONResponse({"message": error.message}, status)
