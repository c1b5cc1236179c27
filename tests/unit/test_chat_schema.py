"""A chat request that can't be used is told which field is at fault, and what to do."""

import base64
import json
import struct
from typing import Any

import pytest

from tidemill.api.chat_schema import parse_chat, plain_message
from tidemill.api.completions import parse_completion, prompts_at_once
from tidemill.api.responses_schema import parse_response
from tidemill.core.errors import InvalidInput, TooLarge

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n rest").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff rest").decode()
GIF = base64.b64encode(b"GIF89a\x01\0\x01\0 rest").decode()
WEBP = base64.b64encode(b"RIFF1234WEBP rest").decode()
WAV = base64.b64encode(b"RIFF1234WAVE rest").decode()
MP3 = base64.b64encode(b"ID3 rest").decode()
MP3_BARE = base64.b64encode(b"\xff\xfb\x90 rest").decode()
HI = {"role": "user", "content": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "call_1", "content": "1"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [HI], **fields}).encode()


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


def sound(data: str, form: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data, "format": form}}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [HI, CALLS, ANSWER]},
        {"messages": [HI, CALLS, ANSWER, HI]},
        {"messages": [{"role": "assistant", "content": "x", "refusal": None, "annotations": [], "audio": None,
                       "function_call": None, "tool_calls": None}]},
        {"messages": [image(f"data:image/png;base64,{PNG}", detail="low")]},
        {"messages": [image(f"data:image/jpeg;base64,{JPEG}"), image(f"data:image/gif;base64,{GIF}")]},
        {"messages": [image(f"data:image/webp;base64,{WEBP}")]},
        {"messages": [sound(WAV, "wav"), sound(MP3, "mp3"), sound(MP3_BARE, "mp3")]},
        {"n": 3, "logit_bias": {"50256": -100}, "frequency_penalty": 1, "presence_penalty": -1},
        {"reasoning_effort": "low", "modalities": ["text"], "max_completion_tokens": 5},
    ],
)  # fmt: skip
def test_what_openai_takes_is_taken(fields: dict[str, Any]) -> None:
    assert parse_chat(body(**fields))["model"] == "m"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"functions": []}, "functions", "`tools`"),
        ({"function_call": "auto"}, "function_call", "`tool_choice`"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages.0", "`tool`"),
        ({"modalities": ["text", "audio"]}, "modalities.1", "answer with text"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio", "answer with text"),
        ({"bogus": 1}, "bogus", "extra"),
        ({"messages": [{"content": "x"}]}, "messages.0.role", "missing"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type", "missing"),
        ({"tools": []}, "tools", "at least 1"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0.type", "`function`"),
        ({"tools": [TOOL, TOOL]}, "tools", "name f"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "no"}}}]},
         "tools.0.function.parameters", "JSON schema"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "file:///etc/passwd"}}}]},
         "tools.0.function.parameters", "leads out"),
        ({"tool_choice": "auto"}, "tool_choice", "`tools`"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "names g"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", "`tools`"),
        ({"messages": [ANSWER]}, "messages.0.tool_call_id", "call_1"),
        ({"messages": [CALLS]}, "messages", "call_1"),
        ({"messages": [CALLS, HI]}, "messages", "call_1"),
        ({"messages": [{"role": "assistant"}]}, "messages.0", "missing"),
        ({"messages": [{**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "no json"}}]}, ANSWER]},
         "messages.0.tool_calls.0.function.arguments", "not JSON"),
        ({"messages": [{**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1]"}}]}, ANSWER]},
         "messages.0.tool_calls.0.function.arguments", "not a JSON object"),
        ({"messages": [image("https://example.org/a.png")]}, "messages.0.content.0.image_url.url", "fetches nothing"),
        ({"messages": [image("file:///etc/passwd")]}, "messages.0.content.0.image_url.url", "fetches nothing"),
        ({"messages": [image("data:image/png,abc")]}, "messages.0.content.0.image_url.url", "not base64"),
        ({"messages": [image("data:image/png;base64,@@@@")]}, "messages.0.content.0.image_url.url", "not base64"),
        ({"messages": [image(f"data:image/png;base64,{PNG[:-1]}")]}, "messages.0.content.0.image_url.url",
         "not base64"),
        ({"messages": [image("data:image/png;base64,aGVsbG8=")]}, "messages.0.content.0.image_url.url", "not an image"),
        ({"messages": [image(f"data:image/png;base64,{WAV}")]}, "messages.0.content.0.image_url.url", "not an image"),
        ({"messages": [sound("@@", "wav")]}, "messages.0.content.0.input_audio.data", "not base64"),
        ({"messages": [sound(MP3, "wav")]}, "messages.0.content.0.input_audio.data", "WAV"),
        ({"messages": [sound(WAV, "mp3")]}, "messages.0.content.0.input_audio.data", "MP3"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages.0.content.0", "`text`"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages.0.content.0.type", "'text'"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content", "at least 1"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a", "pattern"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "100"),
        ({"n": 0}, "n", "1"),
        ({"n": 129}, "n", "128"),
        ({"top_logprobs": 2}, "top_logprobs", "`logprobs`"),
        ({"response_format": {}}, "response_format.type", "missing"),
        ({"response_format": {"type": "json_object", "json_schema": {"schema": {"a": float("nan")}}}},
         "response_format", "JSON schema"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_chat(body(**fields))
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        (HI, HI),
        ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Mai"},
         {"role": "user", "content": "ab", "name": "Mai"}),
        (CALLS, CALLS),
        (ANSWER, ANSWER),
        ({"role": "assistant", "content": None, "refusal": "I won't."}, {"role": "assistant", "content": "I won't."}),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
         {"role": "assistant", "content": "No."}),
        (image("data:x"), image("data:x")),
    ],
)  # fmt: skip
def test_texts_come_in_one_piece_and_images_stay_parts(message: Any, plain: Any) -> None:
    assert plain_message(message) == plain


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"prompt": [1, 2]}, "prompt", "Tokens are not taken"),
        ({"prompt": [[1, 2]]}, "prompt", "Tokens are not taken"),
        ({"prompt": []}, "prompt", "at least 1"),
        ({"prompt": "x", "n": 2, "best_of": 3}, "best_of", "`n`"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "echo", "`logprobs`"),
        ({"prompt": "x", "echo": True, "suffix": "y"}, "echo", "`suffix`"),
        ({"prompt": "x", "logprobs": 6}, "logprobs", "5"),
        ({}, "prompt", "missing"),
    ],
)
def test_a_text_request_that_can_not_be_used_is_told_why(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_completion(json.dumps({"model": "m", **fields}).encode())
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "hosts"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools.0.type", "hosts"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools.0.type", "hosts"),
        ({"conversation": "x"}, "conversation", "previous_response_id"),
        ({"prompt": {"id": "x"}}, "prompt", "template"),
        ({"background": True}, "background", "false"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0", "item_reference"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input.0.content.0",
         "input_file"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a/b.png"}]}]},
         "input.0.content.0.image_url", "fetches nothing"),
        ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input.0.content.0",
         "`user`"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "x"}]}, "input.0.arguments",
         "not JSON"),
        ({"input": [{"role": "user"}]}, "input.0.content", "missing"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name", "missing"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "no"}}}}, "text.format.schema",
         "JSON schema"),
        ({"tool_choice": "required"}, "tool_choice", "`tools`"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}},
         "tool_choice", "names g"),
        ({"truncation": "auto"}, "truncation", "disabled"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary", "null"),
        ({"text": {"format": {"type": "text", "schema": {"a": float("inf")}}}}, "text.format.schema", "JSON schema"),
        ({"input": [{"type": "reasoning", "summary": [{"a": float("nan")}]}]}, "input.0", "NaN"),
        ({"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations":
            [{"a": float("-inf")}]}]}]}, "input.0.content.0", "NaN"),
    ],
)  # fmt: skip
def test_a_request_for_a_response_that_can_not_be_used_is_told_why(
    fields: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_response(json.dumps({"model": "m", "input": "x", **fields}).encode())
    assert caught.value.param == param
    assert says in caught.value.message


@pytest.mark.parametrize(("fields", "at_once"), [({}, 8), ({"n": None}, 8), ({"n": 3}, 2), ({"n": 128}, 1)])
def test_prompts_with_several_answers_each_do_not_fill_a_models_queue(fields: Any, at_once: int) -> None:
    assert prompts_at_once({"model": "m", "prompt": ["a"] * 64, **fields}) == at_once


JPEG_HEAD = b"\xff\xd8\xff\xe0\x00\x10" + bytes(14) + b"\xff\xff\xc2\x00\x11\x08"


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 60_000, 60_000),
        b"GIF89a" + struct.pack("<HH", 60_000, 60_000),
        JPEG_HEAD + struct.pack(">HH", 60_000, 60_000),
    ],
)
def test_an_image_with_more_pixels_than_memory_is_refused_before_it_is_decoded(head: bytes) -> None:
    url = f"data:image/x;base64,{base64.b64encode(head + bytes(20)).decode()}"
    with pytest.raises(TooLarge, match="60,000 × 60,000") as caught:
        parse_chat(body(messages=[image(url)]))
    assert caught.value.param == "messages.0.content.0.image_url.url"


@pytest.mark.parametrize("cut", range(3, len(JPEG_HEAD) + 4))
def test_an_image_whose_head_is_cut_off_is_left_to_the_model(cut: int) -> None:
    head = (JPEG_HEAD + struct.pack(">HH", 600, 600))[:cut]
    parse_chat(body(messages=[image(f"data:image/jpeg;base64,{base64.b64encode(head).decode()}")]))
