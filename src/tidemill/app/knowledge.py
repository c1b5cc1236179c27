"""Answers from documents."""

from collections.abc import Callable

from tidemill.conversations.service import Conversations
from tidemill.core.clock import system_clock
from tidemill.core.errors import ModelNotFound
from tidemill.core.provider import ModelFacts
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
    facts: Callable[[str], ModelFacts],
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
        runs_here=lambda model: _runs_here(facts, model),
    )
    return Questions(answers, conversations)


def _runs_here(facts: Callable[[str], ModelFacts], model: str) -> bool:
    try:
        return facts(model).local
    except ModelNotFound:  # of a route's target that is not there; the next one is asked
        return False
