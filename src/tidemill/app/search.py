"""Search, and who may see what of it."""

from tidemill.accounts.readers import Readers
from tidemill.core.clock import system_clock
from tidemill.knowledge.model_ranking import AskedModel, CrossReranker, ModelFilterReader, ModelReranker, ModelWriter
from tidemill.knowledge.question_vectors import QuestionVectors
from tidemill.knowledge.search import Search
from tidemill.llm.catalog import available_cores
from tidemill.llm.cross_encoder import CrossEncoder, LocalCrossEncoder, OnnxCrossEncoder
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.settings import Settings
from tidemill.store.database import Pool
from tidemill.store.people import PeopleRepository
from tidemill.store.teams import TeamRepository


def readers_of(pool: Pool) -> Readers:
    """Who may see which documents."""
    return Readers(PeopleRepository(pool), TeamRepository(pool))


def cross_encoder_of(settings: Settings) -> LocalCrossEncoder | None:
    """The cross-encoder of the settings, which is loaded when it is first asked; `None` where they name none."""
    chosen = settings.knowledge.reranker
    folder = chosen.folder
    if folder is None:
        return None
    return LocalCrossEncoder(
        lambda: OnnxCrossEncoder(folder, max_tokens=chosen.max_tokens, threads=chosen.threads or available_cores()),
        max_queue=settings.models.max_queue,
    )


def search_of(
    pool: Pool,
    embedder: Embedder,
    embedding: EmbeddingDeployments,
    chat: ChatModel,
    deployments: Deployments,
    prompts: Prompts,
    encoder: CrossEncoder | None,
    most_reranked: int,
) -> Search:
    """Search over this database; the model that answers also rewords questions, reads filters, and reranks where there
    is no cross-encoder."""
    model = AskedModel(chat, deployments.for_answer, prompts)
    return Search(
        pool,
        QuestionVectors(embedder, embedding.find),
        system_clock,
        writer=ModelWriter(model),
        filter_reader=ModelFilterReader(model),
        reranker=ModelReranker(model) if encoder is None else CrossReranker(encoder, most_reranked),
        rerank_answers=encoder is not None,
    )
