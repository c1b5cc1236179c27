"""Posts and articles come out of LinkedIn's archive, and a hostile archive harms nobody."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.crawling import documents, failures, known_of, source_of, unchanged
from tests.support.sites import collected
from tidemill.core.document import Source, SourceKind
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, TooLarge
from tidemill.crawlers.linkedin import LinkedInCrawler
from tidemill.crawlers.port import Found, Known

LINK = "https://www.linkedin.com/feed/update/urn%3Ali%3Ashare%3A7012345678901234567"
SHARES = (
    "Date,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\r\n"
    f'2026-02-03 04:05:06,{LINK},"Quy trình mua hàng mới""\n""Ba bước, một chữ ký.",https://example.com/a,,ANYONE\r\n'
    "2026-02-01 00:00:00,,Second post,,,MEMBER_NETWORK\r\n"
    "2026-01-01 00:00:00,,,https://example.com/only-a-link,,ANYONE\r\n"
)
PROFILE = "First Name,Last Name,Headline\r\nBình,Trần,Buyer\r\n"
ARTICLE = "<html><head><title>Buying</title></head><body><h1>Buying</h1><p>Text.</p></body></html>"


def archive_at(path: Path, **members: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    members = {"Shares.csv": SHARES, "Profile.csv": PROFILE, "Articles/Articles/buying.html": ARTICLE}
    return archive_at(tmp_path / "export.zip", **members)


def source(path: Path | str, **options: Any) -> Source:
    return source_of(SourceKind.LINKEDIN, str(path), **options)


async def crawl(path: Path, *, known: dict[str, Known] | None = None, **options: Any) -> list[Found]:
    return await collected(LinkedInCrawler([]).crawl(source(path, **options), known or {}))


async def test_posts_and_articles_become_documents(archive: Path) -> None:
    found = documents(await crawl(archive))
    post = found["posts/7012345678901234567"]
    assert post.data.decode() == "Quy trình mua hàng mới\nBa bước, một chữ ký.\n\nhttps://example.com/a\n"
    said = (post.title, post.author, post.kind, post.platform)
    assert said == ("Quy trình mua hàng mới", "Bình Trần", "post", "linkedin")
    assert post.url == LINK
    assert post.published_at is not None
    assert post.published_at.isoformat() == "2026-02-03T04:05:06+00:00"
    assert found["articles/buying.html"].data == ARTICLE.encode()
    assert len(found) == 3


async def test_a_second_crawl_finds_nothing_new(archive: Path) -> None:
    known = known_of(await crawl(archive))
    assert unchanged(await crawl(archive, known=known)) == set(known)


async def test_a_bomb_is_not_unpacked_and_the_rest_is_collected(tmp_path: Path) -> None:
    bombs = {f"Articles/{number}.html": b"\0" * 3_000_000 for number in range(3)}
    path = archive_at(tmp_path / "bomb.zip", **{"Shares.csv": SHARES, **bombs})
    found = await crawl(path, max_bytes=100_000)
    assert failures(found) == dict.fromkeys((f"articles/{number}.html" for number in range(3)), "too_large")
    assert len(documents(found)) == 2
    whole = await crawl(path, max_bytes=10_000_000, max_unpacked_bytes=4_000_000)
    assert failures(whole) == {"articles/1.html": "too_large", "articles/2.html": "too_large"}


async def test_a_table_that_cannot_be_read_keeps_the_posts_that_there_were(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "bad.zip", **{"Shares.csv": "Date,ShareCommentary\r\n1," + "x" * 200_000})
    known = {"posts/1": Known("0" * 64, None)}
    assert failures(await crawl(path, known=known)) == {"posts/1": "corrupt"}
    assert failures(await crawl(path)) == {"posts/": "corrupt"}


async def test_files_that_are_encrypted_damaged_or_packed_otherwise_fail_alone(archive: Path, tmp_path: Path) -> None:
    found = await crawl(changed(archive, lambda data: _encrypted(data, b"Articles/Articles/buying.html")))
    assert failures(found) == {"articles/buying.html": "encrypted"}
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("Articles/a.html", ARTICLE)
    assert failures(await crawl(tmp_path / "lzma.zip")) == {"articles/a.html": "unsupported"}
    with zipfile.ZipFile(tmp_path / "stored.zip", "w") as stored:
        stored.writestr("Articles/a.html", ARTICLE)
    found = await crawl(changed(tmp_path / "stored.zip", lambda data: data.replace(b"Text.", b"Next.")))
    assert failures(found) == {"articles/a.html": "corrupt"}


def changed(archive: Path, change: Callable[[bytes], bytes]) -> Path:
    path = archive.with_name("changed.zip")
    path.write_bytes(change(archive.read_bytes()))
    return path


def _encrypted(data: bytes, name: bytes) -> bytes:
    """Says of a file in the table of contents that it is encrypted."""
    flags = data.rfind(b"PK\x01\x02", 0, data.rfind(name)) + 8
    return data[:flags] + bytes([data[flags] | 1]) + data[flags + 1 :]


async def test_what_is_no_archive_of_linkedin_or_too_large_is_an_error(tmp_path: Path, archive: Path) -> None:
    cut = changed(archive, lambda data: data[:-30])
    text, other = tmp_path / "text.zip", archive_at(tmp_path / "other.zip", **{"notes.txt": "x"})
    text.write_bytes(b"This is no archive." * 100)
    for path in (text, cut, other):
        with pytest.raises(InvalidInput):
            await crawl(path)
    with pytest.raises(TooLarge, match="max_archive_bytes"):
        await crawl(changed(archive, lambda data: bytes(2000) + data), max_archive_bytes=1000)


async def test_a_table_of_contents_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, 900_000_000, 0, 0)
    (tmp_path / "wide.zip").write_bytes(b"PK\x03\x04" + end)
    with pytest.raises(TooLarge):
        await crawl(tmp_path / "wide.zip")
    (tmp_path / "zip64.zip").write_bytes(b"PK\x06\x07" + bytes(16) + end)
    with pytest.raises(InvalidInput, match="4 GB"):
        await crawl(tmp_path / "zip64.zip")


async def test_documents_beyond_the_bound_are_said_to_be_left_out(archive: Path) -> None:
    found = await crawl(archive, max_documents=1)
    assert (len(documents(found)), list(failures(found).values())) == (1, ["too_many"])


def test_only_a_file_that_may_be_read_is_a_location(archive: Path, tmp_path: Path) -> None:
    crawler = LinkedInCrawler([tmp_path / "data"])
    (tmp_path / "data").mkdir()
    inside = archive_at(tmp_path / "data" / "x.zip", **{"Shares.csv": SHARES})
    (tmp_path / "link.zip").symlink_to(archive)
    for location in ("export.zip", f"{tmp_path}/../x.zip", f"{tmp_path}/link.zip", "a\0b"):
        with pytest.raises(InvalidInput):
            crawler.check(source(location))
    with pytest.raises(NotPermitted):
        crawler.check(source(inside))
    with pytest.raises(NotFound):
        crawler.check(source(tmp_path / "none.zip"))
    with pytest.raises(InvalidInput, match="max_documents"):
        crawler.check(source(archive, documents=3))
    crawler.check(source(archive))
