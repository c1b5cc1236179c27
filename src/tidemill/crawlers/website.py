"""Websites: the pages of a sitemap, or else those that links lead to, of one host and below one folder."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from tidemill.core.document import RawDocument, Source
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, TidemillError, Unavailable
from tidemill.crawlers.fetching import (
    NOT_BOUNDED_HERE,
    REDIRECTS,
    Answer,
    Fetcher,
    NotFetched,
    Pace,
    Sleep,
    redirected,
)
from tidemill.crawlers.links import links_of
from tidemill.crawlers.locations import address_of
from tidemill.crawlers.options import Several, options_of
from tidemill.crawlers.page_tags import PageTag, last_modified, media_type_of
from tidemill.crawlers.patterns import NOT_TEXT, Patterns, suffix_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.crawlers.robots import Robots, read_robots
from tidemill.crawlers.sitemaps import MOST_BYTES as LARGEST_SITEMAP
from tidemill.crawlers.sitemaps import Sitemap, read_sitemap
from tidemill.crawlers.urls import canonical_url, folder_of, looks_endless, path_of, same_site, without_query
from tidemill.outbound import Outbound, Refused

MOST_SITEMAPS = 200
MOST_FAILURES = 5
"""After so many answers in a row that are none, the site counts as down."""
REQUESTS_A_PAGE = 5
"""How many requests may be made for each page of `max_pages`, with those that turn out to be none."""
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_TEXTS = _PAGES | frozenset(
    {
        "",
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "text/csv",
        "text/markdown",
        "text/plain",
        "text/x-markdown",
        "text/x-rst",
    }
)
_NO_PAGE = NOT_TEXT | frozenset({".css", ".js", ".mjs", ".json", ".xml", ".rss", ".atom", ".webmanifest"})
_DOWN = frozenset({"timeout", "no_connection", "no_address", "busy", "server_error"})


class Discover(StrEnum):
    """How the pages of a site are found."""

    AUTO = "auto"
    """By its sitemap where it has one, else by links."""
    SITEMAP = "sitemap"
    LINKS = "links"


class WebsiteOptions(BaseModel):
    """The options of a website."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    discover: Annotated[Discover, Field(strict=False)] = Field(
        Discover.AUTO, description="`sitemap`, `links`, or `auto`: the sitemap where there is one, else links."
    )
    include: Several = Field(
        default_factory=list,
        description="Patterns of the paths that are taken, such as `/docs/`; all where empty.",
    )
    exclude: Several = Field(default_factory=list, description="Patterns of the paths that are not.")
    max_pages: int = Field(1000, ge=1, le=100_000, description="Pages that are taken at most.")
    max_depth: int = Field(10, ge=0, le=100, description="Links from the first page to the last one that is taken.")
    max_bytes: int = Field(10_000_000, ge=1000, le=500_000_000, description="Bytes of the largest page or file.")
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects that are followed from one address.")
    max_variants: int = Field(
        20, ge=1, le=10_000, description="Addresses that are taken of those that differ after their `?` alone."
    )
    requests_per_second: float = Field(
        2.0, gt=0, le=100, strict=False, description="The site's robots.txt can make it fewer."
    )
    seconds: int = Field(30, ge=1, le=600, description="How long one request may take.")


class WebsiteCrawler:
    """Collects the pages of a site.

    A known page stays as long as the site answers with it, whether or not anything links to it: a page that says it
    has not changed shows no links, and one that fails for once must not take others along. With a sitemap, that says
    which pages there are.

    Args:
        outbound: makes the connections; refuses private addresses unless they are allowed.
        sleep: waits; tests may watch it.
    """

    def __init__(self, outbound: Outbound, *, sleep: Sleep = asyncio.sleep) -> None:
        self._outbound = outbound
        self._sleep = sleep

    def check(self, source: Source) -> None:
        """See `Crawler.check`."""
        options_of(source, WebsiteOptions)
        address_of(source)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """See `Crawler.crawl`. Paths are addresses in their canonical form."""
        options, start = options_of(source, WebsiteOptions), address_of(source)
        async with self._outbound.client(timeout=options.seconds, max_bytes=NOT_BOUNDED_HERE) as client:
            fetcher = Fetcher(client, Pace(1 / options.requests_per_second, self._sleep), seconds=options.seconds)
            robots = await read_robots(fetcher, start)
            fetcher.pace.seconds = max(fetcher.pace.seconds, robots.delay)
            async with aclosing(_Crawl(options, start, robots, fetcher, known).run()) as found:
                async for one in found:
                    yield one


@dataclass(frozen=True, slots=True)
class _Page:
    url: str
    depth: int


class _Crawl:
    """One crawl of one site: what is to be fetched, and what was."""

    def __init__(
        self, options: WebsiteOptions, start: str, robots: Robots, fetcher: Fetcher, known: Mapping[str, Known]
    ) -> None:
        self._options = options
        self._start = start
        self._robots = robots
        self._fetcher = fetcher
        self._known = known
        self._filter = Patterns(options.include, options.exclude)
        self._folder = folder_of(start)
        self._waiting: deque[_Page] = deque()
        self._queued: set[str] = set()
        self._asked: set[str] = set()
        self._variants: Counter[str] = Counter()
        self._follow_links = False
        self._requests = 0
        self._failures = 0

    async def run(self) -> AsyncGenerator[Found, None]:
        """All that there is."""
        failed = await self._discover()
        for one in failed:
            yield one
        count = 0
        while self._waiting:
            page = self._waiting.popleft()
            if page.url in self._asked:
                continue
            if count >= self._options.max_pages or self._requests >= self._most_requests:
                yield self._left_out(page)
                return
            found = await self._fetch(page)
            if found is not None:
                count += 1
                yield found
        if not count and not failed:
            raise NotFound(
                f"Nothing was found at {self._start}: no page below {self._folder} that its options, the site's "
                "robots.txt and its content types let in.",
                param="location",
            )

    @property
    def _most_requests(self) -> int:
        return self._options.max_pages * REQUESTS_A_PAGE + 20

    def _left_out(self, page: _Page) -> Failed:
        return Failed(
            page.url,
            "too_many",
            f"The site has more than the source takes: {len(self._waiting) + 1:,} addresses from this one on were left "
            f"out. Raise the option `max_pages` (now {self._options.max_pages:,}), or narrow it with `include`.",
        )

    async def _discover(self) -> list[Failed]:
        """Fills the queue. What is known comes before what is new, so that a full source keeps what it has."""
        pages: list[str] = []
        failed: list[Failed] = []
        if self._options.discover is not Discover.LINKS:
            pages, failed = await self._sitemap_pages()
        by_sitemap = bool(pages)
        if not by_sitemap:
            if self._options.discover is Discover.SITEMAP:
                reason = failed[0].reason if failed else f"There is none that names pages below {self._folder}."
                raise NotFound(
                    f"The site of {self._start} has no sitemap that can be used. {reason} Set the option `discover` "
                    "to `links`.",
                    param="location",
                )
            self._follow_links = True
            self._queue(self._start, 0, given=True)
        listed = set(pages)
        depths = {url: PageTag.of(known.etag).depth for url, known in self._known.items()}
        for url in sorted(depths, key=lambda one: (depths[one], one)):
            if not by_sitemap or failed or url in listed:
                self._queue(url, depths[url])
        for url in pages:
            self._queue(url, 0)
        return failed

    def _queue(self, url: str, depth: int, *, given: bool = False) -> None:
        """Puts an address into the queue, unless it is there, or no page of this source."""
        if url in self._queued or len(self._queued) > self._most_requests * 2 or not (given or self._takes(url)):
            return
        if "?" in url:
            self._variants[without_query(url)] += 1
            if self._variants[without_query(url)] > self._options.max_variants:
                return
        self._queued.add(url)
        self._waiting.append(_Page(url, depth))

    def _takes(self, url: str) -> bool:
        """Whether an address is one of the source's pages, as far as the address says."""
        path = path_of(url)
        return (
            same_site(self._start, url)
            and path.startswith(self._folder)
            and suffix_of(path) not in _NO_PAGE
            and not looks_endless(url)
            and self._filter.take(path)
        )

    async def _sitemap_pages(self) -> tuple[list[str], list[Failed]]:
        """The pages that sitemaps name, and the sitemaps that can't be read. Both empty where there is no sitemap.

        Raises:
            Unavailable: the server does not answer.
        """
        named = self._robots.sitemaps
        waiting = deque(named or [urljoin(self._start, "/sitemap.xml")])
        guessed = not named
        seen = set(waiting)
        pages: dict[str, None] = {}
        failed: list[Failed] = []
        read = 0
        while waiting and read < MOST_SITEMAPS and len(pages) <= self._most_requests:
            url = waiting.popleft()
            read += 1
            try:
                sitemap = await self._sitemap(url)
            except NotFetched as error:
                if read == 1 and error.reason_code in _DOWN:
                    raise Unavailable(f"The site's sitemap can't be read: {error.message}") from error
                if not (guessed and read == 1):
                    failed.append(Failed(url, error.reason_code, error.message))
                continue
            for address in sitemap.sitemaps:
                child = canonical_url(address, url)
                if child and child not in seen and same_site(self._start, child):
                    seen.add(child)
                    waiting.append(child)
            found = (canonical_url(address, url) for address in sitemap.pages)
            pages.update((page, None) for page in found if page and self._takes(page))
        if waiting:
            failed.append(Failed(waiting[0], "too_many", f"The site has more than {MOST_SITEMAPS} sitemaps."))
        return list(pages), failed

    async def _sitemap(self, url: str) -> Sitemap:
        if not self._robots.allows(url):
            raise NotFetched(f"The site's robots.txt does not let {url} be fetched.", "not_allowed")
        answer = await self._fetcher.follow(url, max_bytes=LARGEST_SITEMAP, max_redirects=self._options.max_redirects)
        if answer.status != 200:
            code = "server_error" if answer.status >= 500 or answer.status == 429 else "not_found"
            raise NotFetched(f"{url} was answered with HTTP {answer.status}.", code)
        try:
            return await asyncio.to_thread(read_sitemap, answer.data)
        except TidemillError as error:
            raise NotFetched(f"{url} can't be read. {error.message}", "bad_sitemap") from error

    async def _fetch(self, page: _Page) -> Found | None:
        """What became of one address; `None` for what is no page of the source (any more)."""
        try:
            found = await self._followed(page)
        except NotFetched as error:
            self._count_failure(error)
            return Failed(page.url, error.reason_code, error.message)
        except Refused as error:
            if page.url == self._start:
                raise
            return Failed(page.url, "refused", error.message)
        self._failures = 0
        return found

    def _count_failure(self, error: NotFetched) -> None:
        """Gives up where the site seems to be down: what is not asked for now must not seem to be gone."""
        self._failures = self._failures + 1 if error.reason_code in _DOWN else 0
        if self._failures >= MOST_FAILURES or error.reason_code == "busy":
            raise Unavailable(
                f"The site {urlsplit(self._start).netloc} stopped answering, last so: {error.message} What was "
                "collected until now is kept. Sync again later.",
                retry_after=error.retry_after,
            ) from error

    async def _followed(self, page: _Page) -> Found | None:
        """The answer at the end of an address's redirects, as a document.

        Raises:
            NotFetched: it has none.
        """
        url, chain = page.url, set[str]()
        while True:
            if url in chain or len(chain) > self._options.max_redirects:
                how = "for ever" if url in chain else f"more than {self._options.max_redirects} times"
                raise NotFetched(f"{page.url} redirects {how}.", "too_many_redirects")
            if chain and (url in self._asked or not self._takes(url)):
                return None
            chain.add(url)
            self._asked.add(url)
            if not self._robots.allows(url):
                if url == self._start:
                    raise NotPermitted(
                        f"The site's robots.txt does not let {url} be fetched. Ask its owner.", param="location"
                    )
                return None
            self._requests += 1
            answer = await self._fetcher.get(
                url, max_bytes=self._options.max_bytes, headers=self._conditions(url), wanted=_is_text
            )
            if answer.status not in REDIRECTS:
                return await self._answered(_Page(url, page.depth), answer)
            url = self._target(answer)

    def _target(self, answer: Answer) -> str:
        try:
            return redirected(answer, self._start)
        except NotFetched as error:
            if answer.url == self._start and error.reason_code == "other_host":
                raise InvalidInput(error.message, param="location") from error
            raise

    def _conditions(self, url: str) -> dict[str, str]:
        known = self._known.get(url)
        return PageTag.of(known.etag).conditions() if known else {}

    async def _answered(self, page: _Page, answer: Answer) -> Found | None:
        status = answer.status
        if status == 200:
            return await self._document(page, answer) if answer.read else None
        if status == 304 and page.url in self._known:
            return Unchanged(page.url)
        if status in {404, 410}:
            if page.url == self._start and not self._known:
                raise NotFound(f"There is no page at {page.url} (HTTP {status}).", param="location")
            if page.url in self._known:
                return None
            raise NotFetched(f"{page.url} is linked or listed, and not there (HTTP {status}).", "not_found")
        if status in {401, 403}:
            if page.url == self._start:
                raise NotPermitted(f"{page.url} is not open to everybody (HTTP {status}).", param="location")
            raise NotFetched(f"{page.url} is not open to everybody (HTTP {status}).", "not_permitted")
        code = "server_error" if status >= 500 or status == 429 else "bad_answer"
        raise NotFetched(f"{page.url} was answered with HTTP {status}.", code)

    async def _document(self, page: _Page, answer: Answer) -> RawDocument:
        media_type = media_type_of(answer.headers)
        if self._follow_links and page.depth < self._options.max_depth and media_type in _PAGES | {""}:
            for url in await asyncio.to_thread(_targets, answer, page.url):
                self._queue(url, page.depth + 1)
        return RawDocument(
            path=page.url,
            data=answer.data,
            media_type=media_type or None,
            url=page.url,
            platform="web",
            modified_at=last_modified(answer.headers),
            etag=PageTag.from_headers(answer.headers, page.depth).text(),
        )


def _is_text(headers: Mapping[str, str]) -> bool:
    return media_type_of(headers) in _TEXTS


def _targets(answer: Answer, url: str) -> list[str]:
    links = links_of(answer.data, answer.headers.get("content-type"))
    base = (canonical_url(links.base, url) if links.base else None) or url
    return list(_canonical(links.addresses, base))


def _canonical(addresses: tuple[str, ...], base: str) -> Iterator[str]:
    for address in addresses:
        url = canonical_url(address, base)
        if url is not None:
            yield url
