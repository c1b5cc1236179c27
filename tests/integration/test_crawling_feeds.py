"""Entries of feeds become documents, those of Medium and Substack among them."""

from typing import Any

import pytest

from tests.support.crawling import LOCAL, documents, failures, known_of, source_of, unchanged
from tests.support.sites import Page, Site, collected, redirect, running_site
from tidemill.core.document import DocumentKind, SourceKind
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, Unavailable
from tidemill.crawlers.feed import FeedCrawler, feed_url
from tidemill.crawlers.feed_entries import platform_of, read_entries
from tidemill.crawlers.port import Found, Known
from tidemill.readers.page import read_page

LONG = "Phiếu đề nghị mua hàng phải được trưởng bộ phận ký trước khi gửi phòng mua hàng. " * 3


async def no_wait(seconds: float) -> None:
    """Waits no time."""


async def crawl(site: Site, *, known: dict[str, Known] | None = None, **options: Any) -> list[Found]:
    source = source_of(SourceKind.FEED, site.url + "/feed", **options)
    return await collected(FeedCrawler(LOCAL, sleep=no_wait).crawl(source, known or {}))


def rss(*items: str, head: str = "") -> str:
    return (
        '<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title>{head}{"".join(items)}</channel></rss>'
    )


def item(number: int, text: str = LONG, link: str = "") -> str:
    return (
        f"<item><title>Entry {number}</title><guid isPermaLink='false'>urn:entry:{number}</guid><link>{link}</link>"
        f"<dc:creator>Trần Bình</dc:creator><pubDate>Mon, 02 Mar 2026 08:30:00 +0700</pubDate>"
        f"<description>Short</description><content:encoded><![CDATA[<p>{text}</p>]]></content:encoded></item>"
    )


async def test_entries_of_rss_become_documents_with_author_date_and_title() -> None:
    async with running_site(Site()) as site:
        site.put("/feed", rss(item(1, link=f"{site.url}/1"), item(2)), "application/rss+xml")
        found = documents(await crawl(site))
    assert set(found) == {"urn:entry:1", "urn:entry:2"}
    entry = found["urn:entry:1"]
    assert (entry.title, entry.author, entry.platform, entry.kind) == ("Entry 1", "Trần Bình", "web", "article")
    assert entry.published_at is not None
    assert entry.published_at.isoformat() == "2026-03-02T01:30:00+00:00"
    assert (entry.url, entry.media_type, entry.kind) == (f"{site.url}/1", "text/html", DocumentKind.ARTICLE)
    assert "trưởng bộ phận ký" in read_page(entry.data, entry.path).text


async def test_entries_of_atom_are_read_and_their_scripts_are_not_kept() -> None:
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><author><name>An</name></author><entry><id>a:1</id>'
        '<title>One &amp; two</title><link href="/one"/><updated>2026-01-05T00:00:00Z</updated><content type="html">'
        f"&lt;p&gt;{LONG}&lt;/p&gt;&lt;script&gt;steal()&lt;/script&gt;</content></entry></feed>"
    )
    async with running_site(Site()) as site:
        site.put("/feed", atom, "application/atom+xml")
        entry = documents(await crawl(site))["a:1"]
    assert (entry.title, entry.author, entry.url) == ("One & two", "An", f"{site.url}/one")
    assert b"steal" not in entry.data


async def test_a_second_crawl_finds_nothing_new_and_what_the_feed_no_longer_shows_stays() -> None:
    async with running_site(Site()) as site:
        site.put("/feed", rss(item(1), item(2)))
        known = known_of(await crawl(site))
        assert unchanged(await crawl(site, known=known)) == {"urn:entry:1", "urn:entry:2"}
        site.put("/feed", rss(item(3), item(2, "Đã sửa. " + LONG)))
        found = await crawl(site, known=known)
    assert set(documents(found)) == {"urn:entry:2", "urn:entry:3"}
    assert unchanged(found) == {"urn:entry:1"}


async def test_full_pages_are_fetched_conditionally_from_the_feeds_host_alone_as_robots_lets_them() -> None:
    async with running_site(Site()) as site:
        links = (f"{site.url}/1", f"{site.url}/private", "http://other.example/3", "http://169.254.169.254/4", "")
        site.put("/feed", rss(*(item(number, link=link) for number, link in enumerate(links, 1))))
        site.put("/robots.txt", "User-agent: *\nDisallow: /private", "text/plain")
        site.link("/1")
        first = await crawl(site, full_pages=True)
        again = await crawl(site, full_pages=True, known=known_of(first))
    assert b"This is the page /1." in documents(first)["urn:entry:1"].data
    assert failures(first) == {
        "urn:entry:2": "not_allowed",
        "urn:entry:3": "other_host",
        "urn:entry:4": "other_host",
        "urn:entry:5": "no_page",
    }
    assert unchanged(again) == {"urn:entry:1"}


async def test_an_entry_that_is_empty_or_too_large_fails_alone() -> None:
    async with running_site(Site()) as site:
        empty = "<item><guid>urn:empty</guid><title>Empty</title></item>"
        site.put("/feed", rss(item(1), item(2, "x" * 9000), empty))
        found = await crawl(site, max_bytes=5000)
    assert set(documents(found)) == {"urn:entry:1"}
    assert failures(found) == {"urn:entry:2": "too_large", "urn:empty": "no_text"}


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (Page(b"<html><body>Hello</body></html>"), InvalidInput),
        (Page(b""), InvalidInput),
        (Page(b"\x00\xff\x00" * 100), InvalidInput),
        (Page(status=404), NotFound),
        (Page(status=403), NotPermitted),
        (Page(status=500), Unavailable),
        (Page(b"x" * 100_000, endless=True), Unavailable),
        (redirect("https://elsewhere.example/feed"), InvalidInput),
        (redirect("/feed"), Unavailable),
    ],
)
async def test_what_is_no_feed_or_not_there_is_an_error_of_the_source(page: Page, error: type[Exception]) -> None:
    async with running_site(Site(pages={"/feed": page})) as site:
        with pytest.raises(error):
            await crawl(site)


async def test_a_feed_cannot_make_entities_grow() -> None:
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    text = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY e0 "ha">{bomb}]>' + rss(item(1), item(2, "&e8;"))
    async with running_site(Site()) as site:
        site.put("/feed", text.replace("<![CDATA[<p>&e8;</p>]]>", "&e8;"))
        found = await crawl(site)
    assert "urn:entry:1" in documents(found)
    assert sum(len(document.data) for document in documents(found).values()) < 5000


@pytest.mark.parametrize(
    ("location", "feed", "platform"),
    [
        ("https://medium.com/@binh", "https://medium.com/feed/@binh", "medium"),
        ("https://medium.com/feed/@binh", "https://medium.com/feed/@binh", "medium"),
        ("https://binh.medium.com/", "https://binh.medium.com/feed", "medium"),
        ("https://news.substack.com/", "https://news.substack.com/feed", "substack"),
        ("https://news.substack.com/feed", "https://news.substack.com/feed", "substack"),
        ("https://example.com/rss.xml", "https://example.com/rss.xml", "web"),
        ("https://medium.com.example.org/@a", "https://medium.com.example.org/@a", "web"),
    ],
)
def test_medium_and_substack_are_known_by_their_addresses(location: str, feed: str, platform: str) -> None:
    assert (feed_url(location), platform_of(feed, "")) == (feed, platform)


async def test_a_feed_that_would_keep_its_parser_busy_for_hours_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.crawlers.feed_entries.SECONDS", 2)
    feed = b"<rss version='2.0'><channel><item><description>" + b"<a " * 200_000
    with pytest.raises(InvalidInput, match="made to take long"):
        await read_entries(feed, "https://example.org/feed", "text/xml", 10)


async def test_entries_whose_identifiers_begin_alike_are_kept_apart() -> None:
    items = "".join(f"<item><guid>{'ư' * 900}{number}</guid><title>T</title></item>" for number in range(2))
    feed = f"<rss version='2.0'><channel>{items}</channel></rss>".encode()
    found = await read_entries(feed, "https://example.org/feed", "text/xml", 10)
    assert len({one.path for one in found}) == 2
    assert all(len(one.path.encode()) < 1000 for one in found)
