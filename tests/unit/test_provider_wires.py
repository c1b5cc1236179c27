"""What providers may send, read without a server: whatever comes is an answer or an error of ours."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.chat import ChatRequest
from tidemill.core.errors import ContentRefused, InvalidInput, ModelFailed, TidemillError
from tidemill.core.failure import Failure
from tidemill.llm.openai_wire import decode_chunk, decode_completion
from tidemill.llm.providers.anthropic_wire import MessageEvents, anthropic_error, decode_message, message_body
from tidemill.llm.providers.gemini_wire import Candidate, config_of, contents_of, decode_usage, gemini_error
from tidemill.llm.providers.media import image_of, sound_of

ASK = ChatRequest("p/m", [{"role": "user", "content": "Hello"}])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
NAMES = st.sampled_from(
    [
        "type",
        "error",
        "message",
        "content",
        "text",
        "tool_use",
        "input",
        "index",
        "delta",
        "usage",
        "stop_reason",
        "content_block_start",
        "message_start",
        "content_block_delta",
        "message_delta",
        "content_block_stop",
        "partial_json",
        "text_delta",
        "input_json_delta",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "finishReason",
        "promptFeedback",
        "blockReason",
        "usageMetadata",
        "details",
        "violations",
        "quotaId",
        "retryDelay",
        "code",
        "status",
        "thought",
        "thoughtSignature",
        "STOP",
        "SAFETY",
        "input_tokens",
        "promptTokenCount",
        "choices",
        "tool_calls",
        "function",
        "name",
        "content_block",
    ]
)
ANYTHING = st.recursive(
    SCALARS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, ANYTHING, max_size=5)


@settings(max_examples=300)
@given(OBJECTS)
def test_whatever_a_provider_sends_is_an_answer_or_an_error_of_ours(answer):
    body = json.dumps(answer).encode()
    reads = [
        lambda: decode_message(answer, "p/m"),
        lambda: MessageEvents("p/m").chunk(answer),
        lambda: Candidate("p/m").choices(answer, "message"),
        lambda: Candidate("p/m").choices(answer, "delta"),
        lambda: decode_usage(answer),
        lambda: decode_completion(body, ASK),
        lambda: decode_chunk(body, ASK),
    ]
    for read in reads:
        with contextlib.suppress(TidemillError):
            read()
    assert isinstance(anthropic_error(answer, 500, "p/m"), TidemillError)
    assert isinstance(gemini_error(answer, 500, "p/m"), TidemillError)


@settings(max_examples=200)
@given(st.sampled_from(["content_block_start", "content_block_delta", "content_block_stop", "message_delta"]), OBJECTS)
def test_whatever_an_event_holds_is_a_chunk_or_an_error_of_ours(kind, event):
    message = MessageEvents("p/m")
    message.chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "1"}})
    with contextlib.suppress(TidemillError):
        message.chunk({**event, "type": kind})


def test_a_tool_without_arguments_gets_an_empty_object():
    message = MessageEvents("p/m")
    block = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    message.chunk({"type": "content_block_start", "index": 1, "content_block": block})
    message.chunk(
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}}
    )
    last = message.chunk({"type": "content_block_stop", "index": 1})
    assert last.choices[0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]


def test_what_a_model_thought_is_left_out():
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "redacted_thinking"}, {"type": "text", "text": "Yes."}]
    assert decode_message({"content": blocks, "stop_reason": "end_turn"}, "p/m").text == "Yes."
    parts = [{"text": "hm", "thought": True}, {"text": "Yes."}]
    found = Candidate("p/m").choices({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}, "message")
    assert found[0]["message"]["content"] == "Yes."


@pytest.mark.parametrize(
    ("reason", "leaf"),
    [
        ("SAFETY", Failure.CONTENT_SAFETY),
        ("JAILBREAK", Failure.CONTENT_SAFETY),
        ("PROHIBITED_CONTENT", Failure.CONTENT_POLICY),
        ("BLOCKLIST", Failure.CONTENT_POLICY),
        ("SOMETHING_NEW", Failure.CONTENT_SAFETY),
    ],
)
def test_a_prompt_that_gemini_blocks_is_refused(reason, leaf):
    with pytest.raises(ContentRefused) as caught:
        Candidate("p/m").choices({"promptFeedback": {"blockReason": reason}}, "message")
    assert caught.value.failure is leaf


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"])
def test_a_call_that_gemini_could_not_make_is_a_failure(reason):
    with pytest.raises(ModelFailed, match=reason) as caught:
        Candidate("p/m").choices({"candidates": [{"finishReason": reason}]}, "message")
    assert caught.value.failure is Failure.UNKNOWN


def test_gemini_counts_thoughts_with_the_answer_and_results_of_tools_with_the_prompt():
    counts = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 2,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "cachedContentTokenCount": 4,
    }
    usage = decode_usage({"usageMetadata": counts})
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (12, 12, 4)


def test_anthropic_counts_what_went_into_the_cache_with_the_prompt():
    counts = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
        "output_tokens": 5,
    }
    usage = decode_message({"content": [], "usage": counts}, "p/m").usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (60, 5, 30)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "only"}], "messages"),
        ([{"role": "user", "content": "x", "name": "an"}], "messages.0"),
        ([{"role": "user", "content": [{"type": "video"}]}], "messages.0"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}], "messages.0"),
        (
            [
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1]"}}]},
            ],
            "messages.0.tool_calls",
        ),
        ([{"role": "tool", "tool_call_id": "1", "content": [{"type": "image_url"}]}], "messages.0"),
    ],
)
def test_a_message_without_a_counterpart_is_refused_by_its_place(messages, param):
    request = ChatRequest("p/m", messages)
    with pytest.raises(InvalidInput) as caught:
        message_body(request, "m", None)
    assert caught.value.param == param
    if messages[0]["role"] != "tool":
        with pytest.raises(InvalidInput) as caught:
            contents_of(request, "m")
        assert caught.value.param == param


def test_a_tool_result_without_its_call_is_refused():
    with pytest.raises(InvalidInput, match="not in `messages`"):
        contents_of(ChatRequest("p/m", [{"role": "tool", "tool_call_id": "1", "content": "x"}]), "m")


def test_json_of_any_form_is_asked_of_gemini():
    config = config_of(ChatRequest("p/m", ASK.messages, {"response_format": {"type": "json_object"}}))
    assert config["response_mime_type"] == "application/json"


def test_files_are_read_from_where_openai_has_them():
    image = image_of({"image_url": {"url": "data:image/JPEG;base64,aGk="}}, "messages.0")
    assert (image.type, image.data) == ("image/jpeg", b"hi")
    assert sound_of({"input_audio": {"format": "mp3", "data": "aGk="}}, "messages.0").type == "audio/mp3"
    with pytest.raises(InvalidInput, match="neither"):
        sound_of({"input_audio": {"format": "flac", "data": "aGk="}}, "messages.0")
    with pytest.raises(InvalidInput, match="base64"):
        _ = image_of({"image_url": {"url": "data:image/png;base64,?"}}, "messages.0").data
