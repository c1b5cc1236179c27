"""What each role may do, and that every route asks for a right."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.conftest import NOON
from tidemill.accounts.key_check import caller_of_key
from tidemill.api.app import add_routes
from tidemill.api.gate import PREFIXES, is_open
from tidemill.api.rights import RouteRight, route_rights
from tidemill.core.accounts import RIGHTS, ApiKey, Caller, Right, Role, narrowed
from tidemill.core.classification import Level
from tidemill.core.errors import NotPermitted
from tidemill.core.ids import new_id
from tidemill.store.api_keys import Owner


@pytest.fixture(scope="module")
def routes() -> list[RouteRight]:
    app = FastAPI(openapi_url=None)
    add_routes(app)
    return list(route_rights(app.routes))


def test_every_route_needs_a_right_or_is_open_to_everyone(routes: list[RouteRight]) -> None:
    assert all(is_open(route.path) == (not route.rights) for route in routes)
    assert len(routes) > 100


def test_both_prefixes_ask_for_the_same(routes: list[RouteRight]) -> None:
    first, second = (
        {(route.method, route.path.removeprefix(prefix)): route.rights for route in routes if _under(route, prefix)}
        for prefix in PREFIXES
    )
    assert first == second


def _under(route: RouteRight, prefix: str) -> bool:
    return route.path.startswith(f"{prefix}/")


def test_every_right_is_asked_for_somewhere(routes: list[RouteRight]) -> None:
    """Those that widen what a route shows are asked for by the service behind it."""
    widening = {Right.KNOWLEDGE_FOR_OTHERS, Right.REVIEWS_READ_ALL, Right.KEYS_MANAGE, Right.USAGE_READ_ALL}
    assert {right for route in routes for right in route.rights} | widening == set(Right)


def test_each_role_may_all_that_the_one_before_it_may() -> None:
    for lesser, greater in pairwise(Role):
        assert RIGHTS[lesser] < RIGHTS[greater]
    assert RIGHTS[Role.ADMIN] == set(Right)


@pytest.mark.parametrize("right", list(Right))
def test_the_page_shows_each_right_as_it_is(right: Right) -> None:
    page = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text("utf-8")
    [row] = re.findall(rf"^\| `{re.escape(right)}` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    assert [cell == "yes" for cell in row.split(" | ")] == [right in RIGHTS[role] for role in Role]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("right", list(Right))
def test_a_caller_is_let_through_by_its_rights_alone(role: Role, right: Right) -> None:
    caller = Caller(new_id(), role, narrowed(role, frozenset({right})))
    if right in RIGHTS[role]:
        caller.require(right)
        assert caller.rights == {right}
    else:
        with pytest.raises(NotPermitted, match=f"`{right}`"):
            caller.require(right)


@pytest.mark.parametrize("of_key", list(Role))
@pytest.mark.parametrize("of_owner", list(Role))
def test_a_key_may_what_both_it_and_its_owner_may(of_key: Role, of_owner: Role) -> None:
    key = ApiKey(new_id(), "ci", of_key, "tm-12345", NOON, owner_id=new_id())
    caller = caller_of_key(key, Owner(of_owner, Level.CONFIDENTIAL, enabled=True))
    assert caller.rights == RIGHTS[of_key] & RIGHTS[of_owner]
    assert caller.level is Level.CONFIDENTIAL


@pytest.mark.parametrize(("role", "level"), [(Role.MEMBER, Level.INTERNAL), (Role.ADMIN, Level.SECRET)])
def test_a_key_of_the_installation_sees_what_its_role_suggests(role: Role, level: Level) -> None:
    key = ApiKey(new_id(), "ci", role, "tm-12345", NOON)
    caller = caller_of_key(key, None)
    assert (caller.level, caller.owner_id, caller.user_id) == (level, key.id, None)
