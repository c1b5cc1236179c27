"""Vectors for chunks: asked for in batches, and stored as they come, so that what was killed goes on where it was.

A model whose vectors are not there yet gets a space beside the one that is searched. When every chunk has its vector,
searches ask the new one, and the old one goes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.embedding import EmbeddingRequest, TextKind
from tidemill.core.errors import ContextTooLong, InvalidInput, ModelFailed, ModelNotFound, NotPermitted
from tidemill.core.ids import new_id
from tidemill.llm.embeddings import Embedder
from tidemill.store.database import Pool
from tidemill.store.embedding_queue import FILLING, EmbeddingQueue
from tidemill.store.vectors import Space, ToEmbed, VectorSpaces

BATCH = 64
"""Chunks that are taken at once; the model's adapter sorts them by length and cuts them into its own batches."""
WAIT_SECONDS = 0.5
ROOM = 0.9
"""Of what a model reads, for a text that is cut to it."""
PROBE = "Tidemill"
"""What a model is asked first, for the size of its vectors, and where it fails at a text, for whether it is well."""

log = logging.getLogger(__name__)

Told = Callable[[int, int], Awaitable[None]]
"""Is told of each batch: how many texts got a vector, and how many of them were cut."""


@dataclass(frozen=True, slots=True)
class VectorParts:
    """What vectors are made with.

    Attributes:
        embedder: the port, with all its wrappers.
        deployment: of an embedding model by its name; raises `ModelNotFound`.
        model: the name of the one that is wanted.
        may_have: whether a model, by its name, may be given texts of documents of this level.
    """

    pool: Pool
    embedder: Embedder
    deployment: Callable[[str], Deployment]
    model: str
    clock: Clock
    may_have: Callable[[str, Level], bool]


class ChunkVectors:
    """Gives each chunk its vector."""

    def __init__(self, parts: VectorParts) -> None:
        self._parts = parts
        self._spaces = VectorSpaces(parts.pool)
        self._queue = EmbeddingQueue(parts.pool)

    async def fill(self, asker: Asker, told: Told, source_id: UUID | None = None) -> None:
        """Asks for all vectors that are missing. While another process does, it waits until a source's are there.

        Raises:
            ModelNotFound: the model that is wanted is not there.
            TidemillError: it does not answer, or not usably.
        """
        deployment = self._parts.deployment(self._parts.model)
        space = await self._space(deployment, asker)
        while True:
            async with self._parts.pool.alone(FILLING) as mine:
                if mine:
                    await self._fill_all(space, deployment, asker, told)
                    return
            await told(0, 0)
            if not await self._waits(space, source_id):
                return
            await asyncio.sleep(WAIT_SECONDS)

    async def state(self) -> Sequence[tuple[Space, int]]:
        """Each space, and how many chunks have no vector in it yet."""
        return [(space, await self._spaces.waiting(space)) for space in await self._spaces.all()]

    async def stale(self) -> bool:
        """Whether searches ask another model, or another version of it, than is wanted."""
        deployment = self._parts.deployment(self._parts.model)
        wanted = (deployment.model, deployment.model_version)
        return any(space.current and (space.model, space.version) != wanted for space in await self._spaces.all())

    async def vectors_of(self, texts: Sequence[str], level: Level, asker: Asker) -> Sequence[bytes]:
        """The vectors of sentences, for cutting a document of this level by its meaning. Of a text that is longer than
        the model reads, the beginning counts.

        Raises:
            NotPermitted: they may not be given to the model.
        """
        deployment = self._parts.deployment(self._parts.model)
        if not self._parts.may_have(deployment.model, level):
            raise NotPermitted(f"The embedding model {deployment.model} is outside, and the document is {level}.")
        try:
            return await self._ask(texts, deployment, asker)
        except ContextTooLong:
            return [(await self._beginning(text, deployment, asker))[0] for text in texts]

    async def _waits(self, space: Space, source_id: UUID | None) -> bool:
        if source_id is None:
            return bool(await self._spaces.waiting(space))
        return bool(await self._queue.waiting_of(space, source_id))

    async def _space(self, deployment: Deployment, asker: Asker) -> Space:
        for space in await self._spaces.all():
            if (space.model, space.version) == (deployment.model, deployment.model_version):
                return space
        [vector] = await self._ask([PROBE], deployment, asker)
        return await self._spaces.ensure(
            deployment.model, deployment.model_version, len(vector) // 4, self._parts.clock()
        )

    async def _fill_all(self, wanted: Space, deployment: Deployment, asker: Asker, told: Told) -> None:
        spaces = await self._spaces.all()
        for space in spaces:
            if space.id != wanted.id and not space.current:
                await self._queue.drop(space)
            elif space.id != wanted.id and (former := self._former(space)) is not None:
                await self._fill(space, former, asker, told)
        await self._fill(wanted, deployment, asker, told)
        if any(space.current and space.id != wanted.id for space in spaces):
            await self._spaces.switch(wanted)

    def _former(self, space: Space) -> Deployment | None:
        """The deployment behind the space that is searched, so that it stays whole while the new one is filled."""
        try:
            deployment = self._parts.deployment(space.model)
        except ModelNotFound:
            return None
        return deployment if deployment.model_version == space.version else None

    async def _fill(self, space: Space, deployment: Deployment, asker: Asker, told: Told) -> None:
        while waiting := await self._spaces.pending(space, BATCH):
            kept = [one.hash for one in waiting if not self._parts.may_have(deployment.model, one.level)]
            if kept:  # these never reach the model, whatever their words say; the others come with the next turn
                await self._queue.leave_out(space, kept)
                continue
            try:
                vectors = await self._ask([one.text for one in waiting], deployment, asker)
            except (ContextTooLong, NotPermitted, InvalidInput, ModelFailed):
                await told(*await self._one_by_one(space, waiting, deployment, asker))
            else:
                await self._put(space, [one.hash for one in waiting], vectors)
                await told(len(waiting), 0)

    async def _put(self, space: Space, hashes: Sequence[str], vectors: Sequence[bytes]) -> None:
        await self._spaces.put_vectors(space, dict(zip(hashes, vectors, strict=True)))

    async def _one_by_one(
        self, space: Space, waiting: Sequence[ToEmbed], deployment: Deployment, asker: Asker
    ) -> tuple[int, int]:
        """What a batch is given where one of its texts can't be: a text that may not leave stays without a vector, and
        so does one for which the model gives nothing usable, though it does for others.

        Raises:
            ModelFailed: the model gives nothing for any text.
        """
        embedded = cut = 0
        for one in waiting:
            try:
                vector, read = await self._beginning(one.text, deployment, asker)
            except (NotPermitted, InvalidInput):
                await self._queue.leave_out(space, [one.hash])
            except ModelFailed as error:
                await self._ask([PROBE], deployment, asker)
                log.warning("The text %s stays without a vector: %s", one.hash, error.message)
                await self._queue.leave_out(space, [one.hash])
            else:
                await self._put(space, [one.hash], [vector])
                embedded, cut = embedded + 1, cut + (read < len(one.text))
        return embedded, cut

    async def _beginning(self, text: str, deployment: Deployment, asker: Asker) -> tuple[bytes, int]:
        """The vector of as much of a text as the model reads, and how many characters that are."""
        while True:
            try:
                [vector] = await self._ask([text], deployment, asker)
            except ContextTooLong as error:
                share = min(ROOM, ROOM * error.context_tokens / error.prompt_tokens)
                text = text[: max(1, int(len(text) * share))]
            else:
                return vector, len(text)

    async def _ask(self, texts: Sequence[str], deployment: Deployment, asker: Asker) -> Sequence[bytes]:
        context = replace(asker, trace_id=new_id().hex).context(new_id(), deployment)
        request = EmbeddingRequest(deployment.model, list(texts), TextKind.PASSAGE, context=context)
        return (await self._parts.embedder.embed(request)).vectors
