"""The services for what is stored: its export, its erasure, and its deletion when its time is over."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from tidemill.accounts.accounts import Accounts
from tidemill.app.accounts import accounts_of
from tidemill.app.answers import answer_rows, open_answers, unobserved
from tidemill.app.database import Database
from tidemill.core.clock import system_clock
from tidemill.flows.batches import forget_batches
from tidemill.flows.data import DataServices
from tidemill.flows.export import ExportFlow, ExportParts
from tidemill.flows.generation import forget_jobs
from tidemill.flows.personal_data import ErasureFlow, ErasureParts
from tidemill.flows.pull_request import forget_runs
from tidemill.flows.review import forget_changes
from tidemill.flows.steps import forget_steps
from tidemill.flows.sync import forget_syncs
from tidemill.llm.cache.tiers import Answers
from tidemill.protection.retention import Kept, Retention
from tidemill.settings import Settings
from tidemill.store.alerts import AlertRepository
from tidemill.store.answers import AnswerRepository
from tidemill.store.batches import BatchRepository
from tidemill.store.blobs import BlobStore
from tidemill.store.conversations import ConversationRepository
from tidemill.store.data_folder import make_data_folder, make_private_folder, make_scratch_folder
from tidemill.store.database import Pool, make_pool
from tidemill.store.deliveries import DeliveryRepository
from tidemill.store.documents import DocumentRepository
from tidemill.store.erasures import ErasureRepository
from tidemill.store.files import FileRepository
from tidemill.store.generation_jobs import GenerationJobRepository
from tidemill.store.guardrails import GuardrailRepository
from tidemill.store.inferences import InferenceRepository
from tidemill.store.log_files import count_old_logs, empty_old_logs
from tidemill.store.personal_data import PersonalData
from tidemill.store.placed_comments import PlacedCommentRepository
from tidemill.store.pull_requests import forget_logins
from tidemill.store.responses import ResponseRepository
from tidemill.store.retention import RetentionRepository
from tidemill.store.reviews import ReviewRepository
from tidemill.store.search_index import forget_terms
from tidemill.store.syncs import SyncRepository


@asynccontextmanager
async def open_data(settings: Settings, database: Database) -> AsyncIterator[DataServices]:
    """The services for data alone, for the commands that need no more."""
    async with make_pool(database.url, size=4) as pool, open_answers(settings, pool, unobserved) as answers:
        yield data_of(settings, pool, accounts_of(database, pool), answers)


def data_of(settings: Settings, pool: Pool, accounts: Accounts, answers: Answers) -> DataServices:
    """The services for export, erasure and retention."""
    blobs = BlobStore(settings.blobs_dir)
    data = PersonalData(pool)
    files = FileRepository(pool, blobs)
    erasures = ErasureRepository(pool)
    logs = settings.data_dir / "logs"
    make_data_folder(settings.data_dir)
    make_private_folder(settings.run_dir)
    return DataServices(
        people=accounts.people,
        exports=ExportFlow(ExportParts(accounts.people, data, blobs, accounts.audit, system_clock)),
        erasures=ErasureFlow(
            ErasureParts(accounts.people, accounts.audit, data, erasures, files, blobs, answers, logs, system_clock)
        ),
        retention=Retention(
            list(kept_data(settings, pool, files, blobs, logs)), RetentionRepository(pool), clock=system_clock
        ),
        scratch=make_scratch_folder(settings.run_dir / "tmp"),
        pool=pool,
    )


def kept_data(settings: Settings, pool: Pool, files: FileRepository, blobs: BlobStore, logs: Path) -> Iterator[Kept]:
    """Every kind of data that has a time after which it goes. Sessions and failed sign-ins have shorter ones."""
    keep, rows, reviews = settings.retention, RetentionRepository(pool), ReviewRepository(pool)
    talk = timedelta(days=keep.conversation_days)

    def due(kind: str) -> Callable[[datetime], Awaitable[int]]:
        return partial(rows.due, kind)

    async def forget_changes_before(before: datetime) -> int:
        return await forget_changes(reviews, blobs, before, system_clock())

    async def forget_words(before: datetime) -> int:
        del before  # a word that no document has is due at once
        return await forget_terms(pool)

    texts = InferenceRepository(pool).forget_texts
    yield Kept("inference_texts", timedelta(days=keep.inference_text_days), due("inference_texts"), texts, True)
    changes = timedelta(days=keep.review_change_days)
    yield Kept("review_changes", changes, due("review_changes"), forget_changes_before)
    yield Kept("conversations", talk, due("conversations"), ConversationRepository(pool).forget)
    yield Kept("responses", talk, due("responses"), ResponseRepository(pool).forget, True)
    yield Kept("answers", talk, due("answers"), AnswerRepository(pool).forget, True)
    results = timedelta(days=settings.jobs.result_days)
    jobs, batches = GenerationJobRepository(pool), BatchRepository(pool)
    yield Kept("jobs", results, due("jobs"), partial(forget_jobs, pool, jobs), True)
    yield Kept("batches", results, due("batches"), partial(forget_batches, pool, batches))
    yield Kept("files", timedelta(0), due("files"), files.expire, True)
    cache = timedelta(hours=keep.cache_hours)
    yield Kept("cached_embeddings", cache, due("cached_embeddings"), rows.forget_embeddings)
    yield Kept("cached_answers", cache, due("cached_answers"), answer_rows(settings, pool).forget, True)
    guarding = GuardrailRepository(pool)
    yield Kept("text_fingerprints", timedelta(0), due("text_fingerprints"), guarding.forget_fingerprints, True)
    days = timedelta(days=keep.log_days)
    yield Kept("guardrail_events", days, due("guardrail_events"), guarding.forget_events)
    yield Kept("review_steps", days, due("review_steps"), partial(forget_steps, pool, rows))
    versions = timedelta(days=settings.knowledge.sources.version_days)
    documents = DocumentRepository(pool, blobs)
    yield Kept("document_versions", versions, due("document_versions"), documents.forget_versions)
    yield Kept("unused_words", timedelta(0), due("unused_words"), forget_words)
    yield Kept("syncs", days, due("syncs"), partial(forget_syncs, pool, SyncRepository(pool)))
    deliveries = DeliveryRepository(pool)
    bodies = timedelta(days=keep.delivery_days)
    yield Kept("delivery_payloads", bodies, due("delivery_payloads"), deliveries.forget_payloads)
    yield Kept("deliveries", days, due("deliveries"), deliveries.forget)
    yield Kept("pull_request_runs", days, due("pull_request_runs"), partial(forget_runs, pool))
    yield Kept("feedback_code", changes, due("feedback_code"), PlacedCommentRepository(pool).forget_code)
    yield Kept("forge_logins", days, due("forge_logins"), partial(forget_logins, pool))
    yield Kept("alerts", days, due("alerts"), AlertRepository(pool).forget)
    yield Kept("log_files", days, partial(count_old_logs, logs), partial(empty_old_logs, logs))
