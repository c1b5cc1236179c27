"""What the routes call. Composition builds it once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request

from tidemill.accounts.accounts import Accounts
from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.entrance import Entrance
from tidemill.accounts.readers import Readers
from tidemill.alerts.service import Alerts
from tidemill.conversations.service import Conversations
from tidemill.files.service import Files
from tidemill.flows.data import DataServices
from tidemill.flows.deliveries import Deliveries
from tidemill.flows.generation_services import GenerationServices
from tidemill.flows.pull_request import PullRequestFlow
from tidemill.flows.questions import Questions
from tidemill.flows.responses import Responses
from tidemill.flows.review import ReviewFlow
from tidemill.flows.sync import SyncFlow
from tidemill.knowledge.search import Search
from tidemill.knowledge.sources import Sources
from tidemill.limits.services import Limits
from tidemill.llm.cache.tiers import Answers
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.runtime.local import LocalRuntime
from tidemill.protection.secrets import Secrets
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.registry.prompts import PromptLibrary
from tidemill.registry.provider_registry import ProviderRegistry
from tidemill.settings import Settings
from tidemill.store.guardrails import GuardrailRepository
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.spans import Traces


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one hub. `ready` raises a `TidemillError` that says what is missing."""

    settings: Settings
    accounts: Accounts
    keys: ApiKeys
    entrance: Entrance
    chat: ChatModel
    deployments: Deployments
    providers: ProviderRegistry
    prompts: PromptLibrary
    alerts: Alerts
    embedder: Embedder
    embedding_deployments: EmbeddingDeployments
    runtime: LocalRuntime
    reviews: ReviewFlow
    pull_requests: PullRequestFlow
    generation: GenerationServices
    responses: Responses
    conversations: Conversations
    files: Files
    answers: Answers
    metrics: Metrics
    metrics_page: Callable[[], Awaitable[bytes]]
    traces: Traces
    secrets: Secrets
    data: DataServices
    limits: Limits
    guardrails: GuardrailRepository
    readers: Readers
    search: Search
    sources: Sources
    syncs: SyncFlow
    questions: Questions
    deliveries: Deliveries
    ready: Callable[[], Awaitable[None]]


def services_of(request: Request) -> Services:
    """The services behind this request."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - create_app has set it
    return services
