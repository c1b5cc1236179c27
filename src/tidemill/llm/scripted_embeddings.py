"""The embedding port's scripted adapter: a vector is the sum of its words' digests, so like texts have like vectors."""

import hashlib
from collections.abc import Sequence

from tidemill.core.embedding import EmbeddingRequest, Embeddings, unit_vector

DIMENSIONS = 32


class ScriptedEmbedder:
    """Gives each text the same vector every time, of 32 numbers, for tests and benchmarks without a real model.

    Attributes:
        requests: what it was asked, in order.
    """

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says. A token is a word."""
        self.requests.append(request)
        vectors = [unit_vector(_sum(text), request.model) for text in request.texts]
        return Embeddings(vectors, [len(text.split()) for text in request.texts])


def _sum(text: str) -> Sequence[float]:
    digests = [hashlib.sha256(word.encode("utf-8", "replace")).digest() for word in text.lower().split() or [text]]
    return [sum(one[place] - 127.5 for one in digests) for place in range(DIMENSIONS)]
