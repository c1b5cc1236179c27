"""The table of rights holds on a running hub: for every route, under both prefixes, and every role."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, upstream
from tidemill.api.app import add_routes
from tidemill.api.gate import is_open
from tidemill.api.rights import RouteRight, route_rights
from tidemill.core.accounts import RIGHTS, Right, Role

NOTHING = "00000000-0000-0000-0000-000000000000"
SCOPE = Right.MODELS_READ


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with upstream(tmp_path_factory.mktemp("upstream")) as scripted:
        data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
        with running_hub(data_dir, scripted_settings(scripted.url)) as running:
            yield running


@pytest.fixture(scope="module")
def admin(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as client:
        yield client


@pytest.fixture(scope="module")
def people(admin: httpx.Client) -> dict[Role, dict[str, Any]]:
    """A person of each role, with a key of their own."""
    found = {}
    for role in Role:
        user = done(admin.post("/v1/users", json={"email": f"{role}@example.org", "name": role, "role": role}))
        key = done(admin.post("/v1/keys", json={"name": role, "role": role, "owner_id": user["id"]}))
        found[role] = {**user, "key": key["key"]}
    return found


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def routes() -> list[RouteRight]:
    app = FastAPI(openapi_url=None)
    add_routes(app)
    return list(route_rights(app.routes))


def refused(client: httpx.Client, route: RouteRight, secret: str) -> bool:
    """Whether the route is refused for want of a right. Whatever else is said to a request about nothing is fine."""
    path = re.sub(r"\{[^}]*\}", NOTHING, route.path)
    body = {} if route.method in {"POST", "PUT", "PATCH"} else None
    answer = client.request(route.method, path, json=body, headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code < 500, f"{route.method} {path}: {answer.text}"
    assert answer.status_code != 401, f"{route.method} {path}: {answer.text}"
    return answer.status_code == 403 and "This needs the right" in answer.json()["error"]["message"]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.unmeasured
def test_a_route_is_refused_exactly_when_the_role_lacks_a_right_to_it(
    admin: httpx.Client, people: dict[Role, dict[str, Any]], role: Role
) -> None:
    wrong = [
        route
        for route in routes()
        if not is_open(route.path)
        and refused(admin, route, people[role]["key"]) is not (not set(route.rights) <= RIGHTS[role])
    ]
    assert wrong == []


def test_a_key_narrowed_to_one_scope_reaches_the_routes_of_that_right_alone(
    admin: httpx.Client, people: dict[Role, dict[str, Any]]
) -> None:
    body = {"name": "narrow", "role": "admin", "owner_id": people[Role.ADMIN]["id"], "scopes": [SCOPE]}
    key = done(admin.post("/v1/keys", json=body))["key"]
    wrong = [
        route
        for route in routes()
        if not is_open(route.path) and refused(admin, route, key) is not (set(route.rights) != {SCOPE})
    ]
    assert wrong == []


def test_nothing_but_the_open_routes_answers_a_stranger(hub: Hub) -> None:
    with httpx.Client(base_url=hub.url, trust_env=False) as stranger:
        let_in = [
            route.path
            for route in routes()
            if not is_open(route.path)
            and stranger.request(route.method, re.sub(r"\{[^}]*\}", NOTHING, route.path)).status_code != 401
        ]
        assert let_in == []
        assert stranger.get("/openapi.json").status_code == 401


def test_the_table_is_served_as_it_is_enforced(admin: httpx.Client) -> None:
    table = done(admin.get("/v1/rights"))
    assert {role: set(rights) for role, rights in table["roles"].items()} == {role: RIGHTS[role] for role in Role}
    served = {(route["method"], route["path"]): tuple(route["rights"]) for route in table["routes"]}
    assert served == {(route.method, route.path): route.rights for route in routes() if route.path.startswith("/v1/")}
    assert all(rights for (_, path), rights in served.items() if not is_open(path))


def test_a_lesser_role_acts_on_a_persons_key(admin: httpx.Client) -> None:
    user = done(admin.post("/v1/users", json={"email": "falls@example.org", "name": "Falls", "role": "admin"}))
    key = done(admin.post("/v1/keys", json={"name": "x", "role": "admin", "owner_id": user["id"]}))["key"]
    own = {"authorization": f"Bearer {key}"}
    assert admin.get("/v1/audit", headers=own).status_code == 200
    done(admin.patch(f"/v1/users/{user['id']}", json={"role": "viewer"}))
    assert admin.get("/v1/audit", headers=own).status_code == 403
    assert done(admin.get("/v1/me", headers=own))["role"] == "viewer"
    done(admin.patch(f"/v1/users/{user['id']}", json={"disabled": True}))
    assert admin.get("/v1/me", headers=own).status_code == 401
