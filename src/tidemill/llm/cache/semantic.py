"""What a question means, as a vector, for tasks that let a similar question's answer stand for their own."""

import logging
from collections.abc import Callable
from dataclasses import replace

from tidemill.core.chat import ModelRequest
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment
from tidemill.core.embedding import EmbeddingRequest, TextKind
from tidemill.core.errors import TidemillError
from tidemill.core.ids import new_id
from tidemill.llm.cache.key import question_of
from tidemill.llm.embeddings import Embedder
from tidemill.settings import SemanticCacheSettings
from tidemill.store.answer_cache import Meaning

log = logging.getLogger(__name__)


class SemanticTier:
    """Gives questions their meaning. Each embedding leaves a row of its own, as any does.

    Args:
        embedder: turns a question into a vector.
        deployment: of the model for it.
        settings: for which tasks, and how similar a question must be.
    """

    def __init__(
        self, embedder: Embedder, deployment: Callable[[], Deployment], settings: SemanticCacheSettings
    ) -> None:
        self._embedder = embedder
        self._deployment = deployment
        self._tasks = frozenset(settings.tasks)
        self.threshold = settings.threshold

    async def meaning(self, request: ModelRequest, context: InferenceContext) -> Meaning | None:
        """What the last message means; `None` for other tasks, where it is no text, and where none can be had.

        A question that has no vector, as when it is too long for the model, is answered without this tier; the log
        says why.
        """
        if context.deployment.task not in self._tasks or (question := question_of(request, context)) is None:
            return None
        try:
            deployment = self._deployment()
            asking = replace(context, inference_id=new_id(), deployment=deployment)
            made = await self._embedder.embed(
                EmbeddingRequest(deployment.model, [question.text], TextKind.QUERY, context=asking)
            )
        except TidemillError as error:
            log.warning("A question is not compared with earlier ones (%s): it could not be embedded.", error.code)
            return None
        return Meaning(question.scope, f"{deployment.model_version} {TextKind.QUERY}", made.vectors[0])
