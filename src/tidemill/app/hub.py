"""Everything that a hub is made of, in one process and its event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from tidemill.api.services import Services
from tidemill.api.whole_answers import WholeAnswers
from tidemill.app.accounts import accounts_of
from tidemill.app.alerts import open_alerts
from tidemill.app.answers import cached, open_answers
from tidemill.app.backends import backends_of, connections_of, embedders_of
from tidemill.app.chores import chores_of, stop
from tidemill.app.data import data_of
from tidemill.app.database import Database, ready
from tidemill.app.entrance import entrance_of, issuer_of
from tidemill.app.forges import deliveries_of, open_forges
from tidemill.app.generation import generation_of
from tidemill.app.guardrails import open_guarding
from tidemill.app.knowledge import questions_of
from tidemill.app.limits import limiting_of, limits_of
from tidemill.app.models import chat_of, embedder_of, model_client, protection_of, serve_embeddings, serve_models
from tidemill.app.prompts import prompts_of
from tidemill.app.providers import outbound_of, provider_registry_of, providers_of
from tidemill.app.pull_requests import Extras, pull_requests_of
from tidemill.app.recovery import means_of
from tidemill.app.reviews import refiner_of
from tidemill.app.sandbox import sandbox_of
from tidemill.app.search import cross_encoder_of, readers_of, search_of
from tidemill.app.secrets import secrets_of
from tidemill.app.sources import crawlers_of, repositories_of, sources_of, syncs_of
from tidemill.app.telemetry import metrics_of, open_metrics_page, open_traces
from tidemill.conversations.answering import Answering
from tidemill.conversations.service import Conversations
from tidemill.conversations.summaries import Summaries
from tidemill.core.clock import system_clock
from tidemill.files.service import Files
from tidemill.flows.pull_request_gates import PulledGates
from tidemill.flows.pull_request_model import AnsweringAboutChanges, Mending
from tidemill.flows.responses import Responses
from tidemill.flows.review import ReviewFlow
from tidemill.flows.review_run import ReviewParts
from tidemill.jobs.durable import DurableJobs
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.llm.openai_http import OpenAIHTTP
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.readers.documents import DocumentReader
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.review.asking import Asking
from tidemill.review.commenter import Commenter
from tidemill.review.necessity import FOLDER, NecessityModels
from tidemill.review.offline import default_engines
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.conversations import ConversationRepository
from tidemill.store.data_folder import make_scratch_folder
from tidemill.store.database import Pool, make_pool
from tidemill.store.files import FileRepository
from tidemill.store.guardrails import GuardrailRepository
from tidemill.store.inferences import InferenceRepository
from tidemill.store.responses import ResponseRepository
from tidemill.store.reviews import ReviewRepository


@asynccontextmanager
async def open_hub(settings: Settings, database: Database, role: str = "hub") -> AsyncIterator[Services]:
    """Everything that serves requests and does the work, in this process and its event loop.

    `role` is `hub` or `worker`, for the metrics.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(make_pool(database.url, size=settings.database.pool_size))
        fast = await stack.enter_async_context(make_pool(database.url, size=4, synchronous_commit=False))
        accounts = accounts_of(database, pool)
        secrets = secrets_of(settings, pool, accounts.audit)
        issuer = issuer_of(settings, await stack.enter_async_context(httpx.AsyncClient(trust_env=False)), secrets)
        entrance = entrance_of(settings, database, pool, accounts, issuer)
        runtime = LocalRuntime(settings)
        stack.push_async_callback(runtime.aclose)
        prompts = prompts_of(pool, accounts)
        await prompts.refresh()
        outbound = outbound_of(settings)
        providers = providers_of(settings, pool, secrets)
        await providers.refresh()
        provider_registry = provider_registry_of(settings, pool, providers, secrets, accounts.audit, outbound)
        await provider_registry.check_settings()
        deployments = Deployments(settings, prompts, providers)
        deployments.check()
        metrics = metrics_of(settings, providers)
        traces = await stack.enter_async_context(open_traces(settings, role))
        inferences = InferenceRepository(fast)
        own = OpenAIHTTP(
            await stack.enter_async_context(model_client(settings)), serve_models(settings, runtime, secrets)
        )
        connections = connections_of(settings, providers, outbound)
        stack.push_async_callback(connections.aclose)
        served = backends_of(settings, providers, connections, own)
        embeddings = EmbeddingModels(
            settings, await stack.enter_async_context(model_client(settings)), serve_embeddings(settings, secrets)
        )
        stack.callback(embeddings.close)
        limiting = limiting_of(settings, pool, fast, providers.facts)
        stack.push_async_callback(limiting.aclose)
        limits = limits_of(pool, fast, accounts.audit, limiting.budgets)
        everyone = embedders_of(settings, providers, connections, embeddings)
        guarding = await stack.enter_async_context(
            open_guarding(settings.guardrails, fast, outbound, metrics.observe_guardrail)
        )
        embedder = embedder_of(settings, everyone, pool, inferences, metrics, providers, limiting, guarding)
        embedding_deployments = EmbeddingDeployments(settings, providers)
        answers = await stack.enter_async_context(open_answers(settings, pool, metrics.observe_cache, fast))
        means = means_of(settings, pool, providers, prompts)
        await means.breaker.tend()
        chat = chat_of(
            settings,
            served,
            inferences,
            metrics,
            providers,
            means,
            limiting,
            caching=lambda inner, texts: cached(settings, inner, texts, answers, embedder, embedding_deployments),
            guarding=guarding,
        )
        responses = _responses(settings, pool, chat, deployments)
        blobs = BlobStore(settings.blobs_dir)
        _, classify = protection_of(settings)
        files = Files(FileRepository(pool, blobs), blobs, settings.files, system_clock, classify=classify)
        conversations = _conversations(settings, pool, chat, deployments, prompts)
        stack.push_async_callback(conversations.aclose)
        jobs = DurableJobs(database.url)
        scratch = make_scratch_folder(settings.run_dir / "tmp")
        engines, asking = default_engines(scratch), Asking(chat)
        sandbox = sandbox_of(settings.sandbox)
        stack.push_async_callback(sandbox.aclose)
        refiner = refiner_of(settings, engines, asking, prompts, sandbox, scratch)
        parts = ReviewParts(
            reviews=ReviewRepository(pool),
            blobs=blobs,
            engines=engines,
            commenter=Commenter(asking, prompts),
            refiner=refiner,
            deployments=deployments.for_review,
            settings=settings.review,
            clock=system_clock,
            observe=metrics.observe_review,
            observe_failure=metrics.observe_engine_failure,
            traces=traces,
            necessity=NecessityModels(settings.data_dir / FOLDER).current,
        )
        reviews = ReviewFlow(jobs, parts, accounts.people)
        forges = await stack.enter_async_context(open_forges(settings, outbound, secrets))
        extras = Extras(
            gates=PulledGates(scratch, settings.review.advisories),
            mender=Mending(refiner, deployments.for_review),
            answerer=AnsweringAboutChanges(asking, prompts, deployments.for_question),
        )
        pull_requests = pull_requests_of(settings, pool, jobs, reviews, forges, metrics, extras)
        whole = WholeAnswers(
            chat, embedder, deployments, embedding_deployments, settings.embeddings.max_input_bytes, traces
        )
        generation = generation_of(settings, database, pool, jobs, whole, files, traces, outbound)
        readers, reader = readers_of(pool), DocumentReader(settings.knowledge.reading)
        stack.push_async_callback(reader.close)
        repositories = repositories_of(settings, outbound)
        crawlers = crawlers_of(settings, pool, repositories, outbound, secrets)
        syncs = syncs_of(
            settings, pool, jobs, reader, crawlers, embedder, embedding_deployments, providers, metrics, traces
        )
        await jobs.start()
        stack.push_async_callback(jobs.aclose)
        page = await stack.enter_async_context(
            open_metrics_page(f"{role}-{jobs.slot}", role, metrics, settings, pool, runtime, providers)
        )
        data = data_of(settings, pool, accounts, answers)
        stack.push_async_callback(accounts.keys.write_uses)
        alerts = await stack.enter_async_context(open_alerts(settings, pool, secrets, outbound))
        encoder = cross_encoder_of(settings)
        if encoder is not None:
            stack.callback(encoder.close)
        search = search_of(
            pool,
            embedder,
            embedding_deployments,
            chat,
            deployments,
            prompts,
            encoder,
            settings.knowledge.reranker.passages,
        )
        services = Services(
            settings=settings,
            accounts=accounts,
            keys=accounts.keys,
            entrance=entrance,
            chat=chat,
            deployments=deployments,
            providers=provider_registry,
            prompts=prompts,
            alerts=alerts,
            embedder=embedder,
            embedding_deployments=embedding_deployments,
            runtime=runtime,
            reviews=reviews,
            pull_requests=pull_requests,
            generation=generation,
            responses=responses,
            conversations=conversations,
            files=files,
            answers=answers,
            metrics=metrics,
            metrics_page=page.render,
            traces=traces,
            secrets=secrets,
            data=data,
            limits=limits,
            guardrails=GuardrailRepository(pool),
            readers=readers,
            search=search,
            sources=sources_of(settings, pool, accounts.audit, readers, crawlers, repositories),
            syncs=syncs,
            questions=questions_of(
                settings,
                pool,
                chat,
                search,
                embedder,
                deployments,
                embedding_deployments,
                prompts,
                conversations,
                providers.facts,
            ),
            deliveries=deliveries_of(settings, pool, jobs, secrets),
            ready=lambda: ready(pool),
        )
        chores = chores_of(database, services, page, providers, means.breaker)
        stack.push_async_callback(stop, [asyncio.create_task(work) for work in chores])
        yield services


def _responses(settings: Settings, pool: Pool, chat: ChatModel, deployments: Deployments) -> Responses:
    days = settings.retention.conversation_days
    _, classify = protection_of(settings)
    return Responses(chat, deployments, ResponseRepository(pool), days=days, clock=system_clock, classify=classify)


def _conversations(
    settings: Settings, pool: Pool, chat: ChatModel, deployments: Deployments, prompts: Prompts
) -> Conversations:
    repository = ConversationRepository(pool)
    return Conversations(
        repository,
        Answering(chat, Summaries(chat, repository, system_clock, prompts), deployments.context_tokens, prompts),
        chat,
        deployments,
        prompts,
        settings.conversations,
        system_clock,
        classify=protection_of(settings)[1],
    )
