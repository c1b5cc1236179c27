"""Where a request comes from, and to which address of ours it was sent.

Headers that a proxy sets are believed from the proxies alone that `auth.trusted_proxies` lists.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from tidemill.core.errors import NotPermitted
from tidemill.settings import AuthSettings

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
SESSION = "tidemill_session"
HOST = re.compile(r"[A-Za-z0-9._\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
FOREIGN = (
    "This request comes from a page of another site, or does not say from where. If it is yours, open the hub at the "
    "address that `auth.public_url` names, or set that to the address at which you opened it."
)


class RequestOrigin:
    """Reads it from a request.

    Args:
        settings: the hub's own address, and which proxies stand before it.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._public_url = settings.public_url
        self._secure = settings.secure_cookies
        self._trusted = tuple(settings.trusted_proxies)

    def address(self, scope: Scope) -> str:
        """The client's network address: the socket's, or the last that no trusted proxy has in X-Forwarded-For."""
        peer = _peer(scope)
        if not self._trusts(peer):
            return peer
        for named in reversed(list(_listed(scope, b"x-forwarded-for"))):
            if not _is_address(named):
                break
            peer = named
            if not self._trusts(named):
                break
        return peer

    def base(self, scope: Scope) -> str:
        """Our own address as browsers write it in `Origin`, such as `https://hub.example`; empty if it has no form."""
        if self._public_url is not None:
            return self._public_url
        host = _header(scope, b"host").lower()
        if not HOST.fullmatch(host):
            return ""
        scheme = self._scheme(scope)
        return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}[scheme])}"

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser's side is https, so that cookies are sent over nothing else."""
        if self._secure:
            return True
        return (self._public_url or f"{self._scheme(scope)}:").startswith("https:")

    def refuse_foreign(self, scope: Scope, *, must_say: bool) -> None:
        """Goes on only with a request that a page of ours has sent, or no page at all.

        Args:
            scope: the request.
            must_say: whether one that says nothing of where it comes from is refused, too.

        Raises:
            NotPermitted: it comes from elsewhere.
        """
        origin, site = _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
        if not origin and not site:
            if must_say:
                raise NotPermitted(FOREIGN)
            return
        if (origin and origin.lower() != self.base(scope)) or (site and site != "same-origin"):
            raise NotPermitted(FOREIGN)

    def cookie(self, scope: Scope, name: str) -> str | None:
        """The value of one of our cookies, or `None`."""
        return cookie_parser(_header(scope, b"cookie")).get(self._named(scope, name)) or None

    def set_cookie(
        self, scope: Scope, response: Response, name: str, value: str, *, seconds: int | None = None
    ) -> None:
        """Gives the browser one of our cookies, which no script and no other site sees; an empty one takes it away."""
        response.set_cookie(
            self._named(scope, name),
            value,
            max_age=seconds if value else 0,
            path="/",
            secure=self.is_secure(scope),
            httponly=True,
            samesite="lax",
        )

    def _named(self, scope: Scope, name: str) -> str:
        # Browsers take a cookie of this prefix over https from the very host alone (RFC 6265bis §4.1.3.2).
        return f"__Host-{name}" if self.is_secure(scope) else name

    def _scheme(self, scope: Scope) -> str:
        if self._trusted and self._trusts(_peer(scope)):
            named = list(_listed(scope, b"x-forwarded-proto"))
            if named and named[-1] in {"http", "https"}:
                return named[-1]
        return "https" if scope.get("scheme") == "https" else "http"

    def _trusts(self, address: str) -> bool:
        if not self._trusted or not _is_address(address):
            return False
        parsed = ipaddress.ip_address(address)
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network for network in self._trusted)


def _peer(scope: Scope) -> str:
    client: Any = scope.get("client")
    return str(client[0]) if client else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for one, value in scope["headers"] if one == name), "")


def _listed(scope: Scope, name: bytes) -> Iterable[str]:
    for one, value in scope["headers"]:
        if one == name:
            yield from (part.strip() for part in value.decode("latin-1").split(","))
