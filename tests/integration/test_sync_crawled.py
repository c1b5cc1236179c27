"""Sites, feeds, projects and archives are synced: a second sync does nothing, and nothing is forgotten by accident."""

import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.crawling import LOCAL
from tests.support.forges import Forge, github_issue, gitlab_issue
from tests.support.sites import Page, Site, running_site
from tests.support.syncing import Syncing
from tidemill.core.document import ChunkStrategy, Source, SourceKind
from tidemill.core.sync import SyncState
from tidemill.crawlers.feed import FeedCrawler
from tidemill.crawlers.github import GitHubCrawler
from tidemill.crawlers.gitlab import GitLabCrawler
from tidemill.crawlers.linkedin import LinkedInCrawler
from tidemill.crawlers.website import WebsiteCrawler
from tidemill.store.database import Pool

ENTRY = (
    "<item><title>Entry {0}</title><guid>urn:{0}</guid><description>Purchase requests above {0} million need two "
    "signatures, that of the department and that of the accountant.</description></item>"
)


class NoSecrets:
    """No secret is stored."""

    async def reveal(self, name: str) -> str:
        raise AssertionError(name)


async def no_wait(seconds: float) -> None:
    """Waits no time."""


@pytest.fixture
async def syncing(pool: Pool, tmp_path: Path) -> AsyncIterator[Syncing]:
    made = Syncing(
        pool,
        tmp_path,
        crawlers={
            SourceKind.WEBSITE: WebsiteCrawler(LOCAL, sleep=no_wait),
            SourceKind.FEED: FeedCrawler(LOCAL, sleep=no_wait),
            SourceKind.GITHUB: GitHubCrawler(LOCAL, NoSecrets(), sleep=no_wait),
            SourceKind.GITLAB: GitLabCrawler(LOCAL, NoSecrets(), sleep=no_wait),
            SourceKind.LINKEDIN: LinkedInCrawler([]),
        },
    )
    yield made
    await made.reader.close()


async def synced_twice(syncing: Syncing, source: Source) -> set[str]:
    """The paths of a source's documents after a sync, and after one more, which reads and writes nothing."""
    first = await syncing.sync(source)
    assert (first.state, first.error, first.counts.failed) == (SyncState.DONE, None, 0)
    rows = "SELECT path, xmin FROM documents WHERE source_id = %s ORDER BY path"
    before = await syncing.rows(rows, source.id)
    syncing.reader.read_paths.clear()
    second = await syncing.sync(source)
    assert (second.counts.seen, second.counts.unchanged) == (first.counts.seen, first.counts.seen)
    assert (syncing.reader.read_paths, await syncing.rows(rows, source.id)) == ([], before)
    return {row["path"] for row in before}


def rss(*numbers: int) -> str:
    return f"<rss version='2.0'><channel><title>News</title>{''.join(map(ENTRY.format, numbers))}</channel></rss>"


async def recut(syncing: Syncing, source: Source) -> Source:
    """The source with another way of cutting, so that all of it is to be read again."""
    changed = replace(source, strategy=ChunkStrategy.TOKENS)
    async with syncing.pool.connection() as connection:
        await syncing.sources.change(connection, changed)
    return changed


async def test_a_site_is_synced_and_a_page_that_fails_for_once_keeps_what_it_said(syncing: Syncing) -> None:
    async with running_site(Site()) as site:
        site.link("/", "/a")
        site.link("/a", "/b")
        site.link("/b")
        source = await syncing.source(kind=SourceKind.WEBSITE, location=site.url)
        assert await synced_twice(syncing, source) == {f"{site.url}{path}" for path in ("/", "/a", "/b")}
        site.pages["/a"] = Page(status=500)
        sync = await syncing.sync(await recut(syncing, source))
        assert (sync.counts.changed, sync.counts.failed, sync.counts.gone) == (2, 1, 0)
        del site.pages["/a"]
        assert (await syncing.sync(source)).counts.gone == 1


async def test_a_feed_is_synced_and_what_it_no_longer_shows_stays_however_it_is_cut(syncing: Syncing) -> None:
    async with running_site(Site()) as site:
        site.put("/feed", rss(1, 2))
        source = await syncing.source(kind=SourceKind.FEED, location=f"{site.url}/feed")
        assert await synced_twice(syncing, source) == {"urn:1", "urn:2"}
        site.put("/feed", rss(2, 3))
        sync = await syncing.sync(await recut(syncing, source))
    assert (sync.counts.new, sync.counts.failed, sync.counts.gone) == (1, 0, 0)
    assert len(await syncing.rows("SELECT 1 FROM documents")) == 3


@pytest.mark.parametrize(("kind", "issue"), [(SourceKind.GITHUB, github_issue), (SourceKind.GITLAB, gitlab_issue)])
async def test_a_project_is_synced(syncing: Syncing, kind: SourceKind, issue: type) -> None:
    forge = Forge(
        files={"README.md": b"# Handbook\n\nHow we buy things.\n"}, issues=[issue(1, "Who signs?", "Two people.")]
    )
    async with running_site(forge.site):
        source = await syncing.source(kind=kind, location=forge.location)
        assert await synced_twice(syncing, source) == {"README.md", "issues/1"}


async def test_an_archive_is_synced(syncing: Syncing, tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(
            "Shares.csv", "Date,ShareLink,ShareCommentary\r\n2026-02-01 00:00:00,,A post on buying things.\r\n"
        )
    source = await syncing.source(kind=SourceKind.LINKEDIN, location=str(archive))
    [path] = await synced_twice(syncing, source)
    assert path.startswith("posts/")
