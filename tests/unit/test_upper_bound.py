"""What a request may use at most is never less than what a tokenizer makes of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tidemill.core.chat import ChatRequest, TextRequest
from tidemill.core.json import Json
from tidemill.core.provider import ModelFacts
from tidemill.llm.upper_bound import (
    DEFAULT_OUTPUT_TOKENS,
    IMAGE_TOKENS,
    bounded,
    prompt_bound,
    text_bound,
)

FACTS = ModelFacts("m", "acme", "m", "v1")


@pytest.fixture(scope="module")
def by_bytes() -> Tokenizer:
    """A tokenizer that has learnt nothing: each byte is a token, as the worst of texts makes it for any."""
    vocabulary = {char: number for number, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


@given(text=st.text())
def test_a_text_is_never_more_tokens_than_its_bound(by_bytes: Tokenizer, text: str) -> None:
    storable = text.encode("utf-8", "replace").decode()
    assert len(by_bytes.encode(storable).ids) <= text_bound(storable)


def test_a_ligature_that_normalisation_spells_out_counts_as_spelt_out(by_bytes: Tokenizer) -> None:
    phrase = "\ufdfa"
    assert len(by_bytes.encode(phrase).ids) > len(phrase.encode())
    assert text_bound(phrase) >= len(by_bytes.encode(phrase).ids)


def asked(content: Json = "Hello", **options: Any) -> ChatRequest:
    return ChatRequest("m", [{"role": "user", "content": content}], options)


def test_everything_that_is_said_counts() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 500, "parameters": {}}}]
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"description": "<" * 500}}}
    plain = prompt_bound(asked())
    assert prompt_bound(asked("Hello" + "x" * 100)) == plain + 100
    assert prompt_bound(asked(tools=tools)) > plain + 500 + 1000
    assert prompt_bound(asked(response_format=form)) > plain + 500 * len("\\u003c")
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "a" * 500}}]
    message: dict[str, Json] = {"role": "assistant", "content": None, "tool_calls": calls}
    assert prompt_bound(ChatRequest("m", [message])) > 500
    assert prompt_bound(TextRequest("m", "x" * 100, "y" * 100)) >= 200


def test_an_image_counts_by_what_it_may_become_and_a_sound_by_its_length() -> None:
    image: Json = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}]
    assert IMAGE_TOKENS < prompt_bound(asked(image)) < IMAGE_TOKENS + 500
    sound: Json = [{"type": "input_audio", "input_audio": {"data": "A" * 160_000, "format": "mp3"}}]
    assert 10_000 < prompt_bound(asked(sound)) < 10_500


@pytest.mark.parametrize(
    ("options", "facts", "tokens", "sent"),
    [
        ({"max_tokens": 10}, {}, 10, 10),
        ({"max_tokens": 10, "n": 3}, {}, 30, 10),
        ({}, {"max_output_tokens": 7}, 7, None),
        ({"max_tokens": 10}, {"max_output_tokens": 7}, 7, 10),
        ({}, {}, DEFAULT_OUTPUT_TOKENS, DEFAULT_OUTPUT_TOKENS),
    ],
    ids=json.dumps,
)
def test_an_answer_is_bounded_by_the_request_or_the_model_or_else_by_what_is_then_sent(
    options: dict[str, Any], facts: dict[str, int], tokens: int, sent: int | None
) -> None:
    found = bounded(asked(**options), ModelFacts("m", "acme", "m", "v1", **facts))
    assert found.usage.completion_tokens == tokens
    assert found.request.options.get("max_tokens") == sent


def test_a_prompt_is_never_more_than_a_context_holds() -> None:
    long = asked("x" * 10_000)
    assert bounded(long, FACTS).usage.prompt_tokens > 10_000
    small = ModelFacts("m", "acme", "m", "v1", context_tokens=2048)
    assert bounded(long, small).usage.prompt_tokens == 2048
