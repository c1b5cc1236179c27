"""RSS and Atom feeds, those of Medium and Substack among them: each entry a document."""

import asyncio
import hashlib
import html
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from tidemill.core.document import DocumentKind, RawDocument, Source
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, Unavailable
from tidemill.crawlers.feed_entries import FeedEntry, read_entries
from tidemill.crawlers.fetching import NOT_BOUNDED_HERE, Fetcher, NotFetched, Pace, Sleep
from tidemill.crawlers.locations import address_of
from tidemill.crawlers.options import options_of
from tidemill.crawlers.page_tags import PageTag, media_type_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.crawlers.robots import Robots, read_robots
from tidemill.crawlers.urls import same_site
from tidemill.outbound import Outbound, Refused

LARGEST_FEED = 10_000_000


class FeedOptions(BaseModel):
    """The options of a feed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    full_pages: bool = Field(
        False, description="Whether to fetch the page of each entry, where the feed has but a summary of it."
    )
    max_entries: int = Field(500, ge=1, le=10_000, description="Entries that are taken at most, the first ones first.")
    max_bytes: int = Field(5_000_000, ge=1000, le=100_000_000, description="Bytes of the largest entry or page.")
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects that are followed from one address.")
    requests_per_second: float = Field(
        1.0, gt=0, le=100, strict=False, description="The site's robots.txt can make it fewer."
    )
    seconds: int = Field(30, ge=1, le=600, description="How long one request may take.")


class FeedCrawler:
    """Collects the entries of a feed.

    A feed shows only its newest entries. So what is known and no longer shown stays, and is not asked for again.

    Args:
        outbound: makes the connections; refuses private addresses unless they are allowed.
        sleep: waits; tests may watch it.
    """

    def __init__(self, outbound: Outbound, *, sleep: Sleep = asyncio.sleep) -> None:
        self._outbound = outbound
        self._sleep = sleep

    def check(self, source: Source) -> None:
        """See `Crawler.check`."""
        options_of(source, FeedOptions)
        address_of(source)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """See `Crawler.crawl`. Paths are the entries' own identifiers."""
        options, url = options_of(source, FeedOptions), feed_url(address_of(source))
        async with self._outbound.client(timeout=options.seconds, max_bytes=NOT_BOUNDED_HERE) as client:
            fetcher = Fetcher(client, Pace(1 / options.requests_per_second, self._sleep), seconds=options.seconds)
            feed = await _read_feed(fetcher, url, options)
            pages = _Pages(fetcher, feed.url, options)
            seen = set[str]()
            for entry in feed.entries:
                if entry.path in seen:
                    continue
                seen.add(entry.path)
                before = known.get(entry.path)
                yield await pages.document(entry, before) if options.full_pages else _document(entry, before, options)
        for path in known:
            if path not in seen:
                yield Unchanged(path)


def feed_url(address: str) -> str:
    """Where the feed of a person or a publication on Medium or Substack is; any other address is a feed's own."""
    parts = urlsplit(address)
    host, path = parts.hostname or "", parts.path.strip("/")
    if host in {"medium.com", "www.medium.com"} and path and not path.startswith("feed/"):
        return f"https://medium.com/feed/{path.split('/')[0]}"
    if host.endswith((".medium.com", ".substack.com")) and host != "www.medium.com" and not path:
        return f"https://{host}/feed"
    return address


@dataclass(frozen=True, slots=True)
class _Feed:
    url: str
    entries: tuple[FeedEntry, ...]


async def _read_feed(fetcher: Fetcher, url: str, options: FeedOptions) -> _Feed:
    try:
        answer = await fetcher.follow(url, max_bytes=LARGEST_FEED, max_redirects=options.max_redirects)
    except NotFetched as error:
        if error.reason_code == "other_host":
            raise InvalidInput(error.message, param="location") from error
        raise Unavailable(f"The feed can't be read: {error.message}", retry_after=error.retry_after) from error
    if answer.status in {404, 410}:
        raise NotFound(f"There is no feed at {url} (HTTP {answer.status}).", param="location")
    if answer.status in {401, 403}:
        raise NotPermitted(f"The feed {url} is not open to everybody (HTTP {answer.status}).", param="location")
    if answer.status != 200:
        raise Unavailable(f"The feed {url} was answered with HTTP {answer.status}. Sync again later.")
    found = await read_entries(answer.data, answer.url, media_type_of(answer.headers), options.max_entries)
    return _Feed(answer.url, tuple(found))


def _document(entry: FeedEntry, known: Known | None, options: FeedOptions) -> Found:
    """The entry as the feed has it."""
    if not entry.content.strip():
        reason = f"The feed has no text of {entry.title or entry.path}. Set the option `full_pages` to fetch its page."
        return Failed(entry.path, "no_text", reason)
    title = html.escape(entry.title or "")
    page = (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><article><h1>{title}</h1>\n{entry.content}\n</article></body></html>\n"
    )
    data = page.encode("utf-8", "replace")
    if len(data) > options.max_bytes:
        return Failed(
            entry.path, "too_large", f"The entry has more than {options.max_bytes:,} bytes (the option `max_bytes`)."
        )
    if known is not None and known.digest == hashlib.sha256(data).hexdigest():
        return Unchanged(entry.path)
    return _raw(entry, data, "text/html", None)


def _raw(entry: FeedEntry, data: bytes, media_type: str, etag: str | None) -> RawDocument:
    return RawDocument(
        path=entry.path,
        data=data,
        media_type=media_type,
        title=entry.title,
        url=entry.url,
        kind=DocumentKind.ARTICLE,
        platform=entry.platform,
        author=entry.author,
        licence=entry.licence,
        published_at=entry.published_at,
        modified_at=entry.modified_at,
        etag=etag,
    )


class _Pages:
    """The pages that a feed links to, on its own host or on the one that its host is a part of."""

    def __init__(self, fetcher: Fetcher, feed: str, options: FeedOptions) -> None:
        self._fetcher = fetcher
        self._feed = feed
        self._options = options
        self._robots: dict[str, Robots] = {}

    async def document(self, entry: FeedEntry, known: Known | None) -> Found:
        """The page of an entry."""
        try:
            return await self._fetched(entry, known)
        except NotFetched as error:
            return Failed(entry.path, error.reason_code, error.message)
        except (Refused, InvalidInput) as error:
            return Failed(entry.path, "refused", error.message)
        except Unavailable as error:  # of the robots.txt of another host than the feed's
            return Failed(entry.path, "not_allowed", error.message)

    async def _fetched(self, entry: FeedEntry, known: Known | None) -> Found:
        if entry.url is None:
            raise NotFetched(f"The entry {entry.title or entry.path} has no page.", "no_page")
        if not _related(self._feed, entry.url):
            host = urlsplit(entry.url).hostname
            raise NotFetched(f"{entry.url} lies on {host}, another host than the feed's.", "other_host")
        if not (await self._rules(entry.url)).allows(entry.url):
            raise NotFetched(f"The site's robots.txt does not let {entry.url} be fetched.", "not_allowed")
        answer = await self._fetcher.follow(
            entry.url,
            max_bytes=self._options.max_bytes,
            max_redirects=self._options.max_redirects,
            headers=PageTag.of(known.etag).conditions() if known else None,
        )
        if answer.status == 304 and known is not None:
            return Unchanged(entry.path)
        if answer.status != 200:
            raise NotFetched(f"{entry.url} was answered with HTTP {answer.status}.", "bad_answer")
        media_type = media_type_of(answer.headers) or "text/html"
        return _raw(entry, answer.data, media_type, PageTag.from_headers(answer.headers).text())

    async def _rules(self, url: str) -> Robots:
        host = urlsplit(url).netloc
        if host not in self._robots:
            robots = await read_robots(self._fetcher, url)
            self._fetcher.pace.seconds = max(self._fetcher.pace.seconds, robots.delay)
            self._robots[host] = robots
        return self._robots[host]


def _related(feed: str, page: str) -> bool:
    """Whether a page may be fetched because a feed says so: of one host, or of hosts one of which is in the other."""
    if same_site(feed, page):
        return True
    one, other = urlsplit(feed), urlsplit(page)
    if one.port != other.port or not one.hostname or not other.hostname or "." not in one.hostname:
        return False
    first, second = one.hostname.removeprefix("www."), other.hostname.removeprefix("www.")
    shorter, longer = sorted((first, second), key=len)
    return shorter == longer or ("." in shorter and not shorter[-1].isdigit() and longer.endswith("." + shorter))
