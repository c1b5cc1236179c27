"""An OpenID Connect issuer, asked over HTTP: discovery, the authorization code with PKCE, and the ID token.

Formats: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 7517 (JWKS).
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from tidemill.core.clock import Clock
from tidemill.core.errors import Configuration, NotAuthenticated, TidemillError, Unavailable
from tidemill.core.json import Json
from tidemill.settings import OidcSettings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a private key alone: never `none`, and never a MAC, whose key could be the public one."""
KEY_TYPES = frozenset({"RSA", "EC"})
LEEWAY_SECONDS = 60
FRESH = timedelta(hours=1)
"""How long the discovery document and the keys are believed; an unknown key is looked up at once."""
TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER = 1_000_000
LONGEST_SUBJECT = 255
OK, TOO_MANY, SERVER_ERROR = 200, 429, 500
FORM = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}


class IssuerFailed(TidemillError):
    """The issuer answered with something unusable."""

    status = 502
    code = "issuer_failed"
    exit_code = 7


class SignInRefused(NotAuthenticated):
    """The issuer does not say, in a way that holds, who this is."""

    code = "sign_in_refused"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom an ID token names. `email` is theirs only where the issuer has verified it."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the discovery document says, and the keys."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    secret_method: str
    keys: KeySet
    at: datetime


class Issuer:
    """Asks one issuer.

    Args:
        client: an HTTP client that the composition opens and closes.
        settings: which issuer, and what it calls us.
        secret: gives the client's secret at each use; `None` for a public client.
        clock: gives the time that the ID token's is compared with.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        settings: OidcSettings,
        *,
        secret: Callable[[], Awaitable[str | None]],
        clock: Clock,
    ) -> None:
        if settings.issuer is None or settings.client_id is None:
            raise Configuration("Sign-in through an issuer needs `auth.oidc.issuer` and `auth.oidc.client_id`.")
        self.url = settings.issuer
        self._client_id = settings.client_id
        self._scope = settings.scopes
        self._client = client
        self._secret = secret
        self._clock = clock
        self._discovered: Discovered | None = None

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser is sent.

        Raises:
            Unavailable: the issuer does not answer.
            IssuerFailed: its discovery document can't be used.
        """
        found = await self._discover()
        protocol = OAuth2Client(
            session=None,
            client_id=self._client_id,
            scope=self._scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        url, _ = protocol.create_authorization_url(
            found.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce
        )
        return str(url)

    async def identity(self, code: str, *, redirect_uri: str, nonce: str, verifier: str) -> Identity:
        """Whom the code stands for: exchanges it for an ID token, and checks that.

        Raises:
            SignInRefused: the issuer refuses the code, or the ID token does not hold.
            Unavailable: the issuer does not answer.
            IssuerFailed: it answers with something unusable.
            Configuration: it does not know us, or our secret is not set.
        """
        found = await self._discover()
        answer = await self._exchange(found, code, redirect_uri=redirect_uri, verifier=verifier)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise IssuerFailed(
                f"The issuer {self.url} gave no ID token. See that the client may ask for the scope `openid` there."
            )
        try:
            claims = self._claims(token, found.keys)
        except InvalidKeyIdError:
            found = await self._discover(anew=True)
            try:
                claims = self._claims(token, found.keys)
            except InvalidKeyIdError as error:
                raise self._refused("it is signed with a key that the issuer does not list") from error
        return self._checked(claims, nonce)

    async def _discover(self, *, anew: bool = False) -> Discovered:
        known = self._discovered
        if known is not None and not anew and self._clock() - known.at < FRESH:
            return known
        document = await self._get(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self.url:
            raise IssuerFailed(
                f"The discovery document of {self.url} names another issuer. Set `auth.oidc.issuer` to the address "
                "that the document itself names."
            )
        authorization, token, jwks = (
            self._endpoint(document, name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        methods = document.get("token_endpoint_auth_methods_supported")
        only_post = isinstance(methods, list) and "client_secret_basic" not in methods
        self._discovered = Discovered(
            authorization,
            token,
            jwks,
            "client_secret_post" if only_post else "client_secret_basic",
            self._key_set(await self._get(jwks)),
            self._clock(),
        )
        return self._discovered

    def _endpoint(self, document: dict[str, Json], name: str) -> str:
        url = document.get(name)
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            usable = bool(parts.hostname) and parts.scheme in {"https", urlsplit(self.url).scheme}
        except ValueError:
            usable = False
        if not usable:
            raise IssuerFailed(f"The discovery document of {self.url} has no usable `{name}`.")
        return str(url)

    def _key_set(self, document: dict[str, Json]) -> KeySet:
        """The keys of kinds that we take; RFC 7517 §5 has the others left out."""
        listed = document.get("keys")
        listed = listed if isinstance(listed, list) else []
        kept = [one for one in listed if isinstance(one, dict) and one.get("kty") in KEY_TYPES]
        try:
            return KeySet.import_key_set({"keys": kept})
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise IssuerFailed(f"The issuer {self.url} lists no key that can be used.") from error

    async def _exchange(self, found: Discovered, code: str, *, redirect_uri: str, verifier: str) -> dict[str, Json]:
        secret = await self._secret()
        body = prepare_token_request("authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=verifier)
        shown = ClientAuth(self._client_id, secret, "none" if secret is None else found.secret_method)
        url, headers, body = shown.prepare("POST", found.token_endpoint, dict(FORM), body)
        status, answer = await self._ask("POST", url, headers=headers, content=body)
        if status == OK:
            return answer
        said = answer.get("error")
        error = said if isinstance(said, str) and re.fullmatch(r"[a-z_]{1,60}", said) else f"status {status}"
        if error == "invalid_grant":
            raise SignInRefused("The issuer takes this code no more. Start to sign in again.")
        if error in {"invalid_client", "unauthorized_client"}:
            raise Configuration(
                f"The issuer {self.url} does not let this hub in ({error}). See that `auth.oidc.client_id` and the "
                "client's secret are what it gave you."
            )
        raise IssuerFailed(f"The issuer {self.url} gave no ID token: {error}.")

    def _claims(self, token: str, keys: KeySet) -> dict[str, Any]:
        """The claims under a signature that holds; raises `InvalidKeyIdError` where the key is not among these."""
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        try:
            return jwt.decode(token, keys, algorithms=ALGORITHMS, registry=registry).claims
        except InvalidKeyIdError:
            raise
        except (JoseError, ValueError, TypeError) as error:
            raise self._refused("its signature does not hold") from error

    def _checked(self, claims: dict[str, Any], nonce: str) -> Identity:
        """What the token says, if it is for us, of this sign-in, and of this time (Core 1.0 §3.1.3.7)."""
        needed = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            needed.validate(claims)
        except JoseError as error:
            claim = getattr(error, "claim", "")
            known = claim if claim in needed.options or claim == "nbf" else "a claim"
            raise self._refused(f"`{known}` is not as it must be") from error
        party = claims.get("azp")
        alone = not isinstance(claims["aud"], list) or len(claims["aud"]) == 1
        if (party is not None or not alone) and party != self._client_id:
            raise self._refused("`azp` names another client")
        subject = claims["sub"]
        if not subject or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
            raise self._refused("`sub` is not as it must be")
        email, name = claims.get("email"), claims.get("name")
        return Identity(
            issuer=self.url,
            subject=subject,
            email=email if isinstance(email, str) and email else None,
            email_verified=claims.get("email_verified") is True or claims.get("email_verified") == "true",
            name=name if isinstance(name, str) else None,
        )

    def _refused(self, why: str) -> SignInRefused:
        return SignInRefused(f"The ID token of the issuer {self.url} is not taken: {why}. Start to sign in again.")

    async def _get(self, url: str) -> dict[str, Json]:
        status, answer = await self._ask("GET", url, headers={"accept": "application/json"})
        if status != OK:
            raise IssuerFailed(f"The issuer {self.url} answered {url} with {status}.")
        return answer

    async def _ask(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Json]]:
        """The status and the JSON object of an answer, which is empty where it is none and no success either."""
        body = b""
        try:
            async with self._client.stream(method, url, timeout=TIMEOUT_SECONDS, **options) as response:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > LONGEST_ANSWER:
                        raise IssuerFailed(
                            f"The issuer {self.url} answers {url} with more than {LONGEST_ANSWER} bytes."
                        )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"The issuer {self.url} does not answer ({type(error).__name__}). Try again in a moment."
            ) from error
        if response.status_code >= SERVER_ERROR or response.status_code == TOO_MANY:
            raise Unavailable(f"The issuer {self.url} is not well: {response.status_code}. Try again in a moment.")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            if response.status_code == OK:
                raise IssuerFailed(f"The issuer {self.url} answers {url} with something else than a JSON object.")
            answer = {}
        return response.status_code, answer
