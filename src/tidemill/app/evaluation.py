"""What an evaluation is made of: the embedding model with all its wrappers, an index and the search over it."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tidemill.app.accounts import accounts_of
from tidemill.app.backends import connections_of, embedders_of
from tidemill.app.database import Database
from tidemill.app.guardrails import open_guarding
from tidemill.app.limits import limiting_of
from tidemill.app.models import embedder_of, model_client, serve_embeddings
from tidemill.app.providers import outbound_of, providers_of
from tidemill.app.secrets import secrets_of
from tidemill.app.telemetry import metrics_of
from tidemill.core.clock import system_clock
from tidemill.core.search import SearchMode
from tidemill.flows.chunk_vectors import ChunkVectors, VectorParts
from tidemill.flows.evaluation_index import EvaluatedSearch, EvaluationIndex
from tidemill.knowledge.grounding.support import Grounding
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.catalog import DEFAULT
from tidemill.llm.embeddings import Embedder
from tidemill.llm.embeddings_all import EmbeddingModels
from tidemill.readers.documents import DocumentReader
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.settings import Settings
from tidemill.store.blobs import BlobStore
from tidemill.store.database import make_pool
from tidemill.store.inferences import InferenceRepository


@dataclass(frozen=True, slots=True)
class EmbeddingParts:
    """The embedding port, with the cache that lets a run go on where it was, and what is deployed behind it."""

    embedder: Embedder
    deployments: EmbeddingDeployments

    @property
    def version(self) -> str:
        """The exact version of the model that is measured. Raises `ModelNotFound`."""
        deployment = self.deployments.find(DEFAULT)
        return f"{deployment.model}@{deployment.model_version}"

    def grounding(self) -> Grounding:
        """What holds claims to passages."""
        return Grounding(self.embedder, lambda: self.deployments.find(DEFAULT))


@asynccontextmanager
async def open_embedding(settings: Settings, database: Database) -> AsyncIterator[EmbeddingParts]:
    """The embedding port as the hub has it: cached, counted and limited in the hub's database."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(make_pool(database.url, size=4))
        accounts = accounts_of(database, pool)
        secrets = secrets_of(settings, pool, accounts.audit)
        providers = providers_of(settings, pool, secrets)
        await providers.refresh()
        outbound = outbound_of(settings)
        connections = connections_of(settings, providers, outbound)
        stack.push_async_callback(connections.aclose)
        metrics = metrics_of(settings, providers)
        client = await stack.enter_async_context(model_client(settings))
        models = EmbeddingModels(settings, client, serve_embeddings(settings, secrets))
        stack.callback(models.close)
        guarding = await stack.enter_async_context(
            open_guarding(settings.guardrails, pool, outbound, metrics.observe_guardrail)
        )
        embedder = embedder_of(
            settings,
            embedders_of(settings, providers, connections, models),
            pool,
            InferenceRepository(pool),
            metrics,
            providers,
            limiting_of(settings, pool, pool, providers.facts),
            guarding,
        )
        yield EmbeddingParts(embedder, EmbeddingDeployments(settings, providers))


@asynccontextmanager
async def open_index(
    settings: Settings, database: Database, embedding: EmbeddingParts, mode: SearchMode, *, self_query: bool
) -> AsyncIterator[tuple[EvaluationIndex, EvaluatedSearch]]:
    """An index in the evaluation's own database, and the search over it."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(make_pool(database.url, size=4))
        reader = DocumentReader(settings.knowledge.reading)
        stack.push_async_callback(reader.close)
        find = embedding.deployments.find
        vectors = ChunkVectors(
            VectorParts(pool, embedding.embedder, find, DEFAULT, system_clock, lambda model, level: True)  # all public
        )
        index = EvaluationIndex(
            pool, BlobStore(settings.blobs_dir), reader, settings.knowledge.chunks, vectors, system_clock
        )
        search = Search(pool, QuestionVectors(embedding.embedder, find), system_clock)
        yield index, EvaluatedSearch(search, mode, self_query=self_query)


def settings_digest(settings: Settings) -> str:
    """SHA-256 of the settings of knowledge and of embeddings, secrets masked: what decides how texts are found."""
    knowledge = settings.knowledge.model_dump_json(exclude={"sources"})
    shown = f"{knowledge}\n{settings.embeddings.model_dump_json(exclude={'threads'})}"
    return hashlib.sha256(shown.encode()).hexdigest()
