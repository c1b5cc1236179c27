"""What collecting does before it touches a database: names, options, estimates."""

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.analysis.token_count import about_tokens
from tidemill.core.classification import Level
from tidemill.core.document import RawDocument, Source, SourceKind
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted
from tidemill.crawlers.folder import FolderCrawler
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.flows.reading import text_level
from tidemill.knowledge.sources import upload_path
from tidemill.llm.embeddings_e5_weights import E5Weights, weights_path
from tidemill.llm.embeddings_e5_words import E5Words

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CORPUS = Path(__file__).resolve().parents[1] / "data" / "knowledge" / "documents"


def folder(location: Path, **options: object) -> Source:
    return Source(uuid4(), "files", SourceKind.FOLDER, str(location.resolve()), None, NOON, options=options)  # type: ignore[arg-type]


async def crawled(source: Source, known: dict[str, Known] | None = None) -> dict[str, Found]:
    crawler = FolderCrawler(1000, [])
    crawler.check(source)
    return {one.path: one async for one in crawler.crawl(source, known or {})}


async def test_a_folder_gives_the_files_that_its_options_name(tmp_path: Path) -> None:
    for path in ("a.md", "docs/b.md", "docs/old/c.md", "code/d.py", "node_modules/e.md", ".git/f.md", "g.PNG"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "large.txt").write_text("x" * 1001)
    home = tmp_path
    assert sorted(await crawled(folder(home))) == ["a.md", "code/d.py", "docs/b.md", "docs/old/c.md", "large.txt"]
    assert sorted(await crawled(folder(home, include=["**/*.md"], exclude=["docs/old/"]))) == ["a.md", "docs/b.md"]
    large = (await crawled(folder(home)))["large.txt"]
    assert isinstance(large, Failed)
    assert large.code == "too_large"


async def test_a_file_of_the_same_time_and_size_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("one")
    source = folder(tmp_path)
    fresh = (await crawled(source))["a.md"]
    assert isinstance(fresh, RawDocument)
    assert fresh.etag is None, "it could change again within the same tick"
    os.utime(file, (1_700_000_000, 1_700_000_000))
    settled = (await crawled(source))["a.md"]
    assert isinstance(settled, RawDocument)
    file.chmod(0)
    assert await crawled(source, {"a.md": Known("digest", settled.etag)}) == {"a.md": Unchanged("a.md")}
    file.chmod(0o600)
    file.write_text("two")
    assert isinstance((await crawled(source, {"a.md": Known("digest", settled.etag)}))["a.md"], RawDocument)


async def test_a_folder_above_that_turns_into_a_link_leads_nowhere(tmp_path: Path) -> None:
    for place, text in (("mine", "my own"), ("theirs", "a secret")):
        (tmp_path / place / "files").mkdir(parents=True)
        for name in ("a.md", "b.md"):
            (tmp_path / place / "files" / name).write_text(text)
    crawl = FolderCrawler(1000, []).crawl(folder(tmp_path / "mine" / "files"), {})
    assert isinstance(await anext(crawl), RawDocument)
    (tmp_path / "mine").rename(tmp_path / "moved")
    (tmp_path / "mine").symlink_to("theirs")
    left = [one async for one in crawl]
    assert [type(one) for one in left] == [Failed]


async def test_a_folder_that_is_empty_all_at_once_forgets_nothing(tmp_path: Path) -> None:
    source = folder(tmp_path)
    assert await crawled(source) == {}
    with pytest.raises(NotFound, match="If a disk is to be mounted there"):
        await crawled(source, {"a.md": Known("digest", None)})
    (tmp_path / ".keep").write_text("")
    assert await crawled(source, {"a.md": Known("digest", None)}) == {}


@pytest.mark.parametrize("location", ["relative", "/no/such/folder", "/tmp/../tmp", "/\0"])
def test_what_is_no_folder_is_said(location: str) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        FolderCrawler(1000, []).check(Source(uuid4(), "files", SourceKind.FOLDER, location, None, NOON))


def test_the_hubs_own_data_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for place in (tmp_path, tmp_path / "blobs"):
        with pytest.raises(NotPermitted):
            FolderCrawler(1000, [tmp_path]).check(folder(place.resolve()))


@pytest.mark.parametrize("path", ["", "..", "a/../b", "../a", "/", "\u0007", "x" * 501])
def test_an_upload_has_a_name_that_leads_nowhere_else(path: str) -> None:
    with pytest.raises(InvalidInput):
        upload_path(path)


def test_an_uploads_name_is_cleaned() -> None:
    assert upload_path("/notes//./a b.md ") == "notes/a b.md"
    assert upload_path("C:\\notes\\a.md") == "C:/notes/a.md"


@given(st.text())
def test_every_text_has_a_number_of_tokens(text: str) -> None:
    assert 0 <= about_tokens(text) <= len(text)


def test_the_estimate_is_near_the_default_models_count_on_documents() -> None:
    words = E5Words(E5Weights(weights_path()).vocabulary())
    for name in ("quy-trinh-mua-hang.md", "runbook-payments.md", "purchase_limits.py", "security-policy.rst"):
        text = (CORPUS / name).read_text("utf-8")
        estimate, real = about_tokens(text), len(words.ids(text))
        assert 0.85 * real <= estimate <= 1.35 * real, name


def test_a_contact_raises_no_level_and_a_card_does() -> None:
    assert text_level("Ask mua-hang@example.org or 0912 345 678.") is Level.PUBLIC
    assert text_level("Pay with 4111 1111 1111 1111.") is Level.SECRET
    assert text_level("Nothing else.") is Level.PUBLIC
