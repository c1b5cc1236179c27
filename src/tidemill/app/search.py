"""Search, and who may see what of it."""

from tidemill.accounts.readers import Readers
from tidemill.core.clock import system_clock
from tidemill.knowledge.model_ranking import AskedModel, ModelFilterReader, ModelReranker, ModelWriter
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


def readers_of(pool: Pool) -> Readers:
    """Who may see which documents."""
    return Readers(PeopleRepository(pool), TeamRepository(pool))


def search_of(
    pool: Pool,
    embedder: Embedder,
    embedding: EmbeddingDeployments,
    chat: ChatModel,
    deployments: Deployments,
    prompts: Prompts,
) -> Search:
    """Search over this database; the model that answers also rewords questions, reads filters and reranks, where that
    is asked."""
    model = AskedModel(chat, deployments.for_answer, prompts)
    return Search(
        pool,
        QuestionVectors(embedder, embedding.find),
        system_clock,
        writer=ModelWriter(model),
        filter_reader=ModelFilterReader(model),
        reranker=ModelReranker(model),
    )
