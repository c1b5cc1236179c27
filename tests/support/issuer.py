"""An OpenID Connect issuer on loopback, with real keys and real signatures, that can be told to do wrong."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

CLIENT_ID = "tidemill-tests"
CLIENT_SECRET = "a secret of tests: %/+"
Twist = Callable[[dict[str, Any]], str]


@dataclass
class TestIssuer:
    """What the issuer says, and whom it signs in. Each attribute can be changed while it runs.

    Attributes:
        person: the claims about whoever signs in.
        more: claims that replace others in the ID token, or take them out where `None`.
        twist: makes the ID token from its claims, in place of an honest signature.
        broken: by path, a status and body that are answered in place of what is right.
        asked: the paths that were asked for, in order.
        public: whether the client has no secret.
    """

    __test__ = False

    url: str = ""
    key: Key = field(default_factory=lambda: an_rsa_key())
    algorithm: str = "RS256"
    listed: list[Key] = field(default_factory=list)
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "7", "email": "an@mill.example", "email_verified": True, "name": "An Nguyễn"}
    )
    more: dict[str, Any] = field(default_factory=dict)
    twist: Twist | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    clock: Callable[[], float] = time.time
    public: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rotate(self, key: Key, algorithm: str) -> None:
        """Signs with another key from now on, and lists it alone."""
        self.key, self.algorithm, self.listed = key, algorithm, [key]

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **self.discovery,
        }

    def keys(self) -> dict[str, Any]:
        """The public keys, among one for another use and one of a kind that nobody knows."""
        others = [{"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AA"}]
        return {"keys": [key.as_dict(private=False) for key in self.listed or [self.key]] + others}

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser goes back to: the person always says yes."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """What the token endpoint answers."""
        if self.public:
            known = form.get("client_id") == CLIENT_ID and not authorization
        elif "client_secret_post" in self.discovery.get("token_endpoint_auth_methods_supported", []):
            known = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        else:
            shown = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
            known = authorization == f"Basic {shown}"
        if not known:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
            or form.get("grant_type") != "authorization_code"
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {"token_type": "Bearer", "access_token": "x", "id_token": self.id_token(asked["nonce"])}

    def id_token(self, nonce: str) -> str:
        """A signed ID token."""
        now = int(self.clock())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce, **self.person}
        claims = {name: value for name, value in {**claims, **self.more}.items() if value is not None}
        return self.twist(claims) if self.twist else self.signed(claims)

    def signed(self, claims: dict[str, Any], key: Any = None, **header: Any) -> str:
        """Claims under a signature."""
        whole = {"alg": self.algorithm, "kid": self.key.kid, **header}
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, claims, key or self.key, algorithms=[whole["alg"]])


@contextmanager
def running_issuer() -> Iterator[TestIssuer]:
    """An issuer until the end of the block."""
    issuer = TestIssuer()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if self.is_broken(parts.path):
                return
            if parts.path == "/.well-known/openid-configuration":
                self.answer(200, issuer.document())
            elif parts.path == "/keys":
                self.answer(200, issuer.keys())
            elif parts.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("location", issuer.authorize(asked))
                self.end_headers()
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if self.is_broken(self.path):
                return
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.answer(*issuer.token(form, self.headers.get("authorization", "")))

        def is_broken(self, path: str) -> bool:
            issuer.asked.append(path)
            if path in issuer.broken:
                status, body = issuer.broken[path]
                self.reply(status, body)
            return path in issuer.broken

        def answer(self, status: int, value: dict[str, Any]) -> None:
            self.reply(status, json.dumps(value).encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


@cache
def an_rsa_key() -> RSAKey:
    """A key that every issuer of a test run begins with: making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


def an_ec_key(kid: str) -> ECKey:
    """A fresh key on P-256."""
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})
