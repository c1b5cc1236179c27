"""Each route names the right that it needs; a test holds every route to it. The table of who may do what."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
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
    """A route and the right that it needs; none where everyone may call it."""

    method: str
    path: str
    right: Right | None


def route_rights(routes: Iterable[BaseRoute]) -> Iterator[RouteRight]:
    """Which route needs which right, as the routes themselves say."""
    for route in routes:
        if isinstance(route, APIRoute):
            found = needed(route)
            for method in sorted(route.methods or ()):
                yield RouteRight(method, route.path, found[0] if found else None)


def needed(route: APIRoute) -> Sequence[Right]:
    """The rights that a route names."""
    calls = [one.dependency for one in route.dependencies]
    return [call.right for call in calls if isinstance(call, Needs)]


class RouteShown(BaseModel):
    """A route, and the right that it needs; null where everyone may call it."""

    method: str
    path: str
    right: Right | None


class Rights(BaseModel):
    """What each role may do, and which route needs what."""

    object: Literal["rights"] = "rights"
    roles: dict[Role, list[Right]]
    routes: list[RouteShown]


@router.get("/rights", summary="Who may do what", dependencies=[needs(Right.ACCOUNT)])
async def list_rights(request: Request) -> Rights:
    """The rights of each role, and the right that each route under `/v1` needs."""
    shown = [one for one in route_rights(request.app.routes) if one.path.startswith("/v1/")]
    return Rights(
        roles={role: sorted(RIGHTS[role]) for role in Role},
        routes=[RouteShown(method=one.method, path=one.path, right=one.right) for one in shown],
    )
