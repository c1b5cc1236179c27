"""The port to embedding models, and what chooses among them by name."""

from collections.abc import Mapping
from typing import Protocol

from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import ModelNotFound


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """One vector of unit length for each text.

        Raises:
            ModelNotFound: there is no such model, or it is not on this machine.
            ContextTooLong: a text has more tokens than the model reads; none is cut silently.
            InvalidInput: more dimensions are asked for than the vectors have.
            NotPermitted: a text may not leave the team's network, and the model is outside of it.
            ModelFailed: the model gave something that is no vector.
            Configuration: a key, a file or a package that the model needs is missing.
            Unavailable: it may work later.
        """
        ...


class EmbedderByName:
    """Passes a request on to the model that it names."""

    def __init__(self, embedders: Mapping[str, Embedder]) -> None:
        self._embedders = embedders

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says."""
        embedder = self._embedders.get(request.model)
        if embedder is None:
            raise ModelNotFound(f"There is no embedding model {request.model!r}.", param="model")
        return await embedder.embed(request)
