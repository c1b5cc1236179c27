"""Signing in over HTTP, as browsers and machines see it: a real hub."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from argon2 import PasswordHasher

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, TestIssuer, running_issuer
from tests.support.rows import query
from tests.support.sign_in import PASSWORD

OTHER = "nine quiet otters swim"
CHEAP = {"memory_kib": 8192, "passes": 1, "lanes": 1}
HASH = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)


@pytest.fixture(scope="module")
def issuer() -> Iterator[TestIssuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, issuer: TestIssuer) -> Iterator[Hub]:
    data_dir = reachable(tmp_path_factory.mktemp("hub")) / "data"
    oidc = {"issuer": issuer.url, "client_id": CLIENT_ID, "client_secret": "issuer", "create_users": True}
    settings = scripted_settings(
        "http://127.0.0.1:9/v1", auth={"passwords": CHEAP, "trusted_proxies": ["127.0.0.1/32"], "oidc": oidc}
    )
    with running_hub(data_dir, settings) as running:
        done = tidemill(["secrets", "set", "issuer"], running.environment, input=CLIENT_SECRET + "\n")
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture
def email(hub: Hub) -> str:
    """A member with a password."""
    return add_person(hub)


def add_person(hub: Hub, role: str = "member") -> str:
    email = f"{uuid4().hex[:8]}@mill.example"
    with hub.client() as admin:
        assert admin.post("/v1/users", json={"email": email, "name": "An", "role": role}).status_code in {200, 201}
    query(hub, "UPDATE users SET password_hash = %s WHERE email = %s RETURNING id", HASH, email)
    return email


@pytest.fixture
def browser(hub: Hub) -> Iterator[httpx.Client]:
    """A browser at the hub, with an address of its own."""
    headers = {"x-forwarded-for": f"2001:db8:{uuid4().hex[:4]}:1::1"}
    with httpx.Client(base_url=hub.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def sign_in(browser: httpx.Client, email: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    return browser.post("/v1/auth/sign-in", json={"email": email, "password": password}, headers=headers)


def own(browser: httpx.Client, csrf_token: str) -> dict[str, str]:
    """What our own pages send when they change something."""
    return {"x-csrf-token": csrf_token, "origin": str(browser.base_url).rstrip("/")}


def test_a_person_signs_in_works_and_signs_out(browser: httpx.Client, email: str) -> None:
    answer = sign_in(browser, email)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("tidemill_session=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert answer.headers["cache-control"] == "no-store"
    signed_in = answer.json()
    assert signed_in["user"] == {
        "id": signed_in["user"]["id"], "email": email, "name": "An", "role": "member"
    }  # fmt: skip
    assert browser.get("/v1/models").status_code == 200
    again = browser.get("/v1/auth/session").json()
    assert {again[name] == signed_in[name] for name in ("id", "user", "csrf_token")} == {True}
    token = browser.cookies["tidemill_session"]
    out = browser.post("/v1/auth/sign-out", headers=own(browser, again["csrf_token"]))
    assert out.status_code == 204
    assert "tidemill_session" not in browser.cookies
    browser.cookies.set("tidemill_session", token)
    assert browser.get("/v1/auth/session").status_code == 401


def test_over_https_the_cookie_is_for_this_host_and_https_alone(browser: httpx.Client, email: str) -> None:
    answer = sign_in(browser, email, **{"x-forwarded-proto": "https"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-tidemill_session=")
    assert "; secure" in cookie.lower()
    assert "domain" not in cookie.lower()
    value = cookie.partition("=")[2].partition(";")[0]
    named = {"cookie": f"tidemill_session={value}", "x-forwarded-proto": "https"}
    assert browser.get("/v1/auth/session", headers=named).status_code == 401
    named["cookie"] = f"__Host-tidemill_session={value}"
    assert browser.get("/v1/auth/session", headers=named).status_code == 200
    csrf = browser.get("/v1/auth/session", headers=named).json()["csrf_token"]
    away = {**named, "x-csrf-token": csrf, "origin": f"http://{browser.base_url.netloc.decode()}"}
    assert browser.post("/v1/auth/sign-out", headers=away).status_code == 403
    home = {**away, "origin": f"https://{browser.base_url.netloc.decode()}"}
    assert browser.post("/v1/auth/sign-out", headers=home).status_code == 204


@pytest.mark.parametrize(
    "wrong",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "0" * 64},
        {"x-csrf-token": "é"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "", "sec-fetch-site": "cross-site"},
        {"origin": "", "sec-fetch-site": "none"},
    ],
)
def test_what_another_site_makes_a_browser_send_is_refused(
    browser: httpx.Client, email: str, wrong: dict[str, str]
) -> None:
    csrf = sign_in(browser, email).json()["csrf_token"]
    headers = {**own(browser, csrf), **wrong}
    sent = {name: value.encode() for name, value in headers.items() if value}
    answer = browser.post("/v1/auth/token", headers=sent)
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "permission_denied"
    assert browser.post("/v1/auth/token", headers=own(browser, csrf)).status_code == 200
    fetched = {"x-csrf-token": csrf, "sec-fetch-site": "same-origin"}
    assert browser.post("/v1/auth/token", headers=fetched).status_code == 200


def test_another_site_can_not_sign_a_browser_in(browser: httpx.Client, email: str) -> None:
    assert sign_in(browser, email, origin="http://evil.example").status_code == 403
    assert sign_in(browser, email, **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert "tidemill_session" not in browser.cookies
    assert sign_in(browser, email, origin=str(browser.base_url).rstrip("/")).status_code == 200


def test_a_request_with_a_key_needs_no_csrf_token_even_beside_a_cookie(
    hub: Hub, browser: httpx.Client, email: str
) -> None:
    sign_in(browser, email)
    key = {"authorization": f"Bearer {hub.key}", "origin": "http://evil.example"}
    assert browser.post("/v1/auth/token", headers=key).status_code == 200
    assert browser.get("/v1/models", headers={"authorization": "Bearer tm-wrong"}).status_code == 401


def test_every_invalid_credential_gets_the_same_401(hub: Hub, browser: httpx.Client) -> None:
    with hub.client() as admin:
        made = admin.post("/v1/keys", json={"name": "short lived"}).json()
        token = admin.post("/v1/auth/token").json()["access_token"]
        admin.delete(f"/v1/keys/{made['id']}")
    sent = [
        {"authorization": "Bearer tm-wrong"},
        {"authorization": f"Bearer {made['key']}"},
        {"authorization": f"Bearer {token[:-2]}"},
        {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
        {"authorization": "Bearer nonsense"},
        {"cookie": "tidemill_session=wrong"},
        {"cookie": f"tidemill_session={token}"},
    ]
    answers = [browser.get("/v1/models", headers=headers) for headers in sent]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


def test_a_session_can_do_no_more_than_its_persons_role(browser: httpx.Client, email: str) -> None:
    csrf = sign_in(browser, email).json()["csrf_token"]
    answer = browser.get("/v1/audit")
    assert answer.status_code == 403
    answer = browser.post("/v1/auth/token", headers=own(browser, csrf), json={"scopes": ["audit.read"]})
    assert answer.status_code == 403


def test_a_machine_gets_a_token_and_uses_it(hub: Hub, browser: httpx.Client) -> None:
    with hub.client() as admin:
        made = admin.post("/v1/auth/token", json={"scopes": ["account", "models.read"]})
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    assert (made.status_code, body["token_type"], body["expires_in"]) == (200, "Bearer", 3600)
    assert body["scopes"] == ["account", "models.read"]
    headers = {"authorization": f"Bearer {body['access_token']}"}
    assert browser.get("/v1/models", headers=headers).status_code == 200
    assert browser.get("/v1/users", headers=headers).status_code == 403
    assert browser.post("/v1/auth/token", headers=headers, json={"scopes": ["people.read"]}).status_code == 403
    assert browser.post("/v1/auth/token", headers=headers, json={"scopes": []}).status_code == 400
    assert browser.post("/v1/auth/token", headers=headers, json={"scopes": ["all"]}).status_code == 400
    assert browser.post("/v1/auth/token", headers=headers).json()["expires_in"] <= 3600


def test_a_key_has_no_session(hub: Hub) -> None:
    with hub.client() as admin:
        assert admin.get("/v1/auth/session").status_code == 404
        assert admin.post("/v1/auth/sign-out").status_code == 404
        assert admin.get("/v1/auth/sessions").json() == {"object": "list", "data": []}
        assert admin.delete(f"/v1/auth/sessions/{uuid4()}").status_code == 404
        change = {"old_password": PASSWORD, "new_password": OTHER}
        assert admin.post("/v1/auth/password", json=change).status_code == 403


def test_a_person_changes_the_password_and_ends_other_sessions(hub: Hub, browser: httpx.Client, email: str) -> None:
    csrf = sign_in(browser, email).json()["csrf_token"]
    with httpx.Client(base_url=hub.url, trust_env=False) as elsewhere:
        sign_in(elsewhere, email)
        sessions = browser.get("/v1/auth/sessions").json()["data"]
        assert sorted(one["current"] for one in sessions) == [False, True]
        wrong = {"old_password": OTHER, "new_password": OTHER}
        assert browser.post("/v1/auth/password", json=wrong, headers=own(browser, csrf)).status_code == 401
        short = {"old_password": PASSWORD, "new_password": "short"}
        assert browser.post("/v1/auth/password", json=short, headers=own(browser, csrf)).status_code == 400
        right = {"old_password": PASSWORD, "new_password": OTHER}
        assert browser.post("/v1/auth/password", json=right, headers=own(browser, csrf)).status_code == 204
        assert elsewhere.get("/v1/auth/session").status_code == 401
    assert len(browser.get("/v1/auth/sessions").json()["data"]) == 1
    assert sign_in(browser, email).status_code == 401
    assert sign_in(browser, email, OTHER).status_code == 200


def test_a_person_ends_one_session_of_several(hub: Hub, browser: httpx.Client, email: str) -> None:
    csrf = sign_in(browser, email).json()["csrf_token"]
    with httpx.Client(base_url=hub.url, trust_env=False) as elsewhere:
        other = sign_in(elsewhere, email).json()["id"]
        assert browser.delete(f"/v1/auth/sessions/{other}", headers=own(browser, csrf)).status_code == 204
        assert elsewhere.get("/v1/auth/session").status_code == 401
        assert browser.delete(f"/v1/auth/sessions/{other}", headers=own(browser, csrf)).status_code == 404
        assert browser.delete("/v1/auth/sessions/x", headers=own(browser, csrf)).status_code == 400


def test_guessing_is_told_to_wait_whatever_address_a_proxy_names(browser: httpx.Client, email: str) -> None:
    statuses = []
    for number in range(8):
        answer = sign_in(browser, email, "not the password", **{"x-forwarded-for": f"192.0.2.{number}"})
        statuses.append(answer.status_code)
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert sign_in(browser, email).status_code == 429


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "an@mill.example"},
        {"email": "no address", "password": PASSWORD},
        {"email": "an@mill.example", "password": "a\x00b"},
        {"email": "an\x00@mill.example", "password": PASSWORD},
        {"email": "an@mill.example", "password": "x" * 5000},
        {"email": "an@mill.example", "password": "\ud800"},
        {"email": "an@mill.example", "password": 7},
        {"email": "an@mill.example", "password": PASSWORD, "role": "admin"},
        [],
    ],
)
def test_what_can_be_no_sign_in_is_told_what_is_wrong_without_repeating_the_password(
    browser: httpx.Client, body: Any
) -> None:
    answer = browser.post("/v1/auth/sign-in", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert PASSWORD not in answer.text


def test_a_stranger_can_not_fill_the_memory(browser: httpx.Client) -> None:
    body = json.dumps({"email": "an@mill.example", "password": "a" * 100_000}).encode()

    def parts() -> Iterator[bytes]:
        yield from (body[start : start + 1000] for start in range(0, len(body), 1000))

    for content in (body, parts()):  # with a stated length, and without
        answer = browser.post("/v1/auth/sign-in", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert "65,536" in answer.json()["error"]["message"]


def test_the_open_routes_and_no_others_need_no_key(hub: Hub) -> None:
    with hub.client() as admin:
        document = admin.get("/openapi.json").json()
    opened = {
        path for path, methods in document["paths"].items() if any(m.get("security") == [] for m in methods.values())
    }
    signed = {"/webhook/pull-request", "/webhooks/{forge}"}
    assert opened == signed | {
        "/health", "/ready", "/v1/auth/sign-in", "/v1/auth/oidc/start", "/v1/auth/oidc/callback",
    }  # fmt: skip
    assert {"session", "key", "csrf"} <= set(document["components"]["securitySchemes"])
    for path, methods in document["paths"].items():
        if path not in opened:
            for method in methods:
                answer = httpx.request(method, hub.url + path.replace("{", "").replace("}", ""), trust_env=False)
                assert answer.status_code == 401, (method, path)


def test_a_password_set_on_the_hubs_machine_is_the_persons_from_then_on(
    hub: Hub, browser: httpx.Client, email: str
) -> None:
    sign_in(browser, email)
    done = tidemill(["users", "set-password", email], hub.environment, input=OTHER + "\n")
    assert done.returncode == 0, done.stderr
    assert OTHER not in done.stdout
    assert sign_in(browser, email).status_code == 401
    assert sign_in(browser, email, OTHER).status_code == 200


def test_set_password_takes_no_short_one_and_knows_who_is_there(hub: Hub, email: str) -> None:
    short = tidemill(["users", "set-password", email], hub.environment, input="short\n")
    assert (short.returncode, "12 characters" in short.stderr) == (2, True)
    unknown = tidemill(["users", "set-password", "nobody@mill.example"], hub.environment, input=PASSWORD + "\n")
    assert unknown.returncode == 4


def test_a_person_signs_in_through_the_issuer_and_arrives_where_the_way_began(
    browser: httpx.Client, issuer: TestIssuer
) -> None:
    issuer.person = {"sub": uuid4().hex, "email": f"{uuid4().hex}@mill.example", "email_verified": True, "name": "Bình"}
    out = browser.get("/v1/auth/oidc/start", params={"return_to": "/v1/auth/session?tab=1#top"})
    assert out.status_code == 303
    ticket = out.headers["set-cookie"].lower()
    assert {"httponly", "samesite=lax", "max-age=600"} <= set(ticket.replace(" ", "").split(";"))
    back = httpx.get(out.headers["location"], trust_env=False).headers["location"]
    assert back.startswith(f"{str(browser.base_url).rstrip('/')}/v1/auth/oidc/callback?")
    arrived = browser.get(back)
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/v1/auth/session?tab=1#top")
    assert "tidemill_sign_in" not in browser.cookies
    session = browser.get(arrived.headers["location"]).json()
    assert (session["user"]["name"], session["user"]["role"]) == ("Bình", "member")
    assert browser.post("/v1/auth/sign-out", headers=own(browser, session["csrf_token"])).status_code == 204
    again = browser.get(back)
    assert (again.status_code, "tidemill_session" in browser.cookies) == (400, False)


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "/\r\nx: y", ""])
def test_the_way_never_leads_to_another_site(browser: httpx.Client, path: str) -> None:
    answer = browser.get("/v1/auth/oidc/start", params={"return_to": path})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "return_to"
    assert "set-cookie" not in answer.headers


def test_a_way_back_without_a_way_out_is_refused(browser: httpx.Client) -> None:
    for sent in ("", "?code=x&state=y", "?error=access_denied", "?state=%00&code=%ff", "?code=" + "x" * 5000):
        answer = browser.get("/v1/auth/oidc/callback" + sent)
        assert answer.status_code == 400, sent
        assert answer.json()["error"]["message"]


def test_an_issuer_that_is_not_well_is_said_to_be_so(browser: httpx.Client, issuer: TestIssuer) -> None:
    out = browser.get("/v1/auth/oidc/start")
    back = httpx.get(out.headers["location"], trust_env=False).headers["location"]
    issuer.broken["/token"] = (500, b"oh")
    answer = browser.get(back)
    issuer.broken.clear()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "issuer" in answer.json()["error"]["message"]


def test_the_audit_log_hears_of_each(hub: Hub, browser: httpx.Client, email: str) -> None:
    csrf = sign_in(browser, email).json()["csrf_token"]
    browser.post("/v1/auth/token", headers=own(browser, csrf))
    browser.post("/v1/auth/sign-out", headers=own(browser, csrf))
    user = query(hub, "SELECT id FROM users WHERE email = %s", email)[0]["id"]
    rows = query(hub, "SELECT action FROM audit_log WHERE actor_id = %s ORDER BY seq", user)
    assert [row["action"] for row in rows] == ["user.signed_in", "token.issued", "user.signed_out"]
    everything = str(query(hub, "SELECT audit_log::text AS row FROM audit_log"))
    assert email not in everything
    assert PASSWORD not in everything
