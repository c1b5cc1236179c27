"""Signing in through an OpenID Connect issuer: the services against a local issuer with real keys."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.conftest import NOON
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, TestIssuer, an_ec_key, running_issuer
from tests.support.people import make_accounts
from tests.support.sign_in import SECRET, SignInServices
from tidemill.accounts.issuer import Issuer, IssuerFailed, SignInRefused
from tidemill.accounts.oidc import Answer, OidcSignIn, local_path
from tidemill.accounts.sessions import NewSession
from tidemill.core.accounts import Role
from tidemill.core.audit import COMMAND
from tidemill.core.errors import Configuration, Conflict, InvalidInput, NotPermitted, Unavailable
from tidemill.settings import OidcSettings
from tidemill.store.database import Pool

BACK = "http://hub.example/v1/auth/oidc/callback"
EMAIL = "an@mill.example"


@pytest.fixture
def issuer() -> Iterator[TestIssuer]:
    with running_issuer() as running:
        yield running


@dataclass
class Flow:
    """A hub's side of it, and the browser in between."""

    hub: SignInServices
    client: httpx.AsyncClient
    issuer: TestIssuer

    def service(self, **more: Any) -> OidcSignIn:
        settings = OidcSettings(issuer=self.issuer.url, client_id=CLIENT_ID, **more)

        async def secret() -> str | None:
            return None if self.issuer.public else CLIENT_SECRET

        asked = Issuer(self.client, settings, secret=secret, clock=self.hub.time)
        return OidcSignIn(
            asked,
            self.hub.people,
            self.hub.sessions,
            audit=self.hub.audit,
            derive=SECRET.derive,
            clock=self.hub.time,
            settings=settings,
        )

    async def there(self, service: OidcSignIn, return_to: str = "/") -> tuple[str, Answer]:
        """To the issuer and back: the ticket, and what the issuer says."""
        started = await service.start(return_to=return_to, redirect_uri=BACK)
        answer = await self.client.get(started.url)
        query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        return started.ticket, Answer(query["state"], query["code"], None, query["iss"])

    async def sign_in(self, service: OidcSignIn | None = None, **more: Any) -> NewSession:
        service = service or self.service(**more)
        ticket, answer = await self.there(service)
        made, _ = await service.finish(answer, ticket=ticket, redirect_uri=BACK)
        return made


@pytest.fixture
async def flow(pool: Pool, issuer: TestIssuer) -> AsyncIterator[Flow]:
    hub = SignInServices(pool)
    issuer.clock = lambda: hub.time().timestamp()
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Flow(hub, client, issuer)


async def test_a_person_with_a_verified_address_signs_in_and_is_known_by_the_subject_from_then_on(flow: Flow) -> None:
    user = await flow.hub.add(EMAIL, password=None)
    service = flow.service()
    ticket, answer = await flow.there(service, return_to="/reviews?state=done")
    made, path = await service.finish(answer, ticket=ticket, redirect_uri=BACK)
    assert (made.user.id, path) == (user.id, "/reviews?state=done")
    assert (await flow.hub.sessions.check(made.token, 0)).user_id == user.id
    flow.issuer.person = {"sub": "7", "email": "another@mill.example", "email_verified": False}
    assert (await flow.sign_in(service)).user.id == user.id
    assert await flow.hub.audited() == ["user.linked", "user.signed_in", "user.signed_in"]


async def test_the_browser_is_sent_with_pkce_a_state_and_a_nonce_that_are_new_each_time(flow: Flow) -> None:
    service = flow.service()
    asked = [urlsplit((await service.start(return_to="/", redirect_uri=BACK)).url) for _ in range(2)]
    first, second = ({name: value[0] for name, value in parse_qs(one.query).items()} for one in asked)
    assert first["response_type"] == "code"
    assert first["client_id"] == CLIENT_ID
    assert first["redirect_uri"] == BACK
    assert first["scope"] == "openid email profile"
    assert first["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]


async def test_where_people_may_be_created_a_first_sign_in_creates_one(flow: Flow) -> None:
    made = await flow.sign_in(create_users=True, default_role=Role.VIEWER)
    assert (made.user.email, made.user.name, made.user.role) == (EMAIL, "An Nguyễn", Role.VIEWER)
    assert (await flow.sign_in(create_users=True)).user.id == made.user.id
    assert (await flow.hub.audited())[:2] == ["user.added", "user.signed_in"]


async def test_a_person_whom_the_issuer_calls_nothing_usable_still_has_a_name(flow: Flow) -> None:
    service = flow.service(create_users=True)
    for number, name in enumerate([None, "", 7, "\x00\n", "x" * 1000]):
        flow.issuer.more = {"name": name, "sub": f"s{number}", "email": f"an{number}@mill.example"}
        made = await flow.sign_in(service)
        assert made.user.name == ("x" * 100 if number == 4 else f"an{number}")


async def test_a_stranger_is_not_let_in(flow: Flow) -> None:
    with pytest.raises(NotPermitted, match="no account for you"):
        await flow.sign_in()


async def test_an_address_that_the_issuer_has_not_verified_is_nobodys(flow: Flow) -> None:
    user = await flow.hub.add(EMAIL)
    service = flow.service(create_users=True)
    for verified in (False, None, "false", 0, 1, "yes", ["true"]):
        flow.issuer.person["email_verified"] = verified
        with pytest.raises(NotPermitted, match="does not vouch"):
            await flow.sign_in(service)
        found = await flow.hub.people.find(user.id)
        assert found is not None
        assert found.oidc_subject is None


async def test_an_account_that_another_subject_has_is_not_taken_over_by_its_address(flow: Flow) -> None:
    await flow.hub.add(EMAIL, oidc_issuer=flow.issuer.url, oidc_subject="6")
    with pytest.raises(NotPermitted, match="as another"):
        await flow.sign_in(create_users=True)


async def test_a_person_whom_the_issuer_knows_anew_is_unlinked_and_joined_again(flow: Flow) -> None:
    user = await flow.hub.add(EMAIL, oidc_issuer="https://moved.example", oidc_subject="7")
    with pytest.raises(NotPermitted, match="users unlink"):
        await flow.sign_in()
    people = make_accounts(flow.hub.pool, flow.hub.time).people
    assert (await people.unlink(user.id, COMMAND)).oidc_issuer is None
    await people.unlink(user.id, COMMAND)
    assert (await flow.sign_in()).user.id == user.id
    assert await flow.hub.audited() == ["user.unlinked", "user.linked", "user.signed_in"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_disabled_person_is_not_let_in(flow: Flow, known: bool) -> None:
    more = {"oidc_issuer": flow.issuer.url, "oidc_subject": "7"} if known else {}
    await flow.hub.add(EMAIL, disabled_at=NOON, **more)
    with pytest.raises(NotPermitted, match="disabled"):
        await flow.sign_in(create_users=True)


async def test_only_people_of_the_allowed_domains_come_in_even_those_who_are_known(flow: Flow) -> None:
    await flow.hub.add(EMAIL, oidc_issuer=flow.issuer.url, oidc_subject="7")
    assert await flow.sign_in(allowed_domains=["Mill.Example"])
    for domains in (["other.example"], ["example"], ["an@mill.example"]):
        with pytest.raises(NotPermitted, match="allowed_domains"):
            await flow.sign_in(allowed_domains=domains)
    flow.issuer.person["email_verified"] = False
    with pytest.raises(NotPermitted, match="allowed_domains"):
        await flow.sign_in(allowed_domains=["mill.example"])


async def test_two_first_sign_ins_at_once_make_one_person(flow: Flow) -> None:
    service = flow.service(create_users=True)
    (one, first), (two, second) = await flow.there(service), await flow.there(service)
    made, _ = await service.finish(first, ticket=one, redirect_uri=BACK)
    again, _ = await service.finish(second, ticket=two, redirect_uri=BACK)
    assert made.user.id == again.user.id
    flow.issuer.person["sub"] = "8"
    with pytest.raises((NotPermitted, Conflict)):
        await flow.sign_in(service)


@pytest.mark.parametrize("way", ["other browser", "no ticket", "wrong state", "no state", "late", "forged ticket"])
async def test_an_answer_that_this_browser_did_not_ask_for_is_refused(flow: Flow, way: str) -> None:
    await flow.hub.add(EMAIL)
    service = flow.service()
    ticket: str | None
    ticket, answer = await flow.there(service)
    if way == "other browser":
        ticket, _ = await flow.there(service)
    elif way == "no ticket":
        ticket = None
    elif way == "wrong state":
        answer = replace(answer, state="0" * 64)
    elif way == "no state":
        answer = replace(answer, state=None)
    elif way == "late":
        flow.hub.time.pass_by(minutes=10, seconds=1)
    else:
        key = OctKey.import_key(b"6" * 32)
        claims = {"flow": "x", "return_to": "//evil.example", "exp": int(flow.hub.time().timestamp()) + 60}
        ticket = jwt.encode({"alg": "HS256"}, claims, key, algorithms=["HS256"])
    with pytest.raises(InvalidInput, match="not begun in this browser"):
        await service.finish(answer, ticket=ticket, redirect_uri=BACK)
    assert "/token" not in flow.issuer.asked


async def test_a_ticket_that_is_none_is_refused(flow: Flow) -> None:
    for ticket in ("", ".", "a.b.c", "é", "\ud800", "x" * 10_000, "eyJhbGciOiJub25lIn0.e30."):
        with pytest.raises(InvalidInput):
            await flow.service().finish(Answer("s", "c"), ticket=ticket, redirect_uri=BACK)


async def test_an_answer_from_another_issuer_or_without_a_code_is_refused(flow: Flow) -> None:
    service = flow.service()
    ticket, answer = await flow.there(service)
    with pytest.raises(InvalidInput, match="Another issuer"):
        await service.finish(replace(answer, iss="https://evil.example"), ticket=ticket, redirect_uri=BACK)
    with pytest.raises(InvalidInput, match="no `code`"):
        await service.finish(replace(answer, code=None), ticket=ticket, redirect_uri=BACK)


async def test_a_code_works_once_and_for_the_address_it_was_made_for(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    service = flow.service()
    ticket, answer = await flow.there(service)
    await service.finish(answer, ticket=ticket, redirect_uri=BACK)
    with pytest.raises(SignInRefused):
        await service.finish(answer, ticket=ticket, redirect_uri=BACK)
    ticket, answer = await flow.there(service)
    with pytest.raises(SignInRefused):
        await service.finish(answer, ticket=ticket, redirect_uri="http://other.example/v1/auth/oidc/callback")


async def test_an_issuer_that_says_no_is_told_on(flow: Flow) -> None:
    service = flow.service()
    for said, error, status in [
        ("access_denied", NotPermitted, 403),
        ("temporarily_unavailable", Unavailable, 503),
        ("invalid_scope", IssuerFailed, 502),
        ("<script>alert(1)</script>", IssuerFailed, 502),
    ]:
        ticket, answer = await flow.there(service)
        with pytest.raises(error) as raised:
            await service.finish(replace(answer, code=None, error=said), ticket=ticket, redirect_uri=BACK)
        assert raised.value.status == status
        assert "<" not in str(raised.value)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_an_id_token_with_a_claim_that_is_not_as_it_must_be_is_refused(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    service, now = flow.service(), int(NOON.timestamp())
    wrong: list[dict[str, Any]] = [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another client"},
        {"aud": []},
        {"aud": None},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": now - 61},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"iat": now + 120},
        {"nbf": now + 120},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 300},
        {"sub": "a\x00b"},
    ]
    for more in wrong:
        flow.issuer.more = more
        with pytest.raises(SignInRefused) as error:
            await flow.sign_in(service)
        assert error.value.status == 401, more
    flow.issuer.more = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert await flow.sign_in(service)
    flow.issuer.more = {"exp": now - 30}
    assert await flow.sign_in(service)


async def test_an_id_token_whose_signature_does_not_hold_is_refused(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    issuer, service = flow.issuer, flow.service()
    public = issuer.key.as_pem(private=False)
    mac = OctKey(public, public)  # the constructor, since `import_key` refuses the mistake that is tried here
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    twists = {
        "alg none": lambda claims: f"{part({'alg': 'none', 'kid': 'one'})}.{part(claims)}.",
        "HS256 with the public key": lambda claims: issuer.signed(claims, mac, alg="HS256"),
        "HS256 with the client's secret": lambda claims: issuer.signed(
            claims, OctKey.import_key(CLIENT_SECRET.encode()), alg="HS256"
        ),
        "another key under the same name": lambda claims: issuer.signed(claims, stranger),
        "a key that is not listed": lambda claims: issuer.signed(claims, stranger, kid="two"),
        "a key inside": lambda claims: issuer.signed(claims, stranger, kid=None, jwk=stranger.as_dict(private=False)),
        "no signature": lambda claims: issuer.signed(claims).rpartition(".")[0] + ".",
        "claims put in": lambda claims: ".".join(
            [issuer.signed(claims).split(".")[0], part({**claims, "sub": "1"}), issuer.signed(claims).split(".")[2]]
        ),
        "no token": lambda claims: "nonsense",
        "a header that is a list": lambda claims: f"{part(['alg'])}.{part(claims)}.x",
        "crit that is a number": lambda claims: f"{part({'alg': 'RS256', 'crit': 1})}.{part(claims)}.x",
    }
    for how, twist in twists.items():
        issuer.twist = twist
        with pytest.raises(SignInRefused) as error:
            await flow.sign_in(service)
        assert error.value.status == 401, how
    issuer.twist = None
    assert await flow.sign_in(service)


async def test_a_key_that_the_issuer_has_rotated_is_looked_up_once(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    service = flow.service()
    await flow.sign_in(service)
    flow.issuer.rotate(an_ec_key("two"), "ES256")
    await flow.sign_in(service)
    assert flow.issuer.asked.count("/keys") == 2
    await flow.sign_in(service)
    assert flow.issuer.asked.count("/keys") == 2
    flow.issuer.key = an_ec_key("three")
    with pytest.raises(SignInRefused, match="does not list"):
        await flow.sign_in(service)
    assert flow.issuer.asked.count("/keys") == 3


async def test_a_token_without_a_key_id_is_taken_where_there_is_one_key(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    flow.issuer.twist = lambda claims: flow.issuer.signed(claims, kid=None)
    assert await flow.sign_in()


async def test_unknown_header_fields_do_no_harm(flow: Flow) -> None:
    await flow.hub.add(EMAIL)
    flow.issuer.twist = lambda claims: _with_header(flow.issuer, claims)
    assert await flow.sign_in()


def _with_header(issuer: TestIssuer, claims: dict[str, Any]) -> str:
    registry = JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    header = {"alg": "RS256", "kid": "one", "vendor": "x"}
    return jwt.encode(header, claims, issuer.key, registry=registry)


@pytest.mark.parametrize("way", ["post", "public"])
async def test_a_client_is_known_by_the_way_that_the_issuer_takes(flow: Flow, way: str) -> None:
    await flow.hub.add(EMAIL)
    if way == "post":
        flow.issuer.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    else:
        flow.issuer.public = True
    assert await flow.sign_in()


async def test_a_wrong_secret_is_the_operators_matter(flow: Flow) -> None:
    flow.issuer.discovery["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    flow.issuer.public = True
    service = flow.service()
    ticket, answer = await flow.there(service)
    flow.issuer.public = False
    with pytest.raises(Configuration, match="client_id") as error:
        await service.finish(answer, ticket=ticket, redirect_uri=BACK)
    assert CLIENT_SECRET not in str(error.value)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
async def test_an_issuer_that_is_not_well_is_said_to_be_so(flow: Flow, path: str) -> None:
    for status, body, error, code in [
        (500, b"oh", Unavailable, 503),
        (429, b"{}", Unavailable, 503),
        (404, b"{}", IssuerFailed, 502),
        (200, b"<html>", IssuerFailed, 502),
        (200, b"[]", IssuerFailed, 502),
        (200, b"{}", IssuerFailed, 502),
        (200, b"[" * 100_000, IssuerFailed, 502),
        (200, b" " * 1_100_000, IssuerFailed, 502),
        (200, b'{"keys": [{"kty": "RSA"}], "id_token": 7}', IssuerFailed, 502),
        (200, b'{"keys": 7}', IssuerFailed, 502),
    ]:
        flow.issuer.broken[path] = (status, body)
        with pytest.raises(error, match=r"The issuer|The discovery document") as raised:
            await flow.sign_in()
        assert raised.value.status == code, body[:20]
    flow.issuer.broken.clear()
    assert await flow.sign_in(create_users=True)


async def test_a_discovery_document_that_can_not_be_used_is_refused(flow: Flow) -> None:
    documents: list[dict[str, Any]] = [
        {"issuer": "https://another.example"},
        {"authorization_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"jwks_uri": 7},
        {"jwks_uri": "http://["},
    ]
    for document in documents:
        flow.issuer.discovery = document
        with pytest.raises(IssuerFailed):
            await flow.service().start(return_to="/", redirect_uri=BACK)


async def test_an_issuer_that_is_gone_is_unavailable_and_works_again_when_it_is_back(flow: Flow) -> None:
    url, flow.issuer.url = flow.issuer.url, "http://127.0.0.1:9"
    service = flow.service()
    with pytest.raises(Unavailable, match="does not answer"):
        await service.start(return_to="/", redirect_uri=BACK)
    flow.issuer.url = url
    assert await flow.service().start(return_to="/", redirect_uri=BACK)


@pytest.mark.parametrize("path", ["/", "/reviews", "/a?b=c#d", "/a//b", "/%2f%2fevil.example", "/đường"])
def test_a_path_of_ours_is_gone_on_to(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "evil", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
     "javascript:alert(1)", "/\t/evil.example", "/a\r\nset-cookie: x=y", "\x00/", " /", "/a\x7f", "/" * 3000,
     "/" + "a" * 3000, "/a\\b"],
)  # fmt: skip
def test_a_path_that_might_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput) as error:
        local_path(path)
    assert error.value.param == "return_to"
