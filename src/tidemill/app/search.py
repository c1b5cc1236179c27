"""Search, and who may see what of it."""

from tidemill.accounts.readers import Readers
from tidemill.core.clock import system_clock
from tidemill.knowledge.model_ranking import ModelReranker, ModelWriter
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


def readers_of(pool: Pool) -> Readers:
    """Who may see which documents."""
    return Readers(PeopleRepository(pool), TeamRepository(pool))


def search_of(
    pool: Pool, embedder: Embedder, embedding: EmbeddingDeployments, chat: ChatModel, deployments: Deployments
) -> Search:
    """Search over this database; the model that answers also rewords questions and reranks, where that is asked."""
    return Search(
        pool,
        QuestionVectors(embedder, embedding.find),
        system_clock,
        writer=ModelWriter(chat, deployments.for_answer),
        reranker=ModelReranker(chat, deployments.for_answer),
    )
