"""Questions as vectors of the space that is searched."""

import asyncio
from collections.abc import Callable, Sequence

from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.embedding import EmbeddingRequest, TextKind
from tidemill.core.errors import Configuration, ContextTooLong, ModelNotFound
from tidemill.core.ids import new_id
from tidemill.llm.embeddings import Embedder
from tidemill.store.vectors import Space

ROOM = 0.9
"""Of what a model reads, for a text whose tokens are as many for each character as the whole one's on average."""


AT_ONCE = 16
"""Searches that ask the model at once. More wait here for their turn, where its own queue would refuse them."""


class QuestionVectors:
    """Asks the embedding model.

    Args:
        deployment: of an embedding model, by its name; raises `ModelNotFound`.
    """

    def __init__(self, embedder: Embedder, deployment: Callable[[str], Deployment]) -> None:
        self._embedder = embedder
        self._deployment = deployment
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def of(self, questions: Sequence[str], space: Space, asker: Asker | None = None) -> tuple[list[bytes], bool]:
        """A vector for each question, and whether one had to be cut, since the model reads no more.

        Raises:
            ModelNotFound: the space's model is not there.
            Configuration: it is there in another version, whose vectors are not those of the space.
        """
        try:
            deployment = self._deployment(space.model)
        except ModelNotFound as error:
            raise ModelNotFound(f"{error.message} Without it, search with the mode `lexical`.") from error
        if deployment.model_version != space.version:
            raise Configuration(
                f"The documents were embedded with another version of {space.model} than the one that is there now. "
                "Wait until they are embedded anew, or search with the mode `lexical`."
            )
        texts = list(questions)
        shortened = False
        asker = asker or Asker(trace_id=new_id().hex)
        while True:
            context = asker.context(new_id(), deployment)
            request = EmbeddingRequest(deployment.model, texts, TextKind.QUERY, context=context)
            try:
                async with self._turns:
                    return list((await self._embedder.embed(request)).vectors), shortened
            except ContextTooLong as error:
                share = min(ROOM, ROOM * error.context_tokens / error.prompt_tokens)
                longest = max(len(text) for text in texts)
                texts = [text[: max(1, int(longest * share))] for text in texts]
                shortened = True
