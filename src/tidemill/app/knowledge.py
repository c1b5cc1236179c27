"""Answers from documents."""

from tidemill.conversations.service import Conversations
from tidemill.core.clock import system_clock
from tidemill.flows.questions import Questions
from tidemill.knowledge.answers import Answers
from tidemill.knowledge.grounding.support import Grounding
from tidemill.knowledge.search import Search
from tidemill.llm.catalog import DEFAULT
from tidemill.llm.embeddings import Embedder
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts
from tidemill.registry.deployments import Deployments
from tidemill.registry.embeddings import EmbeddingDeployments
from tidemill.settings import Settings
from tidemill.store.answers import AnswerRepository
from tidemill.store.database import Pool


def questions_of(
    settings: Settings,
    pool: Pool,
    chat: ChatModel,
    search: Search,
    embedder: Embedder,
    deployments: Deployments,
    embedding_deployments: EmbeddingDeployments,
    prompts: Prompts,
    conversations: Conversations,
) -> Questions:
    """The service that answers questions."""
    answers = Answers(
        chat,
        search,
        Grounding(embedder, lambda: embedding_deployments.find(DEFAULT)),
        deployments.for_answer,
        prompts,
        AnswerRepository(pool),
        settings.knowledge.answers,
        keep_days=settings.retention.conversation_days,
        clock=system_clock,
    )
    return Questions(answers, conversations)
