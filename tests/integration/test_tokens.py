"""Tokens for machines: what they stand for, what ends them, and forged ones."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.conftest import NOON
from tests.support.sign_in import PASSWORD, SECRET, SignInServices
from tidemill.accounts.api_keys import ApiKeys, NewApiKey, Wanted
from tidemill.accounts.key_check import KeyCheck
from tidemill.accounts.recent import SECONDS
from tidemill.accounts.tokens import INVALID, Tokens
from tidemill.core.accounts import RIGHTS, Right, Role
from tidemill.core.audit import COMMAND
from tidemill.core.classification import Level
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotPermitted
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.database import Pool

KEY = OctKey.import_key(bytes.fromhex(SECRET.derive("access tokens")))
RSA = RSAKey.generate_key(2048)


class Hub(SignInServices):
    """With keys and tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = ApiKeyRepository(self.pool)
        self.check = KeyCheck(rows, derive=SECRET.derive, clock=self.time)
        self.keys = ApiKeys(rows, self.people, check=self.check, audit=self.audit, clock=self.time)
        self.tokens = Tokens(
            keys=self.keys, sessions=self.sessions, audit=self.audit, derive=SECRET.derive, clock=self.time
        )

    async def key(self, **wanted: Any) -> NewApiKey:
        return await self.keys.create(Wanted("a machine", **wanted), COMMAND)

    async def token_of(self, made: NewApiKey, *scopes: Right) -> str:
        caller = await self.check.check(made.secret, self.time.mono)
        return (await self.tokens.issue(caller, scopes or None)).token


@pytest.fixture
def hub(pool: Pool) -> Hub:
    return Hub(pool)


async def test_a_token_does_what_its_key_does_for_an_hour(hub: Hub) -> None:
    user = await hub.add(role=Role.MAINTAINER, access_level=Level.SECRET)
    made = await hub.key(role=Role.MAINTAINER, owner_id=user.id)
    caller = await hub.check.check(made.secret, 0)
    token = await hub.tokens.issue(caller, None)
    assert token.expires_in == 3600
    assert token.scopes == RIGHTS[Role.MAINTAINER]
    assert await hub.tokens.check(token.token, 0) == replace(caller, expires_at=NOON + timedelta(hours=1))
    hub.time.pass_by(minutes=59, seconds=59)
    assert await hub.tokens.check(token.token, hub.time.mono)
    hub.time.pass_by(seconds=1)
    with pytest.raises(NotAuthenticated):
        await hub.tokens.check(token.token, hub.time.mono)


async def test_a_token_is_taken_by_a_hub_whose_clock_is_a_little_behind(hub: Hub) -> None:
    token = await hub.token_of(await hub.key())
    hub.time.pass_by(seconds=-30)
    assert await hub.tokens.check(token, 0)
    hub.time.pass_by(minutes=-1)
    with pytest.raises(NotAuthenticated):
        await hub.tokens.check(token, 0)


async def test_its_claims_are_those_of_the_standard_and_name_what_it_stands_for(hub: Hub) -> None:
    made = await hub.key(role=Role.MEMBER)
    decoded = jwt.decode(await hub.token_of(made, Right.MODELS_USE), KEY, algorithms=["HS256"])
    assert decoded.header == {"alg": "HS256", "typ": "JWT"}
    claims = decoded.claims
    assert claims.pop("jti")
    assert claims == {
        "iss": "tidemill",
        "aud": "tidemill",
        "sub": str(made.key.id),
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 3600,
        "scopes": ["models.use"],
        "key_id": str(made.key.id),
    }


async def test_a_token_is_narrowed_to_the_scopes_that_are_asked_for(hub: Hub) -> None:
    token = await hub.token_of(await hub.key(role=Role.ADMIN), Right.MODELS_USE, Right.ACCOUNT)
    assert (await hub.tokens.check(token, 0)).rights == {Right.MODELS_USE, Right.ACCOUNT}


async def test_a_token_asks_for_no_right_that_its_caller_lacks(hub: Hub) -> None:
    caller = await hub.check.check((await hub.key(role=Role.VIEWER)).secret, 0)
    with pytest.raises(NotPermitted, match=r"audit\.read"):
        await hub.tokens.issue(caller, [Right.ACCOUNT, Right.AUDIT_READ])
    with pytest.raises(InvalidInput):
        await hub.tokens.issue(caller, [])


async def test_a_token_gets_no_token_that_does_more_or_lives_longer(hub: Hub) -> None:
    token = await hub.token_of(await hub.key(role=Role.ADMIN), Right.ACCOUNT, Right.MODELS_READ)
    hub.time.pass_by(minutes=40)
    caller = await hub.tokens.check(token, hub.time.mono)
    second = await hub.tokens.issue(caller, None)
    assert second.expires_in == 20 * 60
    assert second.scopes == {Right.ACCOUNT, Right.MODELS_READ}
    with pytest.raises(NotPermitted):
        await hub.tokens.issue(caller, [Right.MODELS_USE])
    hub.time.pass_by(minutes=20)
    with pytest.raises(NotAuthenticated):
        await hub.tokens.check(second.token, hub.time.mono)


async def test_a_token_ends_with_a_key_that_ends_sooner(hub: Hub) -> None:
    made = await hub.key(expires_at=NOON + timedelta(minutes=10))
    caller = await hub.check.check(made.secret, 0)
    assert (await hub.tokens.issue(caller, None)).expires_in == 600


async def test_revoking_the_key_ends_its_tokens_within_seconds(hub: Hub, pool: Pool) -> None:
    made = await hub.key()
    token = await hub.token_of(made)
    await hub.tokens.check(token, hub.time.mono)
    await Hub(pool, hub.time).keys.revoke_id(made.key.id, COMMAND)
    hub.time.pass_by(seconds=SECONDS)
    with pytest.raises(NotAuthenticated):
        await hub.tokens.check(token, hub.time.mono)


@pytest.mark.parametrize("change", [{"disabled_at": NOON}, {"erased_at": NOON}])
async def test_disabling_the_person_ends_tokens_of_keys_and_of_sessions_within_seconds(
    hub: Hub, change: dict[str, Any]
) -> None:
    user = await hub.add()
    session = await hub.sign_in.with_password(str(user.email), PASSWORD, address="192.0.2.1")
    caller = await hub.sessions.check(session.token, hub.time.mono)
    tokens = [
        await hub.token_of(await hub.key(owner_id=user.id)),
        (await hub.tokens.issue(caller, None)).token,
    ]
    for token in tokens:
        assert (await hub.tokens.check(token, hub.time.mono)).user_id == user.id
    await hub.update(replace(user, **change))
    hub.time.pass_by(seconds=SECONDS)
    for token in tokens:
        with pytest.raises(NotAuthenticated):
            await hub.tokens.check(token, hub.time.mono)


async def test_a_lesser_role_of_the_person_narrows_tokens_that_are_out(hub: Hub) -> None:
    user = await hub.add(role=Role.ADMIN)
    token = await hub.token_of(await hub.key(role=Role.ADMIN, owner_id=user.id), Right.AUDIT_READ, Right.ACCOUNT)
    await hub.update(replace(user, role=Role.VIEWER))
    hub.time.pass_by(seconds=SECONDS)
    assert (await hub.tokens.check(token, hub.time.mono)).rights == {Right.ACCOUNT}


async def test_a_token_of_a_session_ends_when_its_person_signs_out(hub: Hub) -> None:
    user = await hub.add()
    session = await hub.sign_in.with_password(str(user.email), PASSWORD, address="192.0.2.1")
    caller = await hub.sessions.check(session.token, 0)
    token = (await hub.tokens.issue(caller, None)).token
    await hub.tokens.check(token, 0)
    await hub.sessions.end(session.session.id, caller, user.id)
    with pytest.raises(NotAuthenticated):
        await hub.tokens.check(token, 0)


async def test_each_token_is_in_the_audit_log_without_itself(hub: Hub) -> None:
    token = await hub.token_of(await hub.key(), Right.MODELS_USE)
    entries = [entry async for entry in hub.audit.entries() if entry.action == "token.issued"]
    assert [entry.details for entry in entries] == [{"scopes": ["models.use"]}]
    assert token.rpartition(".")[2] not in str(entries)


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: dict[str, Any], key: Any = KEY, **header: Any) -> str:
    whole = {"alg": "HS256", "typ": "JWT", **header}
    return jwt.encode(whole, dict(claims), key, algorithms=[str(whole["alg"])])


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": lambda claims: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
    "alg None": lambda claims: f"{part({'alg': 'None', 'typ': 'JWT'})}.{part(claims)}.",
    "no alg": lambda claims: f"{part({'typ': 'JWT'})}.{part(claims)}.",
    "our header and no signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "our header and another signature": lambda claims: signed(claims).rpartition(".")[0] + "." + part(b"0" * 32),
    "another key": lambda claims: signed(claims, OctKey.import_key(b"6" * 32)),
    "the key of another purpose": lambda claims: signed(
        claims, OctKey.import_key(bytes.fromhex(SECRET.derive("sessions")))
    ),
    "HS512 under our key": lambda claims: signed(claims, alg="HS512"),
    "RS256": lambda claims: signed(claims, RSA, alg="RS256"),
    "HS256 with a kid": lambda claims: signed(claims, kid="1"),
    "a key inside": lambda claims: signed(claims, jwk={"kty": "oct", "k": "AAAA"}),
    "claims put in": lambda claims: ".".join(
        [(whole := signed(claims)).split(".")[0], part({**claims, "scopes": ["audit.read"]}), whole.split(".")[2]]
    ),
    "another issuer": lambda claims: signed({**claims, "iss": "elsewhere"}),
    "another audience": lambda claims: signed({**claims, "aud": "elsewhere"}),
    "another person": lambda claims: signed({**claims, "sub": "01900000-0000-7000-8000-000000000000"}),
    "over": lambda claims: signed({**claims, "exp": claims["iat"] - 1}),
    "an end that is no number": lambda claims: signed({**claims, "exp": "never"}),
    "an end that is not a number": lambda claims: signed({**claims, "exp": float("nan")}),
    "not begun": lambda claims: signed({**claims, "nbf": claims["iat"] + 61}),
    "from the future": lambda claims: signed({**claims, "iat": claims["iat"] + 61}),
    "no end": lambda claims: signed({name: one for name, one in claims.items() if name != "exp"}),
    "no scopes": lambda claims: signed({name: one for name, one in claims.items() if name != "scopes"}),
    "scopes of another version": lambda claims: signed({**claims, "scopes": ["everything"]}),
    "no key": lambda claims: signed({name: one for name, one in claims.items() if name != "key_id"}),
    "a key that is no id": lambda claims: signed({**claims, "key_id": "x"}),
    "a header that is a list": lambda claims: f"{part(['alg'])}.{part(claims)}.",
    "a header that is a text": lambda claims: f"{part('alg')}.{part(claims)}.",
    "crit that is a number": lambda claims: f"{part({'alg': 'HS256', 'crit': 1})}.{part(claims)}.",
    "nothing": lambda claims: "",
    "dots": lambda claims: "..",
    "no base64": lambda claims: signed(claims).split(".")[0] + ".é.é",
    "a half character": lambda claims: signed(claims).split(".")[0] + ".\ud800.x",
    "five parts": lambda claims: signed(claims) + ".a.b",
    "too long": lambda claims: signed({**claims, "more": "x" * 10_000}),
    "deep": lambda claims: signed(claims).split(".")[0] + "." + part(b"[" * 2000) + ".x",
}


async def test_forged_and_foreign_tokens_all_get_the_one_answer(hub: Hub) -> None:
    made = await hub.key(role=Role.ADMIN)
    token = await hub.token_of(made, Right.MODELS_USE)
    claims = jwt.decode(token, KEY, algorithms=["HS256"]).claims
    assert await hub.tokens.check(signed(claims), 0)
    taken = []
    for how, forge in FORGED.items():
        try:
            await hub.tokens.check(forge(claims), 0)
        except NotAuthenticated as error:
            assert error.message == INVALID, how  # noqa: PT017 - one of many
        else:
            taken.append(how)
    assert not taken
