"""A forge's REST API: signed requests, all pages of a list, and what a refusal means."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from tidemill.analysis.addresses import Reach, literal_address, reach_of
from tidemill.analysis.http_limits import limited_for, next_page
from tidemill.core.clock import Clock
from tidemill.core.errors import (
    Configuration,
    Conflict,
    ModelFailed,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    TidemillError,
    TooManyRequests,
    Unavailable,
)
from tidemill.core.json import Json
from tidemill.forges.port import Refused
from tidemill.outbound import Outbound

MOST_PAGES = 1000
SHOWN = 300
"""Characters of what a forge says that are shown."""

T = TypeVar("T")
Sign = Callable[[], Awaitable[Mapping[str, str]]]
"""Gives the headers that say who asks."""


class Rest:
    """One forge's API, over connections that are kept.

    Args:
        name: the forge's name in the settings.
        base: the API's address, without a slash at its end.
        outbound: makes the connections. Private addresses may be asked, since an operator named the forge.
        timeout: seconds without anything happening.
        clock: the time, to which the forge's own times are held.
    """

    def __init__(self, name: str, base: str, outbound: Outbound, *, timeout: float, clock: Clock) -> None:
        self._name = name
        self.base = base
        self._outbound = outbound
        self._client = outbound.client(timeout=timeout, allow_private=True)
        self._clock = clock

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def one(self, kind: type[T], sign: Sign, method: str, path: str, body: Json | None = None) -> T:
        """What an answer holds, read as `kind`.

        Raises:
            TidemillError: as the port says.
        """
        answer = await self.send(sign, method, f"{self.base}{path}", body)
        return self._read(TypeAdapter(kind), answer)

    async def do(self, sign: Sign, method: str, path: str, body: Json | None = None) -> None:
        """A request whose answer says nothing that is needed. Raises as `one`."""
        await self.send(sign, method, f"{self.base}{path}", body)

    async def all(self, kind: type[T], sign: Sign, path: str, **query: str | int) -> list[T]:
        """Each item of a list, of all pages. Raises as `one`."""
        url: str | None = f"{self.base}{path}" + (f"?{urlencode(query)}" if query else "")
        items: TypeAdapter[list[T]] = TypeAdapter(list[kind])  # type: ignore[valid-type]
        found: list[T] = []
        seen = set[str]()
        while url is not None:
            if len(seen) == MOST_PAGES or url in seen:
                raise Unavailable(f"The list {path} of the forge {self._name} does not end.")
            seen.add(url)
            answer = await self.send(sign, "GET", url, None)
            page: list[T] = self._read(items, answer)
            found.extend(page)
            url = self._next(answer)
        return found

    async def send(self, sign: Sign, method: str, url: str, body: Json | None) -> httpx.Response:
        """One answer of a status below 300. Raises as `one`."""
        await self._check_encrypted(url)
        headers = {"accept": "application/json", **await sign()}
        try:
            answer = await self._client.request(method, url, json=body, headers=headers)
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"The forge {self._name} can't be asked ({urlsplit(url).path}): {said}") from error
        except ModelFailed as error:  # too long, or compressed
            raise Unavailable(f"The forge {self._name} can't be read: {error.message}") from error
        if answer.status_code >= 300:
            raise self._refusal(answer, method)
        return answer

    async def _check_encrypted(self, url: str) -> None:
        """A token goes in clear over one's own network at most."""
        parts = urlsplit(url)
        if parts.scheme == "https":
            return
        for address in await self._outbound.addresses(parts.hostname or "", allow_private=True):
            literal = literal_address(address)
            if literal is None or reach_of(literal) is Reach.PUBLIC:
                raise Configuration(
                    f"The forge {self._name} lies outside of your own network, where its token is sent over https:// "
                    f"alone. Mend forges.{self._name}.url."
                )

    def _next(self, answer: httpx.Response) -> str | None:
        named = next_page(answer.headers)
        if named is None:
            return None
        url = urljoin(str(answer.url), named)
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            raise Unavailable(f"The forge {self._name} names a next page on another host, where no token is sent.")
        return url

    def _read(self, kind: TypeAdapter[T], answer: httpx.Response) -> T:
        try:
            return kind.validate_json(answer.content)
        except ValidationError as error:
            raise Unavailable(
                f"The forge {self._name} answered {answer.url.path} with something else than its API promises. Check "
                f"forges.{self._name}.url and .kind."
            ) from error

    def _refusal(self, answer: httpx.Response, method: str) -> TidemillError:
        status, what = answer.status_code, f"{method} {answer.url.path}"
        wait = limited_for(status, answer.headers, answer.content[:4000], self._clock())
        if wait is not None:
            return TooManyRequests(
                f"The forge {self._name} wants no request for the next {wait:,.0f} s.", retry_after=wait
            )
        said = _said(answer)
        if status == 401:
            return NotAuthenticated(
                f"The forge {self._name} does not accept its token or key: it may have ended or been withdrawn. Store "
                "a new one under the same name with `tidemill secrets set`."
            )
        if status == 403:
            right = answer.headers.get("x-accepted-github-permissions") or answer.headers.get("x-accepted-oauth-scopes")
            needed = f" It needs one of: {right[:SHOWN]}." if right else ""
            return NotPermitted(f"The forge {self._name} does not permit {what}: {said}.{needed}")
        if status in {404, 410}:
            return NotFound(f"The forge {self._name} has nothing at {what}, or nothing for its token: {said}.")
        if status == 409:
            return Conflict(f"The forge {self._name} does not take {what} now: {said}.")
        if status < 400:
            return Unavailable(f"The forge {self._name} redirects {what} elsewhere, where no token is sent.")
        if status < 500:
            return Refused(f"The forge {self._name} does not take {what} (HTTP {status}): {said}.")
        return Unavailable(f"The forge {self._name} answered {what} with HTTP {status}.")


def _said(answer: httpx.Response) -> str:
    """What a forge says in a refusal, in one line."""
    try:
        value: Any = answer.json()
    except ValueError:
        return "it does not say why"
    if isinstance(value, dict):
        parts = [value.get(name) for name in ("message", "error", "errors") if value.get(name)]
        value = "; ".join(str(part) for part in parts)
    text = " ".join(str(value).split())
    return text[:SHOWN].rstrip(".") or "it does not say why"
