"""What a request for a response may hold, as OpenAI's API has it."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Required

from pydantic import Discriminator, Field, Tag, TypeAdapter, with_config
from typing_extensions import TypedDict

from tidemill.api.chat_schema import FORBID, FunctionName, ModelName, Sound, StreamOptions, Tokens
from tidemill.api.json_schema import check_schema
from tidemill.api.media import check_image, check_sound
from tidemill.api.request_body import parse_body
from tidemill.core.errors import InvalidInput

HOSTED = (
    "Only tools of type `function` are taken: {} is a tool that OpenAI hosts, and this hub has none of its kind. "
    "Offer a function of your own."
)
ITEM = "Items of type `{}` are not taken."
REFUSED = {
    **{
        name: HOSTED.format(f"`{name}`")
        for name in (
            *("web_search", "web_search_preview", "web_search_2025_08_26", "file_search", "code_interpreter", "mcp"),
            *("computer", "computer_use_preview", "image_generation", "local_shell", "shell", "apply_patch", "custom"),
        )
    },
    "item_reference": f"{ITEM.format('item_reference')} Send the item itself, or name its response in "
    "`previous_response_id`.",
    "input_file": "A part of type `input_file` is not taken: send its text as `input_text`, or its pages as images.",
    "conversation": "`conversation` is not taken here: go on with `previous_response_id`, or use /v1/conversations.",
    "prompt": "`prompt` names a template that OpenAI stores; this hub stores none. Send the text itself.",
}
"""Sentences for what OpenAI's API has and the hub does not."""


@with_config(FORBID)
class InputText(TypedDict):
    """A text."""

    type: Literal["input_text"]
    text: str


@with_config(FORBID)
class OutputText(TypedDict, total=False):
    """A text of an earlier answer."""

    type: Required[Literal["output_text"]]
    text: Required[str]
    annotations: list[dict[str, Any]]
    logprobs: list[dict[str, Any]] | None


@with_config(FORBID)
class OutputRefusal(TypedDict):
    """A refusal in an earlier answer."""

    type: Literal["refusal"]
    refusal: str


@with_config(FORBID)
class InputImage(TypedDict, total=False):
    """An image: a `data:` URL with the base64 of a PNG, JPEG, GIF or WebP file."""

    type: Required[Literal["input_image"]]
    image_url: Required[str]
    detail: Literal["auto", "low", "high", "original"] | None
    file_id: None


@with_config(FORBID)
class InputAudio(TypedDict):
    """A sound."""

    type: Literal["input_audio"]
    input_audio: Sound


InputPart = Annotated[InputText | OutputText | OutputRefusal | InputImage | InputAudio, Field(discriminator="type")]
Status = Literal["in_progress", "completed", "incomplete"]
CallId = Annotated[str, Field(min_length=1, max_length=200)]


@with_config(FORBID)
class MessageItem(TypedDict, total=False):
    """Something that was said; a text alone stands for one part."""

    type: Literal["message"]
    role: Required[Literal["user", "assistant", "system", "developer"]]
    content: Required[str | Annotated[list[InputPart], Field(min_length=1)]]
    id: str | None
    status: Status | None
    phase: Literal["commentary", "final_answer"] | None


Unused = TypedDict("Unused", {"async": None, "async_": None, "caller": None, "namespace": None}, total=False)
"""Fields that OpenAI's client writes as null when it gives an answer's item back."""


@with_config(FORBID)
class FunctionCallItem(Unused, total=False):
    """A function that the model called; `arguments` is a JSON object, as text."""

    type: Required[Literal["function_call"]]
    call_id: Required[CallId]
    name: Required[Annotated[str, Field(min_length=1, max_length=200)]]
    arguments: Required[str]
    id: str | None
    status: Status | None


@with_config(FORBID)
class FunctionOutputItem(TypedDict, total=False):
    """What a function that was called gave."""

    type: Required[Literal["function_call_output"]]
    call_id: Required[CallId]
    output: Required[str | Annotated[list[InputText], Field(min_length=1)]]
    id: str | None
    status: Status | None


@with_config(FORBID)
class ReasoningItem(TypedDict, total=False):
    """What a model thought before an earlier answer. Taken, and shown to no model."""

    type: Required[Literal["reasoning"]]
    id: str | None
    summary: list[dict[str, Any]]
    content: list[dict[str, Any]] | None
    encrypted_content: str | None
    status: Status | None


def _item_type(item: Any) -> str:
    """A message is the one item whose type may be left out."""
    return str(item.get("type", "message")) if isinstance(item, dict) else "message"


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_item_type),
]


@with_config(FORBID)
class FunctionTool(TypedDict, total=False):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    type: Required[Literal["function"]]
    name: Required[FunctionName]
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


@with_config(FORBID)
class FunctionChoice(TypedDict):
    """The one function that the model is to call."""

    type: Literal["function"]
    name: FunctionName


@with_config(FORBID)
class TextFormat(TypedDict, total=False):
    """What form the answer takes; a grammar holds a local model to it."""

    type: Required[Literal["text", "json_object", "json_schema"]]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None
    schema: dict[str, Any]
    strict: bool | None


@with_config(FORBID)
class TextConfig(TypedDict, total=False):
    """How the answer's text is to be."""

    format: TextFormat | None
    verbosity: Literal["medium"] | None


@with_config(FORBID)
class Reasoning(TypedDict, total=False):
    """How much the model is to think."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None
    summary: None


@with_config(FORBID)
class ResponseRequest(TypedDict, total=False):
    """A request for a response. The model `default` is the hub's default model."""

    model: Required[ModelName]
    input: Required[str | Annotated[list[Item], Field(min_length=1)]]
    instructions: str | None
    previous_response_id: Annotated[str, Field(max_length=200)] | None
    max_output_tokens: Tokens | None
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None
    parallel_tool_calls: bool | None
    text: TextConfig | None
    reasoning: Reasoning | None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None
    store: bool | None
    stream: bool | None
    stream_options: StreamOptions | None
    include: list[Literal["reasoning.encrypted_content"]] | None
    truncation: Literal["disabled"] | None
    background: Literal[False] | None
    max_tool_calls: Annotated[int, Field(ge=1)] | None
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
    service_tier: str | None


REQUEST = TypeAdapter(ResponseRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")
"""The request's JSON schema; its definitions go to the OpenAPI document's components."""


def parse_response(body: bytes) -> ResponseRequest:
    """A request for a response, its fields checked against each other.

    Raises:
        InvalidInput: it is none.
    """
    asked = parse_body(REQUEST, body, REFUSED)
    _check_tools(asked)
    form = (asked.get("text") or {}).get("format")
    if form is not None and form["type"] == "json_schema":
        for field in ("name", "schema"):
            if field not in form:
                raise InvalidInput(f"`text.format.{field}` is missing.", param=f"text.format.{field}")
    if form is not None and "schema" in form:
        check_schema(form["schema"], "text.format.schema")
    if not isinstance(asked["input"], str):
        for number, item in enumerate(asked["input"]):
            _check_item(item, f"input.{number}")
    return asked


def _check_tools(asked: ResponseRequest) -> None:
    names: set[str] = set()
    for number, tool in enumerate(asked.get("tools") or ()):
        if tool["name"] in names:
            raise InvalidInput(f"Two of `tools` have the name {tool['name']}.", param="tools")
        names.add(tool["name"])
        if (parameters := tool.get("parameters")) is not None:
            check_schema(parameters, f"tools.{number}.parameters")
    choice = asked.get("tool_choice")
    if choice == "required" and not names:
        raise InvalidInput("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(choice, dict) and choice["name"] not in names:
        raise InvalidInput(f"`tool_choice` names {choice['name']}, which is not one of `tools`.", param="tool_choice")


def _check_item(item: Any, where: str) -> None:
    if item.get("type") == "reasoning":
        _check_numbers(item, where)
    if item.get("type") == "function_call":
        try:
            arguments = json.loads(item["arguments"])
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"`{where}.arguments` is not JSON.", param=f"{where}.arguments") from error
        if not isinstance(arguments, dict):
            raise InvalidInput(f"`{where}.arguments` is not a JSON object.", param=f"{where}.arguments")
    content = item.get("content")
    if item.get("role") is not None and not isinstance(content, str):
        _check_parts(content, item["role"], f"{where}.content")


def _check_parts(parts: Sequence[Any], role: str, where: str) -> None:
    for number, part in enumerate(parts):
        place = f"{where}.{number}"
        if part["type"] in {"input_image", "input_audio"} and role != "user":
            raise InvalidInput(f"`{place}`: images and sounds belong into messages of the role `user`.", param=place)
        if part["type"] == "output_text":
            _check_numbers(part, place)
        if part["type"] == "input_image":
            check_image(part["image_url"], f"{place}.image_url")
        elif part["type"] == "input_audio":
            check_sound(part["input_audio"]["data"], part["input_audio"]["format"], f"{place}.input_audio.data")


def _check_numbers(value: Any, where: str) -> None:
    """What is stored as it came has to be JSON, which pydantic's reader takes more for than JSON is."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise InvalidInput(
            f"`{where}` holds a number that JSON has not: NaN, or an infinite one.", param=where
        ) from error
