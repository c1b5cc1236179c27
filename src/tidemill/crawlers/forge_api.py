"""The REST APIs of forges: signed requests, pages by `Link`, and limits that are waited for as long as is allowed."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError

from tidemill.analysis.http_limits import limited_for, next_page
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, Unavailable
from tidemill.crawlers.fetching import REDIRECTS, TRIES, Answer, Fetcher, NotFetched, redirected
from tidemill.crawlers.urls import canonical_url, same_site

LARGEST_JSON = 20_000_000
MOST_PAGES = 1000
MOST_REDIRECTS = 3
_SECRET = "source."  # noqa: S105 - the beginning of the names of secrets
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ERROR_BYTES = 4000
_FIRST_WAIT = 1.0

T = TypeVar("T")


class Tokens(Protocol):
    """Gives the secrets that people stored."""

    async def reveal(self, name: str) -> str:
        """A secret's value. Raises `Configuration` where there is none of this name."""
        ...


class Waiting:
    """How long a crawl may wait in all for a forge's limits.

    Args:
        seconds: altogether.
        clock: the time, to which the forge's own times are held.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._left = seconds
        self._most = seconds
        self._clock = clock

    def take(self, seconds: float, forge: str) -> float:
        """The seconds to wait now.

        Raises:
            Unavailable: they are more than are left.
        """
        if seconds > self._left:
            raise Unavailable(
                f"{forge} allows no more requests for the next {seconds:,.0f} s, and a crawl waits {self._most:,.0f} s "
                "in all (the option `max_wait`). What was collected until now is kept; sync again after that, or give "
                "a token, which may ask more often.",
                retry_after=seconds,
            )
        self._left -= seconds
        return seconds

    def wanted(self, answer: Answer) -> float | None:
        """Seconds to wait where a forge refuses for its limits; `None` where it does not refuse for them."""
        return limited_for(answer.status, answer.headers, answer.data, self._clock())


class ForgeApi:
    """One forge's API.

    Args:
        forge: what people call it.
        base: the API's address, without a slash at its end.
        fetcher: asks it.
        headers: of each request, among them what signs it.
        waiting: how long limits are waited for.
    """

    def __init__(self, forge: str, base: str, fetcher: Fetcher, headers: Mapping[str, str], waiting: Waiting) -> None:
        self._forge = forge
        self._base = base
        self._fetcher = fetcher
        self._headers = headers
        self._waiting = waiting

    async def one(self, kind: type[T], path: str, **query: str | int) -> T:
        """What stands at a path, read as `kind`.

        Raises:
            NotFound, NotPermitted, Unavailable: the forge does not give it.
        """
        answer = await self._asked(self._address(path, query), LARGEST_JSON, "application/json")
        return self._read(TypeAdapter(kind), answer)

    async def all(self, kind: type[T], path: str, **query: str | int) -> AsyncGenerator[T, None]:
        """Each item of a list, page by page.

        Raises:
            NotFound, NotPermitted, Unavailable: the forge does not give one of its pages.
        """
        url: str | None = self._address(path, query)
        items = TypeAdapter(list[kind])  # type: ignore[valid-type]
        seen = set[str]()
        while url is not None and url not in seen and len(seen) < MOST_PAGES:
            seen.add(url)
            answer = await self._asked(url, LARGEST_JSON, "application/json")
            for item in self._read(items, answer):
                yield item
            url = self._next(answer)
        if url is not None:
            raise Unavailable(f"The list {path} of {self._forge} does not end within {MOST_PAGES} pages.")

    async def raw(self, path: str, max_bytes: int, accept: str, **query: str | int) -> bytes:
        """The bytes that stand at a path.

        Raises:
            NotFetched: they are more than `max_bytes`.
            NotFound, NotPermitted, Unavailable: the forge does not give them.
        """
        return (await self._asked(self._address(path, query), max_bytes, accept)).data

    def _address(self, path: str, query: Mapping[str, str | int]) -> str:
        return f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")

    def _read(self, kind: TypeAdapter[T], answer: Answer) -> T:
        try:
            return kind.validate_json(answer.data)
        except ValidationError as error:
            path = urlsplit(answer.url).path
            raise Unavailable(
                f"{self._forge} answered {path} with something else than its API promises. Check that the source's "
                "location is a project of such a forge."
            ) from error

    def _next(self, answer: Answer) -> str | None:
        named = next_page(answer.headers)
        if named is None:
            return None
        url = canonical_url(named, answer.url)
        if url is None or not same_site(self._base, url):
            raise Unavailable(f"{self._forge} names a next page on another host, where its token is not sent.")
        return url

    async def _asked(self, url: str, max_bytes: int, accept: str) -> Answer:
        """An answer of status 200, after what waiting and redirects it takes."""
        failures = redirects = 0
        while True:
            await self._fetcher.pace.turn()
            try:
                answer = await self._once(url, max_bytes, accept)
            except NotFetched as error:
                failures += 1
                if error.reason_code == "too_large" or failures == TRIES:
                    raise
                await self._fetcher.pace.pause(_FIRST_WAIT * 4 ** (failures - 1))
                continue
            wait = self._waiting.wanted(answer)
            if answer.status == 200:
                return answer
            if wait is not None:
                await self._fetcher.pace.pause(self._waiting.take(wait, self._forge))
            elif answer.status in REDIRECTS and redirects < MOST_REDIRECTS:
                redirects += 1
                url = redirected(answer, self._base)
            else:
                raise self._refusal(answer)

    async def _once(self, url: str, max_bytes: int, accept: str) -> Answer:
        headers = {**self._headers, "accept": accept}
        answer = await self._fetcher.once(url, max_bytes=max_bytes, headers=headers, of_errors=_ERROR_BYTES)
        if answer.status >= 500 and self._waiting.wanted(answer) is None:
            raise NotFetched(f"{self._forge} answered with HTTP {answer.status}. Sync again later.", "server_error")
        return answer

    def _refusal(self, answer: Answer) -> Exception:
        path = urlsplit(answer.url).path
        if answer.status == 401:
            return NotPermitted(
                f"{self._forge} does not accept the source's token: it may have ended or been withdrawn. Make a new "
                "one, and store it under the same name."
            )
        if answer.status == 403:
            return NotPermitted(
                f"{self._forge} does not let the source read {path}. Give its token the right to read it, or leave "
                "that part out with the option `parts`."
            )
        if answer.status in {404, 409, 410}:  # GitHub's word for a repository without a commit is 409
            return NotFound(
                f"{self._forge} has nothing at {path}, or nothing that the source may see. Check the location; for a "
                "private project, name a token in the option `token`."
            )
        return Unavailable(f"{self._forge} answered {path} with HTTP {answer.status}.")


def check_token(name: str | None, site: str) -> None:
    """Goes on where a secret may be sent to this site: its name says which host it is for.

    So nobody who may add a source learns a secret by naming it for a host of their own.

    Raises:
        InvalidInput: it may not.
    """
    if name is None:
        return
    parts = urlsplit(site)
    host = parts.hostname or ""
    if name != f"{_SECRET}{host}" and not name.startswith(f"{_SECRET}{host}_"):
        raise InvalidInput(
            f"A token for {host} is the secret `{_SECRET}{host}`, or one whose name goes on after that with `_` and a "
            f"word of your own. Store it with `tidemill secrets set {_SECRET}{host}`.",
            param="options",
        )
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise InvalidInput("A token is sent over https:// alone. Give the location so.", param="location")


class FileEntry(BaseModel):
    """A file in a listing of a project's files."""

    path: str
    id: str
    size: int | None = None
