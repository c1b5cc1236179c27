"""A cross-encoder in ONNX Runtime: a tiny one, which counts how often the passage has the word `wing`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.support.found import hits
from tidemill.core.context import Asker
from tidemill.core.errors import Configuration, ModelFailed, TooManyRequests
from tidemill.knowledge.model_ranking import CrossReranker
from tidemill.llm.cross_encoder import LocalCrossEncoder, OnnxCrossEncoder

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "wing", "lift")


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(folder: Path, outputs: int = 1, *, word: float = 1.0, inputs: str = "input_ids") -> None:
    """The sum over the passage's tokens of what each weighs, and -1; with two outputs, against 0."""
    table = np.zeros((len(WORDS), outputs), np.float32)
    table[4, -1] = word
    bias = np.zeros(outputs, np.float32)
    bias[-1] = -1.0
    nodes = [
        helper.make_node("Gather", ["table", inputs], ["weights"]),
        helper.make_node("Mul", ["token_type_ids", "attention_mask"], ["second"]),
        helper.make_node("Cast", ["second"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["wide"]),
        helper.make_node("Mul", ["weights", "wide"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "tokens"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    constants = {"table": table, "bias": bias, "last": np.array([2], np.int64), "tokens": np.array([1], np.int64)}
    names = (inputs, "attention_mask", "token_type_ids")
    graph = helper.make_graph(
        nodes,
        "counts",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    write_model(tmp_path)
    return tmp_path


@pytest.fixture
def encoder(folder: Path) -> Iterator[LocalCrossEncoder]:
    made = LocalCrossEncoder(lambda: OnnxCrossEncoder(folder, max_tokens=32, threads=1), max_queue=1)
    yield made
    made.close()


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


@pytest.mark.parametrize("outputs", [1, 2])
async def test_passages_score_by_what_the_model_says_of_them_whatever_their_lengths(
    folder: Path, encoder: LocalCrossEncoder, outputs: int
) -> None:
    write_model(folder, outputs)
    scores = await encoder.scores("wing wing?", ["lift", "wing", "wing " * 3 + "lift " * 9, "wing"])
    assert scores == pytest.approx([sigmoid(-1), 0.5, sigmoid(2), 0.5])


async def test_long_questions_and_passages_are_read_from_their_beginning(encoder: LocalCrossEncoder) -> None:
    beginning, end = "wing " * 5 + "lift " * 10_000, "lift " * 10_000 + "wing " * 5
    scores = await encoder.scores("lift " * 10_000, [beginning, end, "wing"])
    assert scores == pytest.approx([sigmoid(4), sigmoid(-1), 0.5])
    assert await encoder.scores("🙂", ["wing", ""]) == pytest.approx([0.5, sigmoid(-1)])


async def test_hits_are_read_with_what_they_stand_under(encoder: LocalCrossEncoder) -> None:
    asker, reranker = Asker(trace_id="0" * 32), CrossReranker(encoder, 20)
    assert await reranker.scores("wing", hits("lift", "wing wing"), asker) == pytest.approx([sigmoid(-1), sigmoid(1)])
    assert await reranker.scores("wing", hits("lift", heading="wing > wing"), asker) == pytest.approx([sigmoid(1)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", None, "There is no file .*model.onnx"),
        ("tokenizer.json", None, "There is no file .*tokenizer.json"),
        ("model.onnx", b"no model", "can't load the cross-encoder"),
        ("tokenizer.json", b"{}", "is no tokenizer"),
        ("tokenizer.json", b"\xff\xfe", "is no tokenizer"),
    ],
)
async def test_a_file_that_is_missing_or_broken_is_named_and_a_mended_one_is_taken(
    folder: Path, encoder: LocalCrossEncoder, name: str, content: bytes | None, message: str
) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(Configuration, match=message):
        await encoder.scores("wing", ["wing"])
    (folder / name).write_bytes(whole)
    assert await encoder.scores("wing", ["wing"]) == pytest.approx([0.5])


async def test_a_model_that_is_no_cross_encoder_is_refused(folder: Path, encoder: LocalCrossEncoder) -> None:
    write_model(folder, inputs="pixels")
    with pytest.raises(Configuration, match="pixels"):
        await encoder.scores("wing", ["wing"])
    write_model(folder, 3)
    with pytest.raises(ModelFailed, match="one or two"):
        await encoder.scores("wing", ["wing"])


async def test_a_score_that_is_no_number_is_an_error(folder: Path, encoder: LocalCrossEncoder) -> None:
    write_model(folder, word=float("nan"))
    with pytest.raises(ModelFailed, match="no number"):
        await encoder.scores("wing", ["wing"])


async def test_a_model_that_reads_fewer_tokens_says_which_setting_to_lower(folder: Path) -> None:
    small = onnx.load(folder / "model.onnx")
    for one in small.graph.input:
        one.type.tensor_type.shape.dim[1].dim_value = 8
    onnx.save(small, folder / "model.onnx")
    model = OnnxCrossEncoder(folder, max_tokens=32, threads=1)
    with pytest.raises(ModelFailed, match=r"knowledge\.reranker\.max_tokens"):
        model.scores(model.pairs("wing", ["wing " * 50]))


async def test_requests_beyond_the_queue_are_told_to_come_back(encoder: LocalCrossEncoder) -> None:
    results = await asyncio.gather(*(encoder.scores("wing", ["wing"]) for _ in range(5)), return_exceptions=True)
    refused = [one for one in results if isinstance(one, TooManyRequests)]
    assert len(refused) == 3
    assert [one for one in results if one not in refused] == [pytest.approx([0.5])] * 2
