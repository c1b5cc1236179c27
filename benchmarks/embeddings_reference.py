"""multilingual-e5-small in float32 by numpy: what the vectors of the same weights are when nothing is rounded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tidemill.llm.embeddings_e5_weights import E5Weights, unpacked

Floats = NDArray[np.float32]


class Reference:
    """The encoder, its weights unpacked: 85 MB."""

    def __init__(self, weights: E5Weights) -> None:
        self._weights = weights
        parts = {"q": weights.width, "k": weights.width, "v": weights.width, "ao": weights.width}
        rows = {**parts, "fi": weights.inner, "fo": weights.width}
        self._matrices = {
            name: unpacked(weights.blocks(f"{name}.w", count)).T.copy()
            for layer in range(weights.layers)
            for name, count in ((f"l{layer}.{part}", count) for part, count in rows.items())
        }

    def vector(self, ids: Sequence[int]) -> Floats:
        """The vector of a text's tokens, of unit length."""
        weights = self._weights
        places = weights.floats("emb.pos").reshape(-1, weights.width)[: len(ids)]
        words = weights.words(np.array(ids)) + places + weights.floats("emb.type")[: weights.width]
        states = self._normalized(words, "emb.ln")
        for layer in range(weights.layers):
            name = f"l{layer}."
            states = self._normalized(states + self._product(self._attended(states, name), f"{name}ao"), f"{name}aln")
            inner = _gelu(self._product(states, f"{name}fi"))
            states = self._normalized(states + self._product(inner, f"{name}fo"), f"{name}oln")
        mean = states.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def _attended(self, states: Floats, name: str) -> Floats:
        heads, size = self._weights.heads, self._weights.width // self._weights.heads
        query, key, value = (
            self._product(states, f"{name}{part}").reshape(-1, heads, size).swapaxes(0, 1) for part in "qkv"
        )
        scores = query @ key.swapaxes(1, 2) / np.float32(size**0.5)
        chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
        chances /= chances.sum(axis=-1, keepdims=True)
        attended: Floats = (chances @ value).swapaxes(0, 1).reshape(-1, self._weights.width)
        return attended

    def _product(self, states: Floats, name: str) -> Floats:
        product: Floats = states @ self._matrices[name] + self._weights.floats(f"{name}.b")
        return product

    def _normalized(self, states: Floats, name: str) -> Floats:
        raised = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((raised**2).mean(axis=-1, keepdims=True) + np.float32(self._weights.epsilon))
        made: Floats = raised / spread * self._weights.floats(f"{name}.w") + self._weights.floats(f"{name}.b")
        return made


def _gelu(states: Floats) -> Floats:
    """x · Φ(x); the error function as in Abramowitz and Stegun, 7.1.26, right to 1.5e-7."""
    size = np.abs(states) / np.float32(2**0.5)
    turn = 1 / (1 + np.float32(0.3275911) * size)
    series: Floats = np.zeros_like(states)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = np.asarray((series + np.float32(factor)) * turn, np.float32)
    erf = np.sign(states) * (1 - series * np.exp(-size * size))
    return np.asarray(states * (1 + erf) / 2, np.float32)
