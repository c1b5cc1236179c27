"""Cross-encoders: models that read a question and a passage together and say how well they fit, in ONNX Runtime."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tidemill.core.errors import Configuration, ModelFailed
from tidemill.llm.embeddings_local import batches
from tidemill.llm.embeddings_onnx import open_session, padded
from tidemill.llm.runtime.traffic import Traffic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
LARGEST_TOKENIZER = 100_000_000
"""Bytes of a `tokenizer.json`; those of the largest vocabularies have a third of it."""
TOKEN_CHARACTERS = 16
"""Characters that are tokenized for each token that counts: no more than that can be read of a passage."""
PADDING = ("[PAD]", "<pad>")


class CrossEncoder(Protocol):
    """Reads passages beside a question."""

    async def scores(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """How well each passage fits the question, from 0 to 1.

        Raises:
            Configuration: a file of the model is missing, or is not one.
            ModelFailed: the model gave something that is no score.
            TooManyRequests: too many wait for it.
        """
        ...


class OnnxCrossEncoder:
    """An exported cross-encoder. Only one thread at a time calls it.

    Args:
        folder: has `model.onnx`, with the inputs `input_ids` and perhaps `attention_mask` and `token_type_ids`, and as
            its first output one number for each pair, or two of which the second speaks for it; and `tokenizer.json`.
        max_tokens: of question and passage together; of a longer passage the beginning is read, and of a question that
            has more than half of them.
        threads: CPU threads.

    Raises:
        Configuration: a file is missing, or is not one.
    """

    def __init__(self, folder: Path, *, max_tokens: int, threads: int) -> None:
        self._folder = folder
        self._max_tokens = max_tokens
        self._tokenizer = _tokenizer(folder / TOKENIZER, max_tokens)
        found = [self._tokenizer.token_to_id(name) for name in PADDING]
        self._filler = next((one for one in found if one is not None), 0)
        model = _file(folder / MODEL)
        self._session = open_session(model, threads, f"the cross-encoder {model}")
        self._inputs = frozenset(one.name for one in self._session.get_inputs())
        if "input_ids" not in self._inputs or not self._inputs <= INPUTS:
            raise Configuration(
                f"{model} has the inputs {', '.join(sorted(self._inputs))}. A cross-encoder has `input_ids`, and "
                "perhaps `attention_mask` and `token_type_ids`. Name the folder of another in "
                "`knowledge.reranker.folder`."
            )

    def pairs(self, question: str, passages: Sequence[str]) -> list["Encoding"]:
        """The question with each passage, as tokens."""
        longest = TOKEN_CHARACTERS * self._max_tokens
        self._tokenizer.enable_truncation(self._max_tokens // 2)
        offsets = self._tokenizer.encode(question[:longest], add_special_tokens=False).offsets
        asked = question[: offsets[-1][1]] if offsets else question[:1]
        self._tokenizer.enable_truncation(self._max_tokens, strategy="longest_first")
        return list(self._tokenizer.encode_batch([(asked, passage[:longest]) for passage in passages]))

    def scores(self, batch: Sequence["Encoding"]) -> list[float]:
        """The score of each pair.

        Raises:
            ModelFailed: there is none.
        """
        ids, mask = padded([one.ids for one in batch], self._filler)
        types, _ = padded([one.type_ids for one in batch], 0)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        try:
            logits = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        except Exception as error:  # the runtime's own errors have no other common base
            raise ModelFailed(
                f"The cross-encoder in {self._folder} can't read pairs of {ids.shape[1]} tokens: {error}. Lower "
                "`knowledge.reranker.max_tokens` to what the model reads, or name another one."
            ) from error
        return _scores(logits, len(batch), self._folder)


class LocalCrossEncoder:
    """Loads a cross-encoder when it is first asked for, in a thread of its own, and keeps it.

    Args:
        load: makes the model; called in its thread. A failure is raised, and the next request tries anew.
        max_queue: requests that may wait beside the one at work; the next is told when to come back.
    """

    def __init__(self, load: Callable[[], OnnxCrossEncoder], *, max_queue: int) -> None:
        self._load = load
        self._model: OnnxCrossEncoder | None = None
        self._traffic = Traffic("reranker", 1, max_queue)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reranking")

    async def scores(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """As the port says."""
        run = asyncio.get_running_loop().run_in_executor
        with self._traffic.admit():
            model, pairs = await run(self._thread, self._pairs, question, passages)
            found = [0.0] * len(pairs)
            for places in batches([len(one.ids) for one in pairs]):
                for place, score in zip(
                    places, await run(self._thread, model.scores, [pairs[place] for place in places]), strict=True
                ):
                    found[place] = score
            return found

    def close(self) -> None:
        """Ends the thread, after the batch that is running."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _pairs(self, question: str, passages: Sequence[str]) -> tuple[OnnxCrossEncoder, list["Encoding"]]:
        if self._model is None:
            self._model = self._load()
        return self._model, self._model.pairs(question, passages)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise Configuration(
            f"There is no file {path}. `knowledge.reranker.folder` names a folder with `{MODEL}` and `{TOKENIZER}` of "
            "a cross-encoder; put both there, or leave the setting out to rerank with the model that answers."
        )
    return path


def _tokenizer(path: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415 - heavy

    size = _file(path).stat().st_size
    if size > LARGEST_TOKENIZER:
        raise Configuration(
            f"{path} has {size:,} bytes, and {LARGEST_TOKENIZER:,} are the most. Put another one there."
        )
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        tokenizer.encode("a", "b")
    except Exception as error:  # the library raises no other type
        raise Configuration(
            f"{path} is no tokenizer of a cross-encoder: {error}. Put the model's own one there."
        ) from error
    return tokenizer


def _scores(logits: "NDArray[np.float32]", count: int, folder: Path) -> list[float]:
    """One number is a logit; of two, the second against the first."""
    import numpy as np  # noqa: PLC0415 - heavy

    rows = np.asarray(logits, dtype=np.float64)
    if rows.shape == (count,):
        rows = rows[:, None]
    width = rows.size // count
    if rows.shape not in {(count, 1), (count, 2)}:
        raise ModelFailed(
            f"The model in {folder} gives {rows.shape} numbers for {count} pairs; a cross-encoder gives one or two for "
            "each. Name the folder of another in `knowledge.reranker.folder`."
        )
    values = rows[:, -1] - (rows[:, 0] if width == 2 else 0.0)
    if not np.isfinite(values).all():
        raise ModelFailed(f"The cross-encoder in {folder} gave a score that is no number. Name another one.")
    return [1 / (1 + math.exp(-min(700.0, max(-700.0, value)))) for value in values.tolist()]
