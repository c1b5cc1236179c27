"""Each route names what right it needs; a test holds every route to it. The table of who may do what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.routing import BaseRoute

from tidemill.api.gate import caller_of
from tidemill.core.accounts import RIGHTS, Right, Role

router = APIRouter(tags=["people"])


class Needs:
    """Lets in callers with a right, and nobody else. A dependency of a route: `dependencies=[needs(Right.FILES)]`."""

    def __init__(self, right: Right) -> None:
        self.right = right

    async def __call__(self, request: Request) -> None:
        """Checks one request.

        Raises:
            NotPermitted: the caller does not have the right.
        """
        caller_of(request.scope).require(self.right)


def needs(right: Right) -> Any:
    """The dependency that lets in callers with this right."""
    return Depends(Needs(right))


@dataclass(frozen=True, slots=True)
class RouteRight:
    """A route and the rights that it needs, all of them; none where everyone may call it."""

    method: str
    path: str
    rights: tuple[Right, ...]


def route_rights(routes: Sequence[BaseRoute]) -> Iterator[RouteRight]:
    """Which route needs which rights, as the routes themselves say."""
    for route in iter_route_contexts(routes):
        named = [one.dependency for one in getattr(route, "dependencies", ())]
        rights = tuple(one.right for one in named if isinstance(one, Needs))
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield RouteRight(method, route.path or "", rights)


class RouteShown(BaseModel):
    """A route, and the rights that it needs, all of them; none where everyone may call it."""

    method: str
    path: str
    rights: list[Right]


class Rights(BaseModel):
    """What each role may do, and which route needs what."""

    object: Literal["rights"] = "rights"
    roles: dict[Role, list[Right]]
    routes: list[RouteShown]


@router.get("/rights", summary="Who may do what", dependencies=[needs(Right.ACCOUNT)])
async def list_rights(request: Request) -> Rights:
    """The rights of each role, and the rights that each route under `/v1` needs."""
    shown = [one for one in route_rights(request.app.routes) if one.path.startswith("/v1/")]
    return Rights(
        roles={role: sorted(RIGHTS[role]) for role in Role},
        routes=[RouteShown(method=one.method, path=one.path, rights=list(one.rights)) for one in shown],
    )
