"""Encoders in ONNX Runtime: sentence vectors are the mean of what the encoder says of the tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.core.embedding import TextKind
from tidemill.core.errors import Configuration
from tidemill.llm.embeddings_local import Prepared

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Floats = NDArray[np.float32]

SLOW_FUSIONS = ["SkipLayerNormFusion"]
"""What the runtime would make of a model and is slower than what it replaces: a sum with the normalization after it,
as one operator, takes five times as long on a CPU as the two."""


def open_session(
    model: bytes | Path, threads: int, what: str = "the embedding model"
) -> "onnxruntime.InferenceSession":
    """A model in ONNX Runtime, on that many CPU threads; `what` names it in messages.

    Raises:
        Configuration: the runtime can't load it.
    """
    # Heavy, and needed by whoever embeds alone: a hub that never does is spared the memory.
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are for others while it waits
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=SLOW_FUSIONS,
        )
    except Exception as error:  # the runtime's own errors have no other common base
        raise Configuration(f"ONNX Runtime can't load {what}: {error}") from error


def padded(batch: Sequence[Sequence[int]], filler: int) -> tuple["Ids", "Ids"]:
    """Token ids as a matrix (texts, longest text), and a matrix of the same shape that is 1 where a token is."""
    import numpy as np  # noqa: PLC0415 - heavy

    length = max(map(len, batch))
    ids = np.full((len(batch), length), filler, np.int64)
    mask = np.zeros((len(batch), length), np.int64)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def mean_vectors(states: "Floats", mask: "Ids") -> list[bytes]:
    """The mean of each text's states (texts, tokens, width), of unit length, as bytes."""
    import numpy as np  # noqa: PLC0415 - heavy

    weights = mask[..., None].astype(np.float32)
    means = (states * weights).sum(axis=1) / weights.sum(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return [row.astype("<f4").tobytes() for row in means]


class OnnxEncoder:
    """An exported encoder of the BERT kind with its `tokenizer.json`.

    Args:
        model: an ONNX file with the inputs `input_ids` and `attention_mask`, perhaps `token_type_ids`, and the
            tokens' states as its first output.
        tokenizer: the text of the `tokenizer.json` that goes with it.
        context_tokens: the most tokens that it reads of one text.
        prefixes: what stands before a text of each kind.
        threads: CPU threads.
    """

    def __init__(
        self,
        model: Path,
        tokenizer: str,
        *,
        context_tokens: int,
        prefixes: Mapping[TextKind, str],
        threads: int,
    ) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - heavy

        self.context_tokens = context_tokens
        self._prefixes = prefixes
        self._session = open_session(model, threads)
        self._inputs = frozenset(one.name for one in self._session.get_inputs())
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._filler = self._tokenizer.token_to_id("[PAD]") or 0

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        """As `Engine` says."""
        prefix = self._prefixes.get(kind, "")
        whole = [prefix + text for text in texts]
        found = self._tokenizer.encode_batch(whole)
        return [Prepared(text, len(one.ids), one.ids) for text, one in zip(whole, found, strict=True)]

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        """As `Engine` says."""
        ids, mask = padded([one.ids for one in batch], self._filler)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        return mean_vectors(states, mask)
