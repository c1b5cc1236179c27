"""One request after another to one site: at its pace, with bounds of size and time, and redirects held to the site."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx

from tidemill import __version__
from tidemill.analysis.http_limits import retry_after
from tidemill.core.errors import ModelFailed, Unavailable
from tidemill.crawlers.urls import canonical_url, same_site
from tidemill.outbound import Refused

PRODUCT = "Tidemill"
"""What robots.txt may call us."""
USER_AGENT = f"{PRODUCT}/{__version__}"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NOT_BOUNDED_HERE = 1 << 40
"""For the client: each answer has a bound of its own, so that what is too large is told from what is broken."""
MOST_WAIT = 60.0
"""Seconds that a crawl waits where a server asks it to."""
TRIES = 3
_FIRST_WAIT = 2.0

Sleep = Callable[[float], Awaitable[None]]


class NotFetched(Unavailable):
    """Something that a server did not give; the message says why. `reason_code` is one word for machines."""

    def __init__(self, message: str, reason_code: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason_code = reason_code


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `data` is the body where the status is 200 and it was wanted; see `Fetcher.once`."""

    url: str
    status: int
    headers: Mapping[str, str]
    data: bytes
    read: bool


class Pace:
    """At most one request in so many seconds."""

    def __init__(self, seconds: float, sleep: Sleep = asyncio.sleep) -> None:
        self.seconds = seconds
        self._sleep = sleep
        self._next = 0.0

    async def turn(self) -> None:
        """Waits until the next request may be sent."""
        clock = asyncio.get_running_loop().time
        wait = self._next - clock()
        if wait > 0:
            await self._sleep(wait)
        self._next = clock() + self.seconds

    async def pause(self, seconds: float) -> None:
        """Waits, because the server asked for it."""
        await self._sleep(seconds)


class Fetcher:
    """Asks one server. Keeps no cookies.

    Args:
        client: one that checks each address, and follows no redirect.
        pace: how often it may be asked.
        seconds: how long one request may take in all.
    """

    def __init__(self, client: httpx.AsyncClient, pace: Pace, *, seconds: float) -> None:
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._client = client
        self.pace = pace
        self._seconds = seconds

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        wanted: Callable[[Mapping[str, str]], bool] = lambda headers: True,
        cut: bool = False,
    ) -> Answer:
        """One answer, which may be a redirect. Waits and asks again where the server is busy and says for how long.

        Args:
            url: a canonical address.
            max_bytes: of the body.
            headers: to be sent along.
            wanted: whether to read the body, from its headers.
            cut: take the beginning of a body that is longer, rather than none.

        Raises:
            NotFetched: no answer, an unusable one, or one that is too large.
            Refused: the host may not be asked.
        """
        waited = _FIRST_WAIT
        for left in reversed(range(TRIES)):
            await self.pace.turn()
            answer = await self.once(url, max_bytes=max_bytes, headers=headers, wanted=wanted, cut=cut)
            if answer.status not in {429, 503} or left == 0:
                break
            pause = retry_after(answer.headers)
            if pause is not None and pause > MOST_WAIT:
                raise NotFetched(
                    f"The server of {url} wants no request for the next {pause:,.0f} s. Sync again after that.",
                    "busy",
                    retry_after=pause,
                )
            await self.pace.pause(waited if pause is None else pause)
            waited *= 4
        return answer

    async def once(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        wanted: Callable[[Mapping[str, str]], bool] = lambda headers: True,
        cut: bool = False,
        of_errors: int = 0,
    ) -> Answer:
        """One answer, at once and without another try.

        Args:
            url, max_bytes, headers, wanted, cut: as for `get`.
            of_errors: bytes that are read of the body that comes with a status other than 200.

        Raises:
            NotFetched, Refused: as `get`.
        """
        sent = {"user-agent": USER_AGENT, "accept": "*/*", **(headers or {})}
        try:
            async with asyncio.timeout(self._seconds), self._client.stream("GET", url, headers=sent) as response:
                read = response.status_code == 200 and wanted(response.headers)
                data = b""
                if read:
                    data = await _body(response, url, max_bytes, cut=cut)
                elif of_errors and response.status_code != 200:
                    data = await _body(response, url, of_errors, cut=True)
                return Answer(url, response.status_code, response.headers, data, read)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NotFetched(f"{url} was not answered within {self._seconds:g} s.", "timeout") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise NotFetched(f"{url} can't be fetched: {said}.", "no_connection") from error
        except ModelFailed as error:
            raise NotFetched(f"{url} can't be fetched: {error.message}", "unusable") from error
        except Refused:
            raise
        except NotFetched:
            raise
        except Unavailable as error:
            raise NotFetched(error.message, "no_address") from error

    async def follow(
        self,
        url: str,
        *,
        max_bytes: int,
        max_redirects: int,
        headers: Mapping[str, str] | None = None,
        cut: bool = False,
    ) -> Answer:
        """The answer at the end of a few redirects, all within the site.

        Raises:
            NotFetched, Refused: as `get`; also for too many redirects, and for one that leaves the site.
        """
        site = url
        for _ in range(max_redirects + 1):
            answer = await self.get(url, max_bytes=max_bytes, headers=headers, cut=cut)
            if answer.status not in REDIRECTS:
                return answer
            url = redirected(answer, site)
        raise NotFetched(f"{site} redirects more than {max_redirects} times.", "too_many_redirects")


def redirected(answer: Answer, site: str) -> str:
    """Where a redirect leads.

    Raises:
        NotFetched: nowhere, or to another site than that of `site`.
    """
    target = canonical_url(answer.headers.get("location", ""), answer.url) if "location" in answer.headers else None
    if target is None:
        raise NotFetched(f"{answer.url} redirects to no address that can be asked.", "bad_redirect")
    if not same_site(site, target):
        raise NotFetched(
            f"{answer.url} redirects to another host, {urlsplit(target).hostname}, which is not followed. Give an "
            "address there if that is what you want.",
            "other_host",
        )
    return target


async def _body(response: httpx.Response, url: str, max_bytes: int, *, cut: bool) -> bytes:
    length = response.headers.get("content-length", "")
    if not cut and length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise _too_large(url, max_bytes)
    kept = bytearray()
    async for part in response.aiter_bytes():
        kept += part
        if len(kept) > max_bytes:
            if cut:
                return bytes(kept[:max_bytes])
            raise _too_large(url, max_bytes)
    return bytes(kept)


def _too_large(url: str, max_bytes: int) -> NotFetched:
    return NotFetched(f"{url} has more than {max_bytes:,} bytes (the source's option `max_bytes`).", "too_large")
