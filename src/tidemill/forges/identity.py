"""Who Tidemill is on a forge, and which rights it lacks there, as far as the forge says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import BaseModel

from tidemill.core.errors import NotFound
from tidemill.forges.rest import Rest, Sign

GITHUB_APP_RIGHTS = {"contents": "read", "pull_requests": "write", "issues": "write", "checks": "write"}
GITHUB_EVENTS = (
    "pull_request",
    "issue_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_review_thread",
)
NO_PROJECT = "whether the account may write on a project: name one with --project"
_REPORTER, _DEVELOPER = 20, 30


@dataclass(frozen=True, slots=True)
class Identity:
    """Who Tidemill is on a forge.

    Attributes:
        login: the account.
        missing: rights and events that it needs and lacks, in words.
        unknown: what the forge does not say without a project.
    """

    login: str
    missing: Sequence[str] = ()
    unknown: str | None = None


class _App(BaseModel):
    slug: str
    permissions: dict[str, str] = {}
    events: list[str] | None = None


class _Login(BaseModel):
    login: str


class _Permissions(BaseModel):
    pull: bool = False
    push: bool = False


class _Repository(BaseModel):
    permissions: _Permissions = _Permissions()


class _Username(BaseModel):
    username: str


class _Scopes(BaseModel):
    scopes: list[str]


class _Access(BaseModel):
    access_level: int


class _Accesses(BaseModel):
    project_access: _Access | None = None
    group_access: _Access | None = None


class _Project(BaseModel):
    permissions: _Accesses = _Accesses()


async def github_app(rest: Rest, sign: Sign) -> Identity:
    """An App, by its own token."""
    app = await rest.one(_App, sign, "GET", "/app")
    missing = [
        f"the permission `{name}: {level}`"
        for name, level in GITHUB_APP_RIGHTS.items()
        if app.permissions.get(name) not in {level, "write"}
    ]
    if app.events is not None:
        missing += [f"the event `{event}`" for event in GITHUB_EVENTS if event not in app.events]
    return Identity(f"{app.slug}[bot]", missing)


async def github_token(rest: Rest, sign: Sign, project: str | None) -> Identity:
    """A token's owner. Only a classic token says its scopes; another is tried on a project."""
    answer = await rest.send(sign, "GET", f"{rest.base}/user", None)
    login = _Login.model_validate_json(answer.content).login
    scopes = answer.headers.get("x-oauth-scopes")
    if scopes:
        held = {scope.strip() for scope in scopes.split(",")}
        return Identity(login, [] if held & {"repo", "public_repo"} else ["the scope `repo`"])
    return await _on_repository(rest, sign, login, project)


async def gitlab_token(rest: Rest, sign: Sign, project: str | None) -> Identity:
    """A token's owner; with a project, also what the owner may do there."""
    login = (await rest.one(_Username, sign, "GET", "/user")).username
    missing = []
    unknown = None
    try:
        scopes = (await rest.one(_Scopes, sign, "GET", "/personal_access_tokens/self")).scopes
        missing += [] if "api" in scopes else ["the scope `api`"]
    except NotFound:
        unknown = "the token's scopes: GitLab says them from version 15.5 on"
    if project is None:
        return Identity(login, missing, unknown or NO_PROJECT)
    found = await rest.one(_Project, sign, "GET", f"/projects/{quote(project, safe='')}")
    held = [one.access_level for one in (found.permissions.project_access, found.permissions.group_access) if one]
    level = max(held, default=0)
    if level < _REPORTER:
        missing.append(f"the role Reporter in {project}: it writes comments")
    if level < _DEVELOPER:
        missing.append(f"the role Developer in {project}: it writes commit statuses and resolves threads")
    return Identity(login, missing, unknown)


async def gitea_token(rest: Rest, sign: Sign, project: str | None) -> Identity:
    """A token's owner; with a project, also what the owner may do there."""
    login = (await rest.one(_Login, sign, "GET", "/user")).login
    return await _on_repository(rest, sign, login, project)


async def _on_repository(rest: Rest, sign: Sign, login: str, project: str | None) -> Identity:
    if project is None:
        return Identity(login, (), NO_PROJECT)
    may = (await rest.one(_Repository, sign, "GET", f"/repos/{quote(project)}")).permissions
    needed: Mapping[str, bool] = {"read": may.pull, "write commit statuses and resolve threads": may.push}
    return Identity(login, [f"the right to {what} in {project}" for what, held in needed.items() if not held])
