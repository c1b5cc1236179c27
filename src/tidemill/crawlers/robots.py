"""What a site lets programs fetch, by its robots.txt (RFC 9309)."""

from urllib.parse import urljoin, urlsplit

from protego import Protego

from tidemill.core.errors import InvalidInput, Unavailable
from tidemill.crawlers.fetching import PRODUCT, Fetcher, NotFetched
from tidemill.crawlers.urls import canonical_url, same_site

MOST_BYTES = 512_000
"""RFC 9309 §2.5 wants at least 500 KiB to be read."""
MOST_REDIRECTS = 5
LONGEST_DELAY = 60.0
"""Seconds between two requests. A site that wants more is not crawled at all."""
MOST_SITEMAPS = 50


class Robots:
    """The rules of one site; none where it has no robots.txt."""

    def __init__(self, site: str, text: str = "") -> None:
        self._site = site
        self._rules = Protego.parse(text)

    def allows(self, url: str) -> bool:
        """Whether this page may be fetched."""
        return self._rules.can_fetch(url, PRODUCT)

    @property
    def delay(self) -> float:
        """Seconds that the site wants between two requests; 0 where it says nothing of it."""
        rate = self._rules.request_rate(PRODUCT)
        paced = rate.seconds / rate.requests if rate is not None and rate.requests else 0.0
        return max(self._rules.crawl_delay(PRODUCT) or 0.0, paced)

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that it names, as far as they lie on the same site."""
        found = (canonical_url(address, self._site) for address in self._rules.sitemaps)
        return [url for url in dict.fromkeys(found) if url and same_site(url, self._site)][:MOST_SITEMAPS]


async def read_robots(fetcher: Fetcher, site: str) -> Robots:
    """The rules of the site that this address belongs to.

    Raises:
        Unavailable: the server can't say what may be fetched, so that nothing may (RFC 9309 §2.3.1.4).
        InvalidInput: the site has moved to another host, or wants longer pauses than a crawl makes.
        Refused: the host may not be asked.
    """
    address = urljoin(site, "/robots.txt")
    try:
        answer = await fetcher.follow(address, max_bytes=MOST_BYTES, max_redirects=MOST_REDIRECTS, cut=True)
    except NotFetched as error:
        if error.reason_code == "other_host":
            raise InvalidInput(error.message, param="location") from error
        raise Unavailable(
            f"The robots.txt of {urlsplit(site).netloc} can't be read, so nothing of the site is fetched: "
            f"{error.message} Sync again later.",
            retry_after=error.retry_after,
        ) from error
    if answer.status == 200:
        robots = Robots(site, answer.data.decode("utf-8-sig", "replace"))
    elif 400 <= answer.status < 500 and answer.status != 429:
        robots = Robots(site)
    else:
        raise Unavailable(
            f"The robots.txt of {urlsplit(site).netloc} can't be read (HTTP {answer.status}), so nothing of the site "
            "is fetched. Sync again later."
        )
    if robots.delay > LONGEST_DELAY:
        raise InvalidInput(
            f"The site {urlsplit(site).netloc} asks for {robots.delay:g} s between two requests, and a crawl waits "
            f"{LONGEST_DELAY:g} s at most. Ask its owner for another way to its documents, such as an export.",
            param="location",
        )
    return robots
