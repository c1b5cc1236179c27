"""The routes that are called without FastAPI are those that need nothing of it, and their rights hold."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from tidemill.api.direct import DirectRoutes
from tidemill.api.rights import needs
from tidemill.core.accounts import RIGHTS, Caller, Right, Role
from tidemill.core.errors import NotPermitted
from tidemill.core.ids import new_id

router = APIRouter(prefix="/v1")


@router.post("/whole", dependencies=[needs(Right.MODELS_USE)])
async def whole(request: Request) -> Response:
    return Response(b"whole: " + await request.body())


@router.post("/things/{thing}", dependencies=[needs(Right.MODELS_USE)])
async def by_name(request: Request) -> Response:
    return Response(b"by name")


@router.post("/things/shadowed", dependencies=[needs(Right.MODELS_USE)])
async def shadowed(request: Request) -> Response:
    return Response(b"never")


@router.post("/fields", dependencies=[needs(Right.MODELS_USE)])
async def fields(request: Request, wanted: int) -> Response:
    return Response(b"fields")


@router.post("/model", dependencies=[needs(Right.MODELS_USE)])
async def model(request: Request) -> dict[str, int]:
    return {}


@router.post("/open")
async def for_everyone(request: Request) -> Response:
    return Response(b"open")


def direct() -> DirectRoutes:
    app = FastAPI()
    app.include_router(router)
    return DirectRoutes(app.routes)


def scope(path: str, role: Role = Role.ADMIN, rights: frozenset[Right] | None = None) -> dict[str, Any]:
    caller = Caller(owner_id=new_id(), role=role, rights=RIGHTS[role] if rights is None else rights)
    return {"type": "http", "method": "POST", "path": path, "headers": [], "state": {"caller": caller}}


async def asked(routes: DirectRoutes, scope: dict[str, Any]) -> bytes:
    said: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"body", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message.get("body", b""))

    await routes(scope, receive, send)
    return b"".join(said)


async def test_a_route_that_takes_the_request_alone_is_answered_and_named():
    routes, wanted = direct(), scope("/v1/whole")
    assert routes.has(wanted)
    assert await asked(routes, wanted) == b"whole: body"
    assert wanted["route"].path.endswith("/whole")


async def test_a_caller_without_the_right_is_refused():
    with pytest.raises(NotPermitted):
        await asked(direct(), scope("/v1/whole", rights=frozenset()))


@pytest.mark.parametrize("path", ["/v1/fields", "/v1/model", "/v1/open", "/v1/things/one", "/v1/nothing", "/v1/whole/"])
def test_every_other_route_is_left_to_fastapi(path):
    assert not direct().has(scope(path))


def test_a_route_that_an_earlier_one_stands_before_stays_behind_it():
    assert not direct().has(scope("/v1/things/shadowed"))


def test_another_method_is_another_route():
    assert not direct().has({**scope("/v1/whole"), "method": "GET"})
