"""The ports of models and of embeddings, and the order of their wrappers.

Of chats and texts, outermost first: recording, which keeps texts by their level → rate limits → guardrails → cache →
recovery, which chooses who answers → budget → what may leave, for models outside → several answers to one request →
tools of local models → route by model name (local child, endpoint or provider). Of embeddings: recording → rate
limits → guardrails → cache → budget → what may leave → route by model name.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import httpx

from tidemill.analysis.classification import classify_all
from tidemill.app.backends import gives_one_answer
from tidemill.app.guardrails import Guarding
from tidemill.app.limits import Limiting
from tidemill.core.classification import Level, UseLimits
from tidemill.core.clock import system_clock
from tidemill.core.context import Priority
from tidemill.core.errors import Configuration
from tidemill.core.provider import LOCAL
from tidemill.llm.budgets import BudgetedEmbedder, BudgetedModel
from tidemill.llm.classified import ClassifiedModel
from tidemill.llm.embeddings import Embedder
from tidemill.llm.embeddings_cached import CachedEmbedder, ClassifiedEmbedder, RecordedEmbedder
from tidemill.llm.levels import RememberedLevels
from tidemill.llm.openai_http import Serve, Target
from tidemill.llm.outside import Classify, OutsideLimit
from tidemill.llm.port import ChatModel
from tidemill.llm.rate_limits import RateLimitedEmbedder, RateLimitedModel
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.recovery.means import Means
from tidemill.llm.recovery.routed import RoutedModel
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.llm.several_choices import SeveralChoices
from tidemill.llm.tool_calls import ToolCalls
from tidemill.llm.traced import ToldAttempts, ToldModel, TracedEmbedder, TracedModel
from tidemill.outbound import Outbound
from tidemill.protection.secrets import Secrets
from tidemill.registry.providers import Providers, leaves_the_network
from tidemill.settings import ServerSettings, Settings
from tidemill.store.database import Pool
from tidemill.store.embedding_cache import EmbeddingCacheRepository
from tidemill.store.inferences import InferenceRepository
from tidemill.telemetry.metrics import Metrics

ANYWHERE = ("0.0.0.0/0", "::/0")
"""Where the servers of models that the settings name may lie. No cloud's metadata service is one."""
STREAM_BYTES = 1_000_000_000
"""All of one streamed answer; what answers at once is held to much less."""


def protection_of(settings: Settings) -> tuple[UseLimits, Classify]:
    """What each level of text may be used for here, and what finds the level."""
    chosen = settings.protection
    limits = UseLimits(chosen.logging_up_to, chosen.training_up_to, chosen.outside_up_to)
    return limits, partial(classify_all, default=chosen.default_level)


def model_client(settings: Settings) -> httpx.AsyncClient:
    """A client for models' servers, which are where the settings say; whoever asks for it closes it."""
    return Outbound(ANYWHERE).client(timeout=settings.models.request_timeout, max_bytes=STREAM_BYTES)


def chat_of(
    settings: Settings,
    served: ChatModel,
    inferences: InferenceRepository,
    metrics: Metrics,
    providers: Providers,
    means: Means,
    limiting: Limiting,
    caching: Callable[[ChatModel, TextPolicy], ChatModel],
    guarding: Guarding,
) -> ChatModel:
    """The port for chats and texts, with its wrappers around whoever serves them."""
    limits, found = protection_of(settings)
    classify = RememberedLevels(found)
    texts = TextPolicy(settings.retention.inference_text_days, limits, classify)
    content = settings.telemetry.trace_content

    def local(name: str) -> bool:
        return name not in settings.models.endpoints and providers.find(name) is None

    def one_by_one(name: str) -> bool:
        return local(name) or gives_one_answer(providers, name)

    dispatch = TracedModel("dispatch", served, detailed=True)
    several = SeveralChoices(ToolCalls(dispatch, local=local), one_by_one=one_by_one, prompt_once=local)
    limit = OutsideLimit(settings.models.endpoints, limits=limits, classify=classify, leaves=leaves_of(providers))
    checked = TracedModel("classification", ClassifiedModel(several, limit))
    budgeted = TracedModel("budget", BudgetedModel(checked, limiting.spending))
    tried = ToldAttempts(
        TracedModel("attempt", budgeted, detailed=True),
        provider_of=lambda name: provider_of(settings, providers, name),
        observe=metrics.observe_attempt,
    )
    recovering = TracedModel("recovery", RoutedModel(tried, means))
    guarded = guarding.wrap(TracedModel("cache", caching(recovering, texts)))
    paced = RateLimitedModel(TracedModel("guardrails", guarded), limiting.pace)
    recorded = RecordedModel(
        TracedModel("rate limits", paced),
        inferences,
        clock=system_clock,
        texts=texts,
        observe=metrics.observe_inference,
        remember=guarding.memory.remember,
        is_free=limiting.spending.is_free,
    )
    return ToldModel(TracedModel("inference", recorded, detailed=True, names=True, content=content))


def leaves_of(providers: Providers) -> Callable[[str], bool]:
    """Whether texts leave the team's network for a name, where it is a provider's model."""

    def leaves(name: str) -> bool:
        found = providers.find(name)
        return found is not None and leaves_the_network(found[0])

    return leaves


def provider_of(settings: Settings, providers: Providers, name: str) -> str:
    """Who serves a model, by the name that requests have for it: an endpoint is a provider of its own."""
    found = providers.find(name)
    if found is not None:
        return found[0].name
    return name if name in settings.models.endpoints else LOCAL


def serve_models(settings: Settings, runtime: LocalRuntime, secrets: Secrets) -> Serve:
    """Where a model is served: by a child that is leased for the block, or at an endpoint."""

    @asynccontextmanager
    async def serve(name: str, priority: Priority = Priority.INTERACTIVE, /) -> AsyncIterator[Target]:
        endpoint = settings.models.endpoints.get(name)
        if endpoint is None:
            async with runtime.serve(name, priority) as served:
                child = served.endpoint
                yield Target(child.base_url, child.api_key, served.model, served.options, local=True)
            return
        yield Target(endpoint.url, await _endpoint_key(name, endpoint, secrets), endpoint.model or name)

    return serve


def serve_embeddings(settings: Settings, secrets: Secrets) -> Serve:
    """Where an embedding model behind a URL is served."""

    @asynccontextmanager
    async def serve(name: str, priority: Priority = Priority.INTERACTIVE, /) -> AsyncIterator[Target]:
        endpoint = settings.embeddings.endpoints[name]
        yield Target(endpoint.url, await _endpoint_key(name, endpoint, secrets), endpoint.model or name)

    return serve


async def _endpoint_key(name: str, endpoint: ServerSettings, secrets: Secrets) -> str | None:
    if endpoint.api_key_env is not None:
        key = os.environ.get(endpoint.api_key_env)
        if key is None:
            raise Configuration(
                f"The model {name} needs the environment variable {endpoint.api_key_env}, which is not set."
            )
        return key
    return None if endpoint.api_key_secret is None else await secrets.reveal(endpoint.api_key_secret)


def may_embed_of(settings: Settings, providers: Providers) -> Callable[[str, Level], bool]:
    """Whether an embedding model, by its name, may be given texts of a level."""
    return _embedding_limit(settings, providers).allows


def _embedding_limit(settings: Settings, providers: Providers) -> OutsideLimit:
    limits, classify = protection_of(settings)
    return OutsideLimit(
        settings.embeddings.endpoints,
        limits=limits,
        classify=classify,
        section="embeddings.endpoints",
        leaves=leaves_of(providers),
    )


def embedder_of(
    settings: Settings,
    models: Embedder,
    pool: Pool,
    inferences: InferenceRepository,
    metrics: Metrics,
    providers: Providers,
    limiting: Limiting,
    guarding: Guarding,
) -> Embedder:
    """The embedding port's wrappers, in the order that stands above."""
    limits, classify = protection_of(settings)
    checked = ClassifiedEmbedder(TracedEmbedder("dispatch", models), _embedding_limit(settings, providers))
    cached = CachedEmbedder(
        BudgetedEmbedder(checked, limiting.embedding_spending),
        EmbeddingCacheRepository(pool),
        hours=settings.retention.cache_hours,
        limits=limits,
        classify=classify,
        clock=system_clock,
    )
    paced = RateLimitedEmbedder(guarding.wrap_embedder(cached), limiting.pace)
    recorded = RecordedEmbedder(
        paced,
        inferences,
        clock=system_clock,
        observe=metrics.observe_inference,
        is_free=limiting.embedding_spending.is_free,
    )
    return TracedEmbedder("embedding", recorded)
