"""Pages of a site are collected politely, completely, once each, and never without bounds."""

import gzip
from typing import Any

import pytest

from tests.support.crawling import LOCAL, documents, failures, known_of, source_of, unchanged
from tests.support.sites import HTML, Page, Site, collected, redirect, running_site
from tidemill.core.document import Source, SourceKind
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, Unavailable
from tidemill.crawlers.port import Found, Known
from tidemill.crawlers.website import WebsiteCrawler
from tidemill.outbound import Outbound, Refused


class Waits:
    """Waits no time, and keeps for how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def source(site: Site, path: str = "/", **options: Any) -> Source:
    return source_of(SourceKind.WEBSITE, site.url + path, **options)


async def crawl(
    site: Site, path: str = "/", *, known: dict[str, Known] | None = None, waits: Waits | None = None, **options: Any
) -> list[Found]:
    crawler = WebsiteCrawler(LOCAL, sleep=waits or Waits())
    return await collected(crawler.crawl(source(site, path, **options), known or {}))


def paths(site: Site, found: list[Found]) -> set[str]:
    return {path.removeprefix(site.url) for path in documents(found)}


def sitemap(*addresses: str) -> str:
    entries = "".join(f"<url><loc>{one}</loc><lastmod>2026-01-01</lastmod></url>" for one in addresses)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'


async def test_pages_that_links_lead_to_are_collected_once_each_under_one_spelling() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a#part", "a", "/a?utm_source=mail", "/sub/../b", f"//127.0.0.1:{site.port}/c")
        for page in ("/a", "/b", "/c"):
            site.link(page, "/")
        found = await crawl(site)
    assert paths(site, found) == {"/", "/a", "/b", "/c"}
    assert sorted(site.targets()) == ["/", "/a", "/b", "/c", "/robots.txt", "/sitemap.xml"]
    document = documents(found)[f"{site.url}/a"]
    assert (document.media_type, document.url, document.platform) == ("text/html", f"{site.url}/a", "web")


async def test_pages_of_a_sitemap_and_of_those_that_it_names_are_collected_and_links_are_not_followed() -> None:
    async with running_site(Site()) as site:
        index = f"<sitemapindex><sitemap><loc>{site.url}/one.xml.gz</loc></sitemap></sitemapindex>"
        site.put("/sitemap.xml", index, "application/xml")
        packed = gzip.compress(sitemap(f"{site.url}/a", f"{site.url}/b", "https://elsewhere.example/c").encode())
        site.pages["/one.xml.gz"] = Page(packed, headers={"content-type": "application/gzip"})
        site.link("/a", "/hidden")
        site.link("/b")
        found = await crawl(site)
    assert paths(site, found) == {"/a", "/b"}
    assert failures(found) == {}


async def test_robots_names_the_sitemap_and_says_what_is_left_out_and_how_long_to_wait() -> None:
    async with running_site(Site()) as site:
        rules = f"User-agent: *\nDisallow: /private\nCrawl-delay: 7\nSitemap: {site.url}/all.xml\n"
        site.put("/robots.txt", rules, "text/plain")
        site.put("/all.xml", sitemap(f"{site.url}/a", f"{site.url}/private/b"))
        site.link("/a")
        site.link("/private/b")
        waits = Waits()
        found = await crawl(site, waits=waits)
    assert paths(site, found) == {"/a"}
    assert "/private/b" not in site.targets()
    assert any(seconds > 6 for seconds in waits.seconds)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_site_whose_robots_cannot_be_read_is_left_alone(status: int) -> None:
    async with running_site(Site()) as site:
        site.pages["/robots.txt"] = Page(status=status)
        site.link("/")
        with pytest.raises(Unavailable, match=r"robots\.txt"):
            await crawl(site)
    assert set(site.targets()) == {"/robots.txt"}


async def test_a_site_that_lets_nobody_in_or_wants_long_pauses_is_not_crawled() -> None:
    async with running_site(Site()) as site:
        site.link("/")
        site.put("/robots.txt", "User-agent: Tidemill\nDisallow: /\n", "text/plain")
        with pytest.raises(NotPermitted, match=r"robots\.txt"):
            await crawl(site)
        site.put("/robots.txt", "User-agent: *\nCrawl-delay: 3600\n", "text/plain")
        with pytest.raises(InvalidInput, match="3600 s"):
            await crawl(site)
    assert "/" not in site.targets()


async def test_what_has_not_changed_is_not_sent_again_and_new_pages_are_found_all_the_same() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a")
        site.link("/a", "/b")
        site.link("/b")
        first = await crawl(site)
        again = await crawl(site, known=known_of(first))
        assert (documents(again), unchanged(again)) == ({}, set(documents(first)))
        site.link("/b", "/new")
        site.link("/new")
        third = await crawl(site, known=known_of(first))
    assert paths(site, third) == {"/b", "/new"}
    assert unchanged(third) == {f"{site.url}/", f"{site.url}/a"}


async def test_a_page_that_is_gone_is_gone_and_one_that_fails_for_once_takes_no_other_along() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a", "/gone")
        site.link("/a", "/below")
        site.link("/below")
        site.link("/gone")
        known = known_of(await crawl(site))
        del site.pages["/gone"]
        site.pages["/a"] = Page(status=500)
        found = await crawl(site, known=known)
    assert failures(found) == {f"{site.url}/a": "server_error"}
    assert unchanged(found) == {f"{site.url}/", f"{site.url}/below"}


async def test_a_link_that_leads_nowhere_is_a_failure_with_its_reason() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/missing", "/closed")
        site.pages["/closed"] = Page(status=403)
        found = await crawl(site)
    assert failures(found) == {f"{site.url}/missing": "not_found", f"{site.url}/closed": "not_permitted"}


async def test_a_page_that_redirects_for_ever_fails_and_the_rest_is_collected() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/loop", "/long/0", "/moved", "/away", "/nowhere")
        site.pages["/loop"] = redirect("/loop2")
        site.pages["/loop2"] = redirect("/loop")
        for step in range(30):
            site.pages[f"/long/{step}"] = redirect(f"/long/{step + 1}")
        site.pages["/moved"] = redirect("/new", 301)
        site.link("/new")
        site.pages["/away"] = redirect("http://169.254.169.254/latest/meta-data")
        site.pages["/nowhere"] = redirect("file:///etc/passwd")
        found = await crawl(site)
    assert paths(site, found) == {"/", "/new"}
    assert {path.removeprefix(site.url): code for path, code in failures(found).items()} == {
        "/loop": "too_many_redirects",
        "/long/0": "too_many_redirects",
        "/away": "other_host",
        "/nowhere": "bad_redirect",
    }
    assert len([one for one in site.targets() if one.startswith("/long")]) == 6


async def test_a_site_that_has_moved_to_another_host_is_told_to_the_person() -> None:
    async with running_site(Site()) as site:
        site.pages["/"] = redirect("https://www.example.com/")
        with pytest.raises(InvalidInput, match=r"www\.example\.com"):
            await crawl(site)


async def test_large_endless_slow_and_packed_answers_are_failures() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/large", "/endless", "/slow", "/packed")
        site.pages["/large"] = Page(b"x" * 20_000, headers={"content-type": HTML})
        site.pages["/endless"] = Page(b"x" * 4000, headers={"content-type": HTML}, endless=True)
        site.pages["/slow"] = Page(headers={"content-type": HTML}, stalled=True)
        bomb = gzip.compress(b"\0" * 5_000_000)
        site.pages["/packed"] = Page(bomb, headers={"content-type": HTML, "content-encoding": "gzip"})
        found = await crawl(site, max_bytes=10_000, seconds=1)
    assert {path.removeprefix(site.url): code for path, code in failures(found).items()} == {
        "/large": "too_large",
        "/endless": "too_large",
        "/slow": "timeout",
        "/packed": "unusable",
    }


async def test_a_sitemap_that_unpacks_to_too_much_or_is_broken_is_a_failure_and_what_is_known_stays() -> None:
    async with running_site(Site()) as site:
        rules = f"Sitemap: {site.url}/good.xml\nSitemap: {site.url}/bomb.xml.gz\nSitemap: {site.url}/bad.xml\n"
        site.put("/robots.txt", rules, "text/plain")
        site.put("/good.xml", sitemap(f"{site.url}/a"))
        site.pages["/bomb.xml.gz"] = Page(gzip.compress(b" " * 60_000_000))
        entity = '<!DOCTYPE urlset [<!ENTITY a "aaaa">]><urlset><url><loc>&a;</loc></url></urlset>'
        site.put("/bad.xml", entity)
        site.link("/a")
        site.link("/old")
        found = await crawl(site, known={f"{site.url}/old": Known("0" * 64, None)})
    assert failures(found) == {f"{site.url}/bomb.xml.gz": "bad_sitemap", f"{site.url}/bad.xml": "bad_sitemap"}
    assert paths(site, found) == {"/a", "/old"}


async def test_traps_end() -> None:
    async with running_site(Site()) as site:
        site.answers = lambda asked: _trap(asked.target)
        found = await crawl(site, max_variants=3, max_depth=30, max_pages=200)
    variants = [path for path in paths(site, found) if path.startswith("/calendar?")]
    deepest = max(path.count("/x") for path in paths(site, found))
    assert (len(variants), deepest) == (3, 3)


def _trap(target: str) -> Page | None:
    if target.startswith(("/robots", "/sitemap")):
        return None
    day = int(target.partition("=")[2] or 0)
    body = f'<a href="/calendar?day={day + 1}">next</a> <a href="{target.partition("?")[0].rstrip("/")}/x/">deeper</a>'
    return Page(body.encode(), headers={"content-type": HTML})


async def test_pages_beyond_the_bounds_are_said_to_be_left_out() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a", "/b", "/c")
        for page in ("/a", "/b", "/c"):
            site.link(page, f"{page}/deep")
            site.link(f"{page}/deep")
        few = await crawl(site, max_pages=2)
        shallow = await crawl(site, max_depth=1)
    assert len(documents(few)) == 2
    assert list(failures(few).values()) == ["too_many"]
    assert paths(site, shallow) == {"/", "/a", "/b", "/c"}


async def test_only_what_is_asked_for_is_taken() -> None:
    async with running_site(Site()) as site:
        site.link("/docs/", "/docs/a", "/docs/old/b", "/blog/c", "/docs/logo.png", "/docs/data")
        site.link("/docs/a")
        site.link("/docs/old/b")
        site.link("/blog/c")
        site.pages["/docs/data"] = Page(b"\x00" * 100, headers={"content-type": "application/octet-stream"})
        found = await crawl(site, "/docs/", exclude=["/docs/old/"])
    assert paths(site, found) == {"/docs/", "/docs/a"}
    assert not {"/blog/c", "/docs/logo.png", "/docs/old/b"} & set(site.targets())


async def test_a_busy_site_is_waited_for_as_long_as_it_says_and_left_alone_where_that_is_long() -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a")
        answers = iter([Page(status=429, headers={"retry-after": "9"})])
        site.link("/a")
        site.answers = lambda asked: next(answers, None) if asked.target == "/a" else None
        waits = Waits()
        assert paths(site, await crawl(site, waits=waits)) == {"/", "/a"}
        assert 9.0 in waits.seconds
        site.pages["/a"] = Page(status=503, headers={"retry-after": "7200"})
        with pytest.raises(Unavailable) as raised:
            await crawl(site)
    assert raised.value.retry_after == 7200


async def test_a_site_that_goes_down_ends_the_crawl_instead_of_emptying_the_source() -> None:
    async with running_site(Site()) as site:
        site.link("/", *(f"/{page}" for page in range(20)))
        site.answers = lambda asked: Page(status=500) if asked.target[1:].isdigit() else None
        with pytest.raises(Unavailable, match="stopped answering"):
            await crawl(site)
    assert len(site.asked) < 12


async def test_addresses_of_the_own_network_are_refused_unless_they_are_allowed() -> None:
    async with running_site(Site()) as site:
        site.link("/")
        with pytest.raises(Refused, match=r"outbound\.allow"):
            await collected(WebsiteCrawler(Outbound()).crawl(source(site), {}))
    assert site.asked == []


async def test_a_sitemap_that_is_named_and_not_there_is_a_failure_and_links_are_followed() -> None:
    async with running_site(Site()) as site:
        site.put("/robots.txt", f"Sitemap: {site.url}/old.xml", "text/plain")
        site.link("/", "/a")
        site.link("/a")
        found = await crawl(site)
        with pytest.raises(NotFound, match=r"old\.xml"):
            await crawl(site, discover="sitemap")
    assert paths(site, found) == {"/", "/a"}
    assert failures(found) == {f"{site.url}/old.xml": "not_found"}


async def test_cookies_are_not_kept() -> None:
    async with running_site(Site()) as site:
        site.pages["/"] = Page(b'<a href="/a">a</a>', headers={"content-type": HTML, "set-cookie": "seen=1; Path=/"})
        site.link("/a")
        found = await crawl(site)
    assert paths(site, found) == {"/", "/a"}
    assert not any("cookie" in asked.headers for asked in site.asked)


async def test_a_site_with_nothing_to_take_is_an_error() -> None:
    async with running_site(Site()) as site:
        with pytest.raises(NotFound):
            await crawl(site)
        site.link("/")
        with pytest.raises(NotFound, match="sitemap"):
            await crawl(site, discover="sitemap")


@pytest.mark.parametrize(
    ("location", "options", "said"),
    [
        ("ftp://example.com", {}, "http://"),
        ("https://user:pass@example.com/", {}, "without a user"),
        ("https://example.com", {"pages": 3}, "max_pages"),
        ("https://example.com", {"max_pages": 0}, "max_pages"),
        ("https://example.com", {"max_pages": "many"}, "max_pages"),
        ("https://example.com", {"discover": "guess"}, "discover"),
        ("https://example.com", {"include": ["*" * 400]}, "include"),
    ],
)
def test_a_wrong_location_or_option_is_named(location: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        WebsiteCrawler(LOCAL).check(source_of(SourceKind.WEBSITE, location, **options))
    assert said in raised.value.message
