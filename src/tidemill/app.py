"""Composition: builds the objects and wires them, and nothing else.

The model port is wrapped here, outermost first: recording, which keeps texts by their level → what may leave, for
models outside → several answers to one request → tools of local models → route by model name (local child or
endpoint).
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.attempts import Attempts
from tidemill.accounts.audit import Audit
from tidemill.accounts.entrance import Entrance
from tidemill.accounts.issuer import Issuer
from tidemill.accounts.key_check import KeyCheck
from tidemill.accounts.oidc import OidcSignIn
from tidemill.accounts.passwords import Passwords
from tidemill.accounts.people import People
from tidemill.accounts.sessions import Sessions
from tidemill.accounts.sign_in import SignIn
from tidemill.accounts.teams import Teams
from tidemill.accounts.tokens import Tokens
from tidemill.analysis.classification import classify_all
from tidemill.api.services import Services
from tidemill.conversations.answering import Answering
from tidemill.conversations.service import Conversations
from tidemill.conversations.summaries import Summaries
from tidemill.core.classification import UseLimits
from tidemill.core.clock import system_clock
from tidemill.core.errors import Configuration, TidemillError
from tidemill.files.service import Files
from tidemill.flows.data import DataServices
from tidemill.flows.export import ExportFlow, ExportParts
from tidemill.flows.personal_data import ErasureFlow, ErasureParts
from tidemill.flows.responses import Responses
from tidemill.flows.review import ReviewFlow, forget_changes
from tidemill.flows.review_run import ReviewParts
from tidemill.flows.steps import forget_steps
from tidemill.jobs.durable import DurableJobs
from tidemill.llm.classified import ClassifiedModel
from tidemill.llm.embeddings import Embedder
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.llm.embeddings_cached import CachedEmbedder, ClassifiedEmbedder, RecordedEmbedder
from tidemill.llm.openai_http import OpenAIHTTP, Serve, Target
from tidemill.llm.outside import Classify, OutsideLimit
from tidemill.llm.port import ChatModel
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.runtime import LocalRuntime
from tidemill.llm.several_choices import SeveralChoices
from tidemill.llm.tool_calls import ToolCalls
from tidemill.protection.retention import Kept, Retention
from tidemill.protection.secrets import Secrets
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.review.commenter import Commenter
from tidemill.review.offline import default_engines
from tidemill.settings import EndpointSettings, Settings
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.audit import AuditRepository
from tidemill.store.blobs import BlobStore
from tidemill.store.conversations import ConversationRepository
from tidemill.store.data_folder import make_data_folder, make_private_folder, make_scratch_folder
from tidemill.store.database import Pool, check_key, make_pool, migrate
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.embedding_cache import EmbeddingCacheRepository
from tidemill.store.erasures import ErasureRepository
from tidemill.store.files import FileRepository
from tidemill.store.inferences import InferenceRepository
from tidemill.store.key_ring import open_key_file
from tidemill.store.log_files import count_old_logs, empty_old_logs
from tidemill.store.people import PeopleRepository
from tidemill.store.personal_data import PersonalData
from tidemill.store.responses import ResponseRepository
from tidemill.store.retention import RetentionRepository
from tidemill.store.reviews import ReviewRepository
from tidemill.store.secret_key import SecretKey, load_secret_key
from tidemill.store.secrets import SecretRepository
from tidemill.store.sessions import SessionRepository
from tidemill.store.sign_in_failures import SignInFailureRepository
from tidemill.store.teams import TeamRepository
from tidemill.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

WATCH_SECONDS = 2.0
RETENTION_SECONDS = 3600.0
SETTLE_SECONDS = 10.0
TEND_SECONDS = 1.0
USES_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL that accepts connections: the embedded one, or an operator's own."""

    url: str
    key: SecretKey
    embedded: EmbeddedPostgres | None


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Starts or joins the database, brings its schema up to date, and leaves it at the end."""
    key = load_secret_key(settings)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        migrate(url)
        check_key(url, key.derive("mark"))
        yield Database(url, key, None)
        return
    with EmbeddedPostgres.acquire(settings, key) as embedded:
        migrate(embedded.url)
        check_key(embedded.url, key.derive("mark"))
        yield Database(embedded.url, key, embedded)


@asynccontextmanager
async def open_accounts(database: Database) -> AsyncIterator[Accounts]:
    """The services for people, teams and keys alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield _accounts(database, pool)


@asynccontextmanager
async def open_entrance(settings: Settings, database: Database) -> AsyncIterator[Entrance]:
    """The services for passwords and sessions alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield _entrance(settings, database, pool, _accounts(database, pool))


@asynccontextmanager
async def open_secrets(settings: Settings, database: Database) -> AsyncIterator[Secrets]:
    """The service for secrets alone, for the commands that need no more."""
    async with make_pool(database.url, size=2) as pool:
        yield _secrets(settings, database, pool)


@asynccontextmanager
async def open_data(settings: Settings, database: Database) -> AsyncIterator[DataServices]:
    """The services for data alone, for the commands that need no more."""
    async with make_pool(database.url, size=4) as pool:
        yield _data(settings, pool, _accounts(database, pool))


@asynccontextmanager
async def open_hub(settings: Settings, database: Database) -> AsyncIterator[Services]:
    """Everything that serves requests and does the work, in this process and its event loop."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(make_pool(database.url, size=settings.database.pool_size))
        fast = await stack.enter_async_context(make_pool(database.url, size=2, synchronous_commit=False))
        secrets = _secrets(settings, database, pool)
        accounts = _accounts(database, pool)
        issuer = _issuer(settings, await stack.enter_async_context(httpx.AsyncClient(trust_env=False)), secrets)
        entrance = _entrance(settings, database, pool, accounts, issuer)
        runtime = LocalRuntime(settings)
        stack.push_async_callback(runtime.aclose)
        deployments = Deployments(settings)
        metrics = Metrics()
        inferences = InferenceRepository(fast)
        limits, classify = _protection(settings)
        limit = OutsideLimit(settings.models.endpoints, limits=limits, classify=classify)

        def local(name: str) -> bool:
            return name not in settings.models.endpoints

        served = OpenAIHTTP(await stack.enter_async_context(_client(settings)), _serve(settings, runtime, secrets))
        several = SeveralChoices(ToolCalls(served, local=local), one_by_one=local)
        chat = RecordedModel(
            ClassifiedModel(several, limit),
            inferences,
            clock=system_clock,
            texts=TextPolicy(settings.retention.inference_text_days, limits, classify),
            observe=metrics.observe_inference,
        )
        embeddings = EmbeddingModels(
            settings, await stack.enter_async_context(_client(settings)), _serve_embeddings(settings, secrets)
        )
        stack.callback(embeddings.close)
        embedder = _embedder(settings, embeddings, pool, inferences, metrics)
        responses = _responses(settings, pool, chat, deployments)
        blobs = BlobStore(settings.blobs_dir)
        files = Files(FileRepository(pool, blobs), blobs, settings.files, system_clock)
        conversations = _conversations(settings, pool, chat, deployments)
        stack.push_async_callback(conversations.aclose)
        jobs = DurableJobs(database.url)
        parts = ReviewParts(
            reviews=ReviewRepository(pool),
            blobs=blobs,
            engines=default_engines(make_scratch_folder(settings.run_dir / "tmp")),
            commenter=Commenter(chat),
            deployment=deployments.for_review,
            settings=settings.review,
            clock=system_clock,
            observe=metrics.observe_review,
            change_days=settings.retention.review_change_days,
        )
        reviews = ReviewFlow(jobs, parts, accounts.people)
        await jobs.start()
        stack.push_async_callback(jobs.aclose)
        data = _data(settings, pool, accounts)
        stack.push_async_callback(accounts.keys.write_uses)
        chores = _chores(database, data, reviews, accounts, runtime, entrance, files)
        stack.push_async_callback(_stop, [asyncio.create_task(work) for work in chores])
        yield Services(
            settings=settings,
            accounts=accounts,
            keys=accounts.keys,
            entrance=entrance,
            chat=chat,
            deployments=deployments,
            embedder=embedder,
            embedding_deployments=EmbeddingDeployments(settings),
            runtime=runtime,
            reviews=reviews,
            responses=responses,
            conversations=conversations,
            files=files,
            metrics=metrics,
            secrets=secrets,
            data=data,
            ready=lambda: _ready(pool),
        )


def _accounts(database: Database, pool: Pool) -> Accounts:
    derive, people, keys = database.key.derive, PeopleRepository(pool), ApiKeyRepository(pool)
    audit = Audit(AuditRepository(pool), derive=derive, clock=system_clock)
    check = KeyCheck(keys, derive=derive, clock=system_clock)
    api_keys = ApiKeys(keys, people, check=check, audit=audit, clock=system_clock)
    return Accounts(
        people=People(people, keys, keys=api_keys, check=check, audit=audit, clock=system_clock),
        teams=Teams(TeamRepository(pool), people, audit=audit, clock=system_clock),
        keys=api_keys,
        audit=audit,
    )


def _issuer(settings: Settings, client: httpx.AsyncClient, secrets: Secrets) -> Issuer | None:
    oidc = settings.auth.oidc
    if oidc.issuer is None:
        return None

    async def secret() -> str | None:
        if oidc.client_secret is not None:
            return await secrets.reveal(oidc.client_secret)
        if oidc.client_secret_env is None:
            return None
        found = os.environ.get(oidc.client_secret_env)
        if not found:
            raise Configuration(
                f"Sign-in through {oidc.issuer} needs the environment variable {oidc.client_secret_env}, which is not "
                "set."
            )
        return found

    return Issuer(client, oidc, secret=secret, clock=system_clock)


def _entrance(
    settings: Settings, database: Database, pool: Pool, accounts: Accounts, issuer: Issuer | None = None
) -> Entrance:
    derive, people, audit = database.key.derive, PeopleRepository(pool), accounts.audit
    failures = SignInFailureRepository(pool)
    attempts = Attempts(failures, audit=audit, derive=derive, clock=system_clock)
    sessions = Sessions(SessionRepository(pool), audit=audit, derive=derive, clock=system_clock, settings=settings.auth)
    oidc = None
    if issuer is not None:
        chosen = settings.auth.oidc
        oidc = OidcSignIn(issuer, people, sessions, audit=audit, derive=derive, clock=system_clock, settings=chosen)
    return Entrance(
        sign_in=SignIn(people, Passwords(settings.auth.passwords), attempts, sessions, audit=audit),
        sessions=sessions,
        tokens=Tokens(keys=accounts.keys, sessions=sessions, audit=audit, derive=derive, clock=system_clock),
        attempts=attempts,
        oidc=oidc,
    )


def _protection(settings: Settings) -> tuple[UseLimits, Classify]:
    chosen = settings.protection
    limits = UseLimits(chosen.logging_up_to, chosen.training_up_to, chosen.outside_up_to)
    return limits, partial(classify_all, default=chosen.default_level)


def _secrets(settings: Settings, database: Database, pool: Pool) -> Secrets:
    audit = Audit(AuditRepository(pool), derive=database.key.derive, clock=system_clock)
    return Secrets(SecretRepository(pool), open_key_file(settings), audit=audit, clock=system_clock)


def _data(settings: Settings, pool: Pool, accounts: Accounts) -> DataServices:
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
            ErasureParts(accounts.people, accounts.audit, data, erasures, files, blobs, logs, system_clock)
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

    texts = InferenceRepository(pool).forget_texts
    yield Kept("inference_texts", timedelta(days=keep.inference_text_days), due("inference_texts"), texts, True)
    changes = timedelta(days=keep.review_change_days)
    yield Kept("review_changes", changes, due("review_changes"), forget_changes_before)
    yield Kept("conversations", talk, due("conversations"), ConversationRepository(pool).forget)
    yield Kept("responses", talk, due("responses"), ResponseRepository(pool).forget, True)
    yield Kept("files", timedelta(0), due("files"), files.expire, True)
    cache = timedelta(hours=keep.cache_hours)
    yield Kept("cached_embeddings", cache, due("cached_embeddings"), rows.forget_embeddings)
    days = timedelta(days=keep.log_days)
    yield Kept("review_steps", days, due("review_steps"), partial(forget_steps, pool, rows))
    yield Kept("log_files", days, partial(count_old_logs, logs), partial(empty_old_logs, logs))


def _responses(settings: Settings, pool: Pool, chat: ChatModel, deployments: Deployments) -> Responses:
    days = settings.retention.conversation_days
    return Responses(chat, deployments, ResponseRepository(pool), days=days, clock=system_clock)


def _conversations(settings: Settings, pool: Pool, chat: ChatModel, deployments: Deployments) -> Conversations:
    repository = ConversationRepository(pool)

    def context_of(model: str) -> int | None:
        return None if model in settings.models.endpoints else settings.models.context_tokens

    return Conversations(
        repository,
        Answering(chat, Summaries(chat, repository, system_clock), context_of),
        chat,
        deployments,
        settings.conversations,
        system_clock,
    )


def _client(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(settings.models.request_timeout, connect=10.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        trust_env=False,
    )


def _serve(settings: Settings, runtime: LocalRuntime, secrets: Secrets) -> Serve:
    @asynccontextmanager
    async def serve(name: str) -> AsyncIterator[Target]:
        endpoint = settings.models.endpoints.get(name)
        if endpoint is None:
            async with runtime.serve(name) as served:
                child = served.endpoint
                yield Target(child.base_url, child.api_key, served.model, served.options, local=True)
            return
        yield Target(endpoint.url, await _endpoint_key(name, endpoint, secrets), endpoint.model or name)

    return serve


def _serve_embeddings(settings: Settings, secrets: Secrets) -> Serve:
    @asynccontextmanager
    async def serve(name: str) -> AsyncIterator[Target]:
        endpoint = settings.embeddings.endpoints[name]
        yield Target(endpoint.url, await _endpoint_key(name, endpoint, secrets), endpoint.model or name)

    return serve


async def _endpoint_key(name: str, endpoint: EndpointSettings, secrets: Secrets) -> str | None:
    if endpoint.api_key_env is not None:
        key = os.environ.get(endpoint.api_key_env)
        if key is None:
            raise Configuration(
                f"The model {name} needs the environment variable {endpoint.api_key_env}, which is not set."
            )
        return key
    return None if endpoint.api_key_secret is None else await secrets.reveal(endpoint.api_key_secret)


def _embedder(
    settings: Settings, models: EmbeddingModels, pool: Pool, inferences: InferenceRepository, metrics: Metrics
) -> Embedder:
    """The embedding port's wrappers, outermost first: recording → cache → what may leave → route by model name."""
    limits, classify = _protection(settings)
    section = "embeddings.endpoints"
    limit = OutsideLimit(settings.embeddings.endpoints, limits=limits, classify=classify, section=section)
    cached = CachedEmbedder(
        ClassifiedEmbedder(models, limit),
        EmbeddingCacheRepository(pool),
        hours=settings.retention.cache_hours,
        limits=limits,
        classify=classify,
        clock=system_clock,
    )
    return RecordedEmbedder(cached, inferences, clock=system_clock, observe=metrics.observe_inference)


def _chores(
    database: Database,
    data: DataServices,
    reviews: ReviewFlow,
    accounts: Accounts,
    runtime: LocalRuntime,
    entrance: Entrance,
    files: Files,
) -> Iterator[Coroutine[None, None, None]]:
    yield _regularly(RETENTION_SECONDS, lambda: _look_after(data))
    yield _regularly(RETENTION_SECONDS, entrance.forget)
    yield _regularly(RETENTION_SECONDS, files.expire)
    yield _regularly(SETTLE_SECONDS, reviews.settle)
    yield _regularly(TEND_SECONDS, runtime.tend)
    yield _regularly(USES_SECONDS, accounts.keys.write_uses)
    if database.embedded is not None:
        embedded = database.embedded
        yield _regularly(WATCH_SECONDS, lambda: _watch(embedded))


async def _regularly(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work now and then every so many seconds; one of our own errors waits for the next turn."""
    while True:
        try:
            await work()
        except TidemillError as error:
            log.warning("Not done this time: %s", error.message)
        await asyncio.sleep(seconds)


async def _watch(embedded: EmbeddedPostgres) -> None:
    """Starts the embedded server again when it is gone."""
    if await asyncio.to_thread(embedded.ensure_alive):
        log.warning("The database was gone and has been started again.")


async def _look_after(data: DataServices) -> None:
    """Deletes what is due, and finishes erasures that were broken off."""
    await data.retention.run()
    await data.erasures.resume()


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _ready(pool: Pool) -> None:
    """Raises `Unavailable` where the database does not answer within two seconds."""
    async with pool.connection(timeout=2) as connection:
        await connection.execute("SELECT 1")
