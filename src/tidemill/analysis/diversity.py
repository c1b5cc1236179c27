"""Choosing passages that say different things: maximal marginal relevance."""

from collections.abc import Mapping, Sequence

Vectors = Mapping[int, Sequence[float]]


def diverse(relevance: Mapping[int, float], vectors: Vectors, limit: int, diversity: float) -> list[int]:
    """At most `limit` of the candidates, each as relevant and as unlike those before it as can be.

    Carbonell and Goldstein, 1998: the next is the one of highest (1 - d) · relevance - d · greatest similarity to one
    that was chosen. Relevance is stretched to reach from 0 to 1, as the similarities do.

    Args:
        relevance: by candidate; more is better.
        vectors: of unit length; a candidate without one is like no other.
        diversity: d, from 0 (by relevance alone) to 1.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    left = sorted(relevance, key=lambda one: (-relevance[one], one))
    if not left:
        return []
    width = len(next(iter(vectors.values()), ()))
    rows = np.array([vectors.get(one, [0.0] * width) for one in left], dtype=np.float32).reshape(len(left), width)
    alike = rows @ rows.T
    values = np.array([relevance[one] for one in left])
    spread = float(values.max() - values.min())
    values = (values - values.min()) / spread if spread else np.ones(len(left))
    chosen: list[int] = []
    nearest = np.zeros(len(left))
    open_ = np.ones(len(left), dtype=bool)
    while open_.any() and len(chosen) < limit:
        marginal = (1 - diversity) * values - diversity * nearest
        best = int(np.argmax(np.where(open_, marginal, -np.inf)))
        chosen.append(best)
        open_[best] = False
        nearest = np.maximum(nearest, alike[best])
    return [left[place] for place in chosen]
