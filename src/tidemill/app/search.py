"""Search, and who may see what of it."""

from tidemill.accounts.readers import Readers
from tidemill.core.clock import system_clock
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.embeddings import Embedder
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


def readers_of(pool: Pool) -> Readers:
    """Who may see which documents."""
    return Readers(PeopleRepository(pool), TeamRepository(pool))


def search_of(pool: Pool, embedder: Embedder, deployments: EmbeddingDeployments) -> Search:
    """Search over this database."""
    return Search(pool, QuestionVectors(embedder, deployments.find), system_clock)
