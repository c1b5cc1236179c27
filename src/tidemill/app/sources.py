"""Sources and their syncs."""

from collections.abc import Awaitable, Callable, Iterator, Mapping

from tidemill.accounts.readers import Readers
from tidemill.app.models import may_embed_of
from tidemill.core.clock import system_clock
from tidemill.core.document import SourceKind
from tidemill.crawlers.feed import FeedCrawler
from tidemill.crawlers.folder import FolderCrawler
from tidemill.crawlers.git import GitCrawler
from tidemill.crawlers.github import GitHubCrawler
from tidemill.crawlers.gitlab import GitLabCrawler
from tidemill.crawlers.linkedin import LinkedInCrawler
from tidemill.crawlers.port import Crawler
from tidemill.crawlers.upload import UploadCrawler
from tidemill.crawlers.website import WebsiteCrawler
from tidemill.flows.chunk_vectors import ChunkVectors, VectorParts
from tidemill.flows.reading import DocumentReading
from tidemill.flows.sync import SyncFlow
from tidemill.flows.sync_run import SyncParts
from tidemill.forges.repositories import CollectedRepositories
from tidemill.jobs.port import Jobs
from tidemill.knowledge.sources import SourceParts, Sources
from tidemill.llm.catalog import DEFAULT
from tidemill.llm.embeddings import Embedder
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.readers.port import Reader
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.registry.providers import Providers
from tidemill.settings import Settings
from tidemill.store.audited import Audited
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.documents import DocumentRepository
from tidemill.store.sources import SourceRepository
from tidemill.store.syncs import SyncRepository
from tidemill.store.teams import TeamRepository
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.spans import Traces

SETTLE_SECONDS = 10.0


def repositories_of(settings: Settings, outbound: Outbound) -> CollectedRepositories:
    """The git repositories that are sources."""
    folder = settings.cache_dir / "repositories"
    most = settings.knowledge.sources.max_repository_bytes
    return CollectedRepositories(folder, outbound, most, [settings.data_dir, folder])


def crawlers_of(
    settings: Settings, pool: Pool, repositories: CollectedRepositories, outbound: Outbound, secrets: Secrets
) -> Mapping[SourceKind, Crawler]:
    """What collects the documents of each kind of source."""
    blobs = BlobStore(settings.blobs_dir)
    most = settings.knowledge.reading.max_bytes
    return {
        SourceKind.FOLDER: FolderCrawler(most, [settings.data_dir]),
        SourceKind.GIT: GitCrawler(repositories, most),
        SourceKind.GITHUB: GitHubCrawler(outbound, secrets, repositories),
        SourceKind.GITLAB: GitLabCrawler(outbound, secrets),
        SourceKind.WEBSITE: WebsiteCrawler(outbound),
        SourceKind.FEED: FeedCrawler(outbound),
        SourceKind.LINKEDIN: LinkedInCrawler([settings.data_dir]),
        SourceKind.UPLOAD: UploadCrawler(SourceRepository(pool, blobs), blobs),
    }


def sources_of(
    settings: Settings,
    pool: Pool,
    audit: Audited,
    readers: Readers,
    crawlers: Mapping[SourceKind, Crawler],
    repositories: CollectedRepositories,
) -> Sources:
    """The service for sources."""
    blobs = BlobStore(settings.blobs_dir)
    return Sources(
        SourceParts(
            sources=SourceRepository(pool, blobs),
            documents=DocumentRepository(pool, blobs),
            teams=TeamRepository(pool),
            blobs=blobs,
            readers=readers,
            audit=audit,
            crawlers=crawlers,
            roots=settings.knowledge.sources.roots,
            max_bytes=settings.knowledge.reading.max_bytes,
            forget=repositories.forget,
            clock=system_clock,
        )
    )


def syncs_of(
    settings: Settings,
    pool: Pool,
    jobs: Jobs,
    reader: Reader,
    crawlers: Mapping[SourceKind, Crawler],
    embedder: Embedder,
    deployments: EmbeddingDeployments,
    providers: Providers,
    metrics: Metrics,
    traces: Traces,
) -> SyncFlow:
    """The flow of syncs, whose workflows are registered with `jobs` before that starts."""
    blobs = BlobStore(settings.blobs_dir)
    parts = SyncParts(
        sources=SourceRepository(pool, blobs),
        syncs=SyncRepository(pool),
        documents=DocumentRepository(pool, blobs),
        crawlers=crawlers,
        reading=DocumentReading(reader, settings.knowledge.chunks, settings.knowledge.reading),
        vectors=ChunkVectors(
            VectorParts(pool, embedder, deployments.find, DEFAULT, system_clock, may_embed_of(settings, providers))
        ),
        clock=system_clock,
        observe=metrics.observe_sync,
        traces=traces,
    )
    return SyncFlow(jobs, parts)


def sync_chores(syncs: SyncFlow) -> Iterator[tuple[float, Callable[[], Awaitable[object]]]]:
    """What is done for syncs now and then, and every how many seconds."""
    yield SETTLE_SECONDS, syncs.settle
