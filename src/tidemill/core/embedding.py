"""What is asked of an embedding model and what it gives: texts become vectors whose products say how near they are."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tidemill.core.context import InferenceContext
from tidemill.core.errors import InvalidInput, ModelFailed
from tidemill.core.served import Served

FLOAT_BYTES = 4


class TextKind(StrEnum):
    """What a text is in a search. Some models, e5 among them, embed a question differently from what answers it."""

    QUERY = "query"
    PASSAGE = "passage"


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts for one embedding model.

    Attributes:
        model: the model's name, as the catalog or the settings have it.
        texts: one or more, none of them empty.
        kind: what all of them are.
        dimensions: to how many the vectors are to be cut; `None` leaves them whole.
        context: who asks and for what; the wrappers of the port read it, adapters ignore it.
    """

    model: str
    texts: Sequence[str]
    kind: TextKind = TextKind.PASSAGE
    dimensions: int | None = None
    context: InferenceContext | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, in their order.

    Attributes:
        vectors: each of unit length, as little-endian float32 one after the other; all of the same size.
        tokens: how many tokens each text had, by the model's own count.
        cached: which texts, by their place, needed no computation.
        served: who answered and what it cost, where an answer says so.
    """

    vectors: Sequence[bytes]
    tokens: Sequence[int]
    cached: frozenset[int] = frozenset()
    served: Served | None = None

    @property
    def dimensions(self) -> int:
        """The size of each vector."""
        return len(self.vectors[0]) // FLOAT_BYTES


def floats_of(vector: bytes) -> "array[float]":
    """A vector's numbers."""
    numbers = array("f")
    numbers.frombytes(vector)
    return numbers


def unit_vector(numbers: Sequence[float], model: str) -> bytes:
    """A direction as a vector of unit length.

    Raises:
        ModelFailed: it has no direction, since it is all zeros, or not all of its numbers are finite.
    """
    length = math.sqrt(math.fsum(number * number for number in numbers))
    if not (math.isfinite(length) and length > 0):
        raise ModelFailed(f"The model {model} gave a vector of no direction. Try another text, or another model.")
    return array("f", (number / length for number in numbers)).tobytes()


def shortened(embeddings: Embeddings, dimensions: int, model: str) -> Embeddings:
    """The first dimensions of each vector, brought to unit length again.

    Raises:
        InvalidInput: the vectors have fewer.
    """
    if dimensions > embeddings.dimensions:
        raise InvalidInput(
            f"`dimensions` is {dimensions}, and the vectors of {model} have {embeddings.dimensions}. Ask for at most "
            "that many.",
            param="dimensions",
        )
    if dimensions == embeddings.dimensions:
        return embeddings
    cut = dimensions * FLOAT_BYTES
    return replace(embeddings, vectors=[unit_vector(floats_of(one[:cut]), model) for one in embeddings.vectors])
