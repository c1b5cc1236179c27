"""Addresses have one spelling, links are found in one pass, and sitemaps and patterns are read within bounds."""

import gzip
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.errors import InvalidInput, TooLarge
from tidemill.crawlers.links import Links, links_of
from tidemill.crawlers.patterns import Patterns, checked_pattern, suffix_of
from tidemill.crawlers.robots import Robots
from tidemill.crawlers.sitemaps import Sitemap, read_sitemap, unpacked
from tidemill.crawlers.urls import canonical_url, looks_endless, same_site


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("HTTP://Example.COM:80/a/../b/./c#part", "http://example.com/b/c"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com:443/%7euser/a%2fb/é?q=ü", "https://example.com/~user/a%2Fb/%C3%A9?q=%C3%BC"),
        ("https://example.com/a?utm_source=x&b=1&fbclid=2", "https://example.com/a?b=1"),
        ("https://example.com/a;jsessionid=12?b=%20c", "https://example.com/a?b=%20c"),
        ("//other.example/x", "https://other.example/x"),
        ("  next \n", "https://base.example/folder/next"),
        ("?page=2", "https://base.example/folder/start?page=2"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[::1]:8080/../x", "http://[::1]:8080/x"),
        ("javascript:alert(1)", None),
        ("mailto:a@example.com", None),
        ("ftp://example.com/", None),
        ("https://user:secret@example.com/", None),
        ("http://example.com\\@evil.example/", None),
        ("http://example.com:99999/", None),
        ("http://./a", None),
        ("/a%9é", "https://base.example/a%259%C3%A9"),
        ("https://example.com/" + "a" * 3000, None),
    ],
)
def test_an_address_has_one_spelling(address: str, canonical: str | None) -> None:
    assert canonical_url(address, "https://base.example/folder/start") == canonical


@given(
    st.sampled_from(["http://", "//", "/", "?", ""]),
    st.text("ab%9é./:?#@[];&=+ \\<İ", max_size=30) | st.text(max_size=30),
)
def test_a_canonical_address_is_its_own_canonical_form_and_can_be_asked(beginning: str, text: str) -> None:
    once = canonical_url(beginning + text, "https://base.example/folder/start")
    if once is not None:
        assert canonical_url(once) == once
        assert once.isascii()
        assert httpx.URL(once).host


def test_a_site_is_a_host_and_port_with_or_without_encryption() -> None:
    assert same_site("http://a.example/x", "https://a.example/y")
    assert not same_site("https://a.example/", "https://b.a.example/")
    assert not same_site("https://a.example/", "https://a.example:8443/")
    assert not same_site("http://a.example:8080/", "https://a.example:8080/")


def test_paths_that_repeat_themselves_are_traps() -> None:
    assert looks_endless("https://a.example/x/y/x/y/x/y/x/y/")
    assert looks_endless("https://a.example/" + "/".join(map(str, range(30))))
    assert not looks_endless("https://a.example/docs/v1/docs/setup")


def test_links_are_found_in_what_people_write_and_not_in_scripts_and_comments() -> None:
    page = b"""<base href="/d/"><a class=x href="a b?x=1&amp;y=2">t</a><A HREF='c'/><a href=d rel="nofollow">
    <script>"<a href=no>"</script><!-- <a href=no2> --><area href=e><a title="a > b" href="f"><a href="#g"><a href=''>
    <title><a href=no3></title><a href="c">again</a><img src="no4"><a href=h"""
    assert links_of(page) == Links(("a b?x=1&y=2", "c", "e", "f"), "/d/")
    assert links_of("<a href='/tiếng-việt'>".encode("utf-16")).addresses == ("/tiếng-việt",)


@pytest.mark.parametrize(
    "piece", [b"<", b"<a ", b"<a x='", b'<a href="', b"<!--", b"<script>", b"<a =", b"<a x = ", b"x ", b"<a" + b" " * 9]
)
def test_a_page_that_is_made_to_take_long_is_looked_through_all_the_same(piece: bytes) -> None:
    found = links_of(piece * (1_500_000 // len(piece)))  # what takes the square of its length takes hours here
    assert len(found.addresses) <= 1


@given(st.binary(max_size=300))
def test_links_of_any_bytes_are_texts(data: bytes) -> None:
    assert all(isinstance(address, str) and address for address in links_of(b"<a href=" + data).addresses)


def test_sitemaps_name_pages_and_other_sitemaps() -> None:
    image = "<image:image><image:loc>https://a.example/x.png</image:loc></image:image>"
    urls = f'<urlset xmlns="s" xmlns:image="i"><url><loc> https://a.example/?a=1&amp;b </loc>{image}</url></urlset>'
    assert read_sitemap(urls.encode()) == Sitemap(("https://a.example/?a=1&b",), ())
    index = "<sitemapindex><sitemap><loc>https://a.example/1.xml.gz</loc></sitemap></sitemapindex>"
    assert read_sitemap(gzip.compress(index.encode())) == Sitemap((), ("https://a.example/1.xml.gz",))
    assert read_sitemap(b"https://a.example/1\nhttps://a.example/2\n").pages[1] == "https://a.example/2"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>Not found</body></html>",
        b"<urlset><url>",
        b"No sitemap here.",
        b'<!DOCTYPE u [<!ENTITY a "b">]><urlset/>',
        b'<!DOCTYPE u [<!ENTITY a SYSTEM "file:///etc/passwd">]><urlset><url><loc>&a;</loc></url></urlset>',
        b"<urlset>" + b"<url>" * 200,
        gzip.compress(b"<urlset/>", mtime=0)[:-9],
        b"\x1f\x8bnothing",
    ],
)
def test_what_is_no_sitemap_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_sitemap(data)


def test_an_archive_is_unpacked_no_further_than_its_bound() -> None:
    parts = gzip.compress(b"a" * 60) + gzip.compress(b"b" * 40)
    assert unpacked(parts, 100) == b"a" * 60 + b"b" * 40
    with pytest.raises(TooLarge):
        unpacked(parts, 99)


def test_robots_are_held_to_their_rules_for_us_before_those_for_all() -> None:
    rules = "User-agent: *\nDisallow: /\n\nUser-agent: tidemill\nDisallow: /a*b$\nRequest-rate: 1/5\nCrawl-delay: 2\n"
    robots = Robots("https://a.example/", rules + "Sitemap: /map.xml\nSitemap: https://other.example/map.xml\n")
    assert robots.allows("https://a.example/x")
    assert not robots.allows("https://a.example/axxb")
    assert robots.delay == 5
    assert robots.sitemaps == ["https://a.example/map.xml"]


def test_patterns_say_which_paths_are_taken() -> None:
    patterns = Patterns(["docs/", "*.md", "src/**/*.py"], ["**/old/**", "docs/draft?.md"])
    taken = {"docs/a/b.txt", "README.md", "src/a.py", "src/x/y/a.py"}
    left = {"a/README.md", "src/a.js", "docs/old/a.md", "docs/draft1.md", "docsx/a.txt"}
    assert {path for path in taken | left if patterns.take(path)} == taken
    assert suffix_of("a.d/archive.TAR.GZ") == ".gz"
    assert suffix_of("a.d/.gitignore") == ""
    with pytest.raises(ValueError, match="at most 6"):
        checked_pattern("*a" * 7)


@given(
    pattern=st.lists(st.sampled_from(["a", "b", "/", "?", "*", "**", "**/"]), min_size=1, max_size=9).map("".join),
    path=st.text("ab/", max_size=10),
)
def test_a_pattern_means_what_its_wildcards_say(pattern: str, path: str) -> None:
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    whole = pattern + "**" if pattern.endswith("/") else pattern
    pieces = re.findall(r"(?<![^/])\*\*/|\*\*|\*|\?|[^*?]+", whole)
    expected = re.fullmatch("".join(meaning.get(piece) or re.escape(piece) for piece in pieces), path)
    assert Patterns([pattern], []).take(path) == (expected is not None)


def test_a_pattern_of_many_wildcards_takes_no_time_on_a_path_that_nearly_matches() -> None:
    for pattern in ("**a" * 6 + "b", "*a" * 6 + "b", "**/a" * 6 + "b", "**a*a" * 3 + "b"):
        assert not Patterns([checked_pattern(pattern)], []).take("a" * 2000)
        assert not Patterns([checked_pattern(pattern)], []).take("a/" * 1000)
