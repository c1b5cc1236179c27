"""People, teams, keys and the audit log over HTTP: who gets what, and what bad input is told."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, wait_for

NOTHING = "00000000-0000-0000-0000-000000000000"
Calling = Callable[[dict[str, Any]], httpx.Client]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
    with running_hub(data_dir, scripted_settings("http://127.0.0.1:9/v1")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(hub: Hub) -> Iterator[httpx.Client]:
    with hub.client() as client:
        yield client


@pytest.fixture
def person(admin: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Adds a person of a role, with a key of their own under `key`."""

    def add(role: str = "member", **key: Any) -> dict[str, Any]:
        user = done(admin.post("/v1/users", json={"email": f"{uuid4().hex}@example.org", "name": "An", "role": role}))
        made = done(admin.post("/v1/keys", json={"name": "own", "role": role, "owner_id": user["id"], **key}))
        return {**user, "key": made["key"], "key_id": made["id"]}

    return add


@pytest.fixture
def by(hub: Hub) -> Iterator[Calling]:
    """A client with a person's own key."""
    opened: list[httpx.Client] = []

    def client(user: dict[str, Any]) -> httpx.Client:
        headers = {"authorization": f"Bearer {user['key']}"}
        opened.append(httpx.Client(base_url=hub.url, headers=headers, timeout=60, trust_env=False))
        return opened[-1]

    yield client
    for one in opened:
        one.close()


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"]["message"])


def pages(client: httpx.Client, path: str, limit: int, **only: str) -> list[str]:
    """The ids of a list, read to its end."""
    ids: list[str] = []
    while True:
        page = done(client.get(path, params={"limit": limit, **only, **({"after": ids[-1]} if ids else {})}))
        assert len(page["data"]) <= limit
        ids += [one["id"] for one in page["data"]]
        assert page["last_id"] == (page["data"][-1]["id"] if page["data"] else None)
        if not page["has_more"]:
            return ids


def test_everyone_is_told_who_they_are(admin: httpx.Client, person: Any, by: Calling) -> None:
    viewer = person("viewer")
    me = done(by(viewer).get("/v1/me"))
    assert (me["owner_id"], me["role"], me["key_id"]) == (viewer["id"], "viewer", viewer["key_id"])
    assert me["user"]["email"] == viewer["email"]
    assert me["rights"] == ["account", "knowledge.read", "models.read", "reviews.read"]
    assert done(admin.get("/v1/me"))["user"] is None


def test_a_person_is_added_changed_and_disabled(admin: httpx.Client) -> None:
    sales = done(admin.post("/v1/departments", json={"name": "Sales"}))
    added = done(
        admin.post("/v1/users", json={"email": "Lan@Example.org", "name": "Lan", "department_id": sales["id"]})
    )
    assert (added["email"], added["role"], added["access_level"]) == ("lan@example.org", "member", "internal")
    path = f"/v1/users/{added['id']}"
    assert done(admin.get(path)) == added
    changed = done(admin.patch(path, json={"name": "Lan Anh", "department_id": None, "role": None}))
    assert changed == {**added, "name": "Lan Anh", "department_id": None}
    assert done(admin.delete(path)) == {
        "id": added["id"],
        "object": "user.deleted",
        "deleted": True,
        "revoked_keys": 0,
    }
    assert done(admin.get(path))["disabled_at"]


def test_a_person_with_keys_is_not_deleted_by_accident(admin: httpx.Client, person: Any, by: Calling) -> None:
    user = person()
    path = f"/v1/users/{user['id']}"
    said = refusal(admin.delete(path), 409)
    assert "1 API key that still works" in said
    assert "revoke_keys=true" in said
    assert by(user).get("/v1/me").status_code == 200
    assert done(admin.delete(path, params={"revoke_keys": True}))["revoked_keys"] == 1
    assert by(user).get("/v1/me").status_code == 401


def test_the_last_admin_is_kept(admin: httpx.Client, person: Any) -> None:
    for other in [one["id"] for one in done(admin.get("/v1/users", params={"limit": 100}))["data"]]:
        assert admin.delete(f"/v1/users/{other}", params={"revoke_keys": True}).status_code in {200, 409}
    one, two = person("admin"), person("admin")
    done(admin.patch(f"/v1/users/{one['id']}", json={"role": "member"}))
    assert "last admin" in refusal(admin.patch(f"/v1/users/{two['id']}", json={"role": "maintainer"}), 409)
    assert "last admin" in refusal(admin.patch(f"/v1/users/{two['id']}", json={"disabled": True}), 409)
    assert "last admin" in refusal(admin.delete(f"/v1/users/{two['id']}?revoke_keys=true"), 409)
    assert done(admin.get(f"/v1/users/{two['id']}"))["role"] == "admin"


def test_lists_are_read_page_by_page(admin: httpx.Client, person: Any) -> None:
    people = [person()["id"] for _ in range(4)]
    team = done(admin.post("/v1/teams", json={"name": f"team {uuid4()}"}))["id"]
    for one in people:
        assert admin.put(f"/v1/teams/{team}/members/{one}").status_code == 204
    assert pages(admin, f"/v1/teams/{team}/members", 3) == people
    assert pages(admin, "/v1/users", 3)[-4:] == people
    assert team in pages(admin, "/v1/teams", 1)
    assert len(pages(admin, "/v1/keys", 2)) == len(set(pages(admin, "/v1/keys", 100)))
    assert pages(admin, "/v1/departments", 1) == pages(admin, "/v1/departments", 100)


def test_people_of_one_team_see_one_anothers_reviews(admin: httpx.Client, person: Any, by: Calling) -> None:
    an, binh, stranger = person(), person(), person()
    made = by(an).post("/v1/reviews", json={"diff": "", "model": False}).json()["id"]
    team = done(admin.post("/v1/teams", json={"name": f"team {uuid4()}"}))["id"]
    assert by(binh).get(f"/v1/reviews/{made}").status_code == 404
    for one in (an, binh):
        assert admin.put(f"/v1/teams/{team}/members/{one['id']}").status_code == 204
    assert by(binh).get(f"/v1/reviews/{made}").status_code == 200
    assert [one["id"] for one in by(binh).get("/v1/reviews").json()["data"]] == [made]
    assert done(by(binh).get("/v1/me"))["user"]["teams"][0]["id"] == team
    assert by(stranger).get(f"/v1/reviews/{made}/events").status_code == 404
    assert by(stranger).get("/v1/reviews").json()["data"] == []
    assert admin.delete(f"/v1/teams/{team}/members/{binh['id']}").status_code == 204
    assert by(binh).get(f"/v1/reviews/{made}").status_code == 404


class TestKeys:
    def test_a_members_own_keys_are_all_that_it_sees(self, admin: httpx.Client, person: Any, by: Calling) -> None:
        an, binh = person(), person()
        assert pages(by(an), "/v1/keys", 9) == [an["key_id"]]
        assert done(by(an).get("/v1/keys", params={"owner_id": binh["id"]}))["data"] == []
        assert pages(admin, "/v1/keys", 9, owner_id=binh["id"]) == [binh["key_id"]]
        missing = refusal(by(an).delete(f"/v1/keys/{NOTHING}"), 404)
        assert refusal(by(an).delete(f"/v1/keys/{binh['key_id']}"), 404).replace(binh["key_id"], NOTHING) == missing
        assert by(an).post(f"/v1/keys/{binh['key_id']}/rotate", json={}).status_code == 404

    def test_a_member_makes_rotates_and_revokes_its_own(self, person: Any, by: Calling) -> None:
        an = person()
        made = done(by(an).post("/v1/keys", json={"name": "ci", "scopes": ["models.read"]}))
        assert (made["owner_id"], made["scopes"]) == (an["id"], ["models.read"])
        fresh = done(by(an).post(f"/v1/keys/{made['id']}/rotate", json={"grace_seconds": 0}))
        assert by(made).get("/v1/models").status_code == 401
        assert by(fresh).get("/v1/models").status_code == 200
        assert by(fresh).get("/v1/me").status_code == 403
        assert done(by(an).delete(f"/v1/keys/{fresh['id']}"))["deleted"] is True
        assert by(fresh).get("/v1/models").status_code == 401

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"name": "wide", "role": "admin"}, 400),
            ({"name": "another's", "owner_id": NOTHING}, 403),
            ({"name": "nobody's", "owner_id": None}, 403),
            ({"name": "past", "expires_at": "2020-01-01T00:00:00Z"}, 400),
            ({"name": "far", "expires_at": "9999-12-31T23:59:59-23:59"}, 400),
            ({"name": "early", "expires_at": "0001-01-01T00:00:00+23:59"}, 400),
            ({"name": "naive", "expires_at": "2100-01-01T00:00:00"}, 400),
            ({"name": "scopes", "scopes": []}, 400),
            ({"name": "scopes", "scopes": ["everything"]}, 400),
            ({"name": "nul\x00"}, 400),
            ({"name": "n" * 101}, 400),
            ({"name": " "}, 400),
            ({"name": "more", "rights": "all"}, 400),
            ({}, 400),
        ],
    )
    def test_a_member_is_refused_a_key_that_it_may_not_have(
        self, person: Any, by: Calling, body: dict[str, Any], status: int
    ) -> None:
        an = person()
        assert refusal(by(an).post("/v1/keys", json=body), status)
        assert pages(by(an), "/v1/keys", 9) == [an["key_id"]]

    def test_a_key_that_ends_makes_none_that_lives_longer(self, person: Any, by: Calling) -> None:
        an = person(expires_at="2045-01-01T00:00:00Z")
        assert "live longer" in refusal(by(an).post("/v1/keys", json={"name": "ci"}), 403)
        done(by(an).post("/v1/keys", json={"name": "ci", "expires_at": "2044-12-31T00:00:00Z"}))

    @pytest.mark.parametrize("grace", [-1, 2_592_001, 1e30, "1h", None])
    def test_a_grace_that_makes_no_sense_is_refused(self, person: Any, by: Calling, grace: object) -> None:
        an = person()
        path = f"/v1/keys/{an['key_id']}/rotate"
        assert "grace_seconds" in refusal(by(an).post(path, json={"grace_seconds": grace}), 400)
        assert by(an).get("/v1/me").status_code == 200

    def test_an_invalid_key_of_whatever_kind_gets_one_answer(self, hub: Hub, person: Any, admin: httpx.Client) -> None:
        revoked, disabled = person(), person()
        done(admin.delete(f"/v1/keys/{revoked['key_id']}"))
        done(admin.patch(f"/v1/users/{disabled['id']}", json={"disabled": True}))
        answers = {
            (answer.status_code, answer.text)
            for key in (revoked["key"], disabled["key"], "tm-" + "a" * 43, "x")
            for answer in [httpx.get(f"{hub.url}/v1/me", headers={"authorization": f"Bearer {key}"}, trust_env=False)]
        }
        assert len(answers) == 1
        assert {status for status, _ in answers} == {401}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/users", {"email": "not an address", "name": "A"}),
        ("POST", "/v1/users", {"email": "nul\x00@example.org", "name": "A"}),
        ("POST", "/v1/users", {"email": "a@example.org", "name": "nul\x00"}),
        ("POST", "/v1/users", {"email": "a" * 260 + "@example.org", "name": "A"}),
        ("POST", "/v1/users", {"email": "a@example.org", "name": "n" * 101}),
        ("POST", "/v1/users", {"email": "a@example.org", "name": "A", "role": "god"}),
        ("POST", "/v1/users", {"email": "a@example.org", "name": "A", "password_hash": "x"}),
        ("POST", "/v1/teams", {"name": "\x00"}),
        ("POST", "/v1/teams", {"name": "n" * 101}),
        ("POST", "/v1/departments", {"name": "two\nlines"}),
        ("GET", "/v1/users/not-an-id", None),
        ("GET", "/v1/users/%00", None),
        ("GET", "/v1/users?after=x", None),
        ("GET", "/v1/users?limit=101", None),
        ("GET", "/v1/users?limit=0", None),
        ("GET", "/v1/keys?owner_id=x", None),
        ("GET", "/v1/audit?after=-1", None),
        ("GET", "/v1/audit?after=99999999999999999999", None),
        ("GET", "/v1/audit?since=yesterday", None),
        ("GET", "/v1/audit/export?since=%00", None),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(admin: httpx.Client, method: str, path: str, body: Any) -> None:
    assert refusal(admin.request(method, path, json=body), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/users/{NOTHING}"),
        ("PATCH", f"/v1/users/{NOTHING}"),
        ("DELETE", f"/v1/users/{NOTHING}"),
        ("PATCH", f"/v1/teams/{NOTHING}"),
        ("PUT", f"/v1/teams/{NOTHING}/members/{NOTHING}"),
        ("DELETE", f"/v1/departments/{NOTHING}"),
        ("POST", f"/v1/keys/{NOTHING}/rotate"),
        ("DELETE", f"/v1/keys/{NOTHING}"),
    ],
)
def test_what_is_not_there_is_not_found(admin: httpx.Client, method: str, path: str) -> None:
    body = {} if method in {"POST", "PATCH", "PUT"} else None
    assert NOTHING in refusal(admin.request(method, path, json=body), 404)


def test_two_people_with_one_address_are_refused(admin: httpx.Client, person: Any) -> None:
    email = person()["email"]
    again = admin.post("/v1/users", json={"email": email.upper(), "name": "Again"})
    assert "has this email address" in refusal(again, 409)


def test_the_log_is_read_exported_and_checked(admin: httpx.Client, person: Any, hub: Hub) -> None:
    user = person()
    first = done(admin.get("/v1/audit", params={"limit": 2}))
    assert ([one["seq"] for one in first["data"]], first["last_seq"], first["has_more"]) == ([1, 2], 2, True)
    assert done(admin.get("/v1/audit", params={"limit": 1, "after": 2}))["data"][0]["seq"] == 3
    exported = admin.get("/v1/audit/export")
    assert exported.headers["content-type"] == "application/x-ndjson"
    entries = [json.loads(line) for line in exported.text.splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    [added] = [one for one in entries if one["target_id"] == user["id"] and one["action"] == "user.added"]
    assert (added["actor"], added["details"]) == ("key", {"role": "member", "access_level": "internal"})
    assert user["email"] not in exported.text
    assert admin.get("/v1/audit/export", params={"until": "2020-01-01T00:00:00Z"}).text == ""
    assert done(admin.get("/v1/audit/verify"))["whole"] is True
    checked = tidemill(["audit", "verify", "--json"], hub.environment)
    assert json.loads(checked.stdout)["fault"] is None, checked.stderr


def test_a_keys_use_is_seen_soon(admin: httpx.Client, person: Any, by: Calling) -> None:
    user = person()
    assert by(user).get("/v1/me").status_code == 200

    def used() -> object:
        return done(admin.get("/v1/keys", params={"owner_id": user["id"]}))["data"][0]["last_used_at"]

    wait_for(used, what="the key's last use")
