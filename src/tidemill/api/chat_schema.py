"""What a chat request may hold, as OpenAI's API has it, and what its fields have to be to each other.

Typed dictionaries, since they are on the path of every request.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from tidemill.api.json_schema import check_schema
from tidemill.api.media import check_image, check_sound
from tidemill.api.request_body import parse_body
from tidemill.core.errors import InvalidInput
from tidemill.core.json import Json

FORBID = ConfigDict(extra="forbid")
TEXT_ALONE = 'The models here answer with text: leave `audio` out, and `modalities`, or make it `["text"]`.'
REFUSED = {
    "functions": '`functions` is OpenAI\'s old form of `tools`. Send each function as `{"type": "function", '
    '"function": {…}}` in `tools`.',
    "function_call": "`function_call` is OpenAI's old form of `tool_choice`, which goes with `tools`.",
    "function": "The role `function` is OpenAI's old form of `tool`, which answers one of `tool_calls`.",
    "audio": TEXT_ALONE,
    "file": "A part of type `file` is not taken: send its text as a part of type `text`, or its pages as images.",
    "custom": "Tools of type `custom` are not taken: use one of type `function`.",
}
"""Sentences for what OpenAI's API has and the hub does not."""


@with_config(FORBID)
class TextPart(TypedDict):
    """A text in a message's content."""

    type: Literal["text"]
    text: str


@with_config(FORBID)
class ImageUrl(TypedDict, total=False):
    """An image: a `data:` URL with the base64 of a PNG, JPEG, GIF or WebP file."""

    url: Required[str]
    detail: Literal["auto", "low", "high", "original"]


@with_config(FORBID)
class ImagePart(TypedDict):
    """An image in a message's content."""

    type: Literal["image_url"]
    image_url: ImageUrl


@with_config(FORBID)
class Sound(TypedDict):
    """A WAV or MP3 file, in base64."""

    data: str
    format: Literal["wav", "mp3"]


@with_config(FORBID)
class AudioPart(TypedDict):
    """A sound in a message's content."""

    type: Literal["input_audio"]
    input_audio: Sound


@with_config(FORBID)
class RefusalPart(TypedDict):
    """A refusal in an earlier answer."""

    type: Literal["refusal"]
    refusal: str


@with_config(FORBID)
class CalledFunction(TypedDict):
    """Which function a tool call calls; `arguments` is a JSON object, as text."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: str


@with_config(FORBID)
class ToolCall(TypedDict, total=False):
    """A tool call of an earlier answer; `extra_content` goes back as it came, to the model that gave it."""

    id: Required[Annotated[str, Field(min_length=1, max_length=200)]]
    type: Required[Literal["function"]]
    function: Required[CalledFunction]
    extra_content: dict[str, Any] | None


Texts = Annotated[list[TextPart], Field(min_length=1)]
Part = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]
Said = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


@with_config(FORBID)
class SystemMessage(TypedDict, total=False):
    """What the model is told about its work."""

    role: Required[Literal["system", "developer"]]
    content: Required[str | Texts]
    name: str


@with_config(FORBID)
class UserMessage(TypedDict, total=False):
    """What a person says, with images and sounds for models that take them."""

    role: Required[Literal["user"]]
    content: Required[str | Annotated[list[Part], Field(min_length=1)]]
    name: str


@with_config(FORBID)
class AssistantMessage(TypedDict, total=False):
    """What a model said: text, or calls of tools, or both. Other fields of an answer are taken and left out."""

    role: Required[Literal["assistant"]]
    content: str | Annotated[list[Said], Field(min_length=1)] | None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None
    refusal: str | None
    name: str
    reasoning_content: str | None
    annotations: list[dict[str, Any]] | None
    audio: None
    function_call: None


@with_config(FORBID)
class ToolMessage(TypedDict):
    """What a tool that was called gave."""

    role: Literal["tool"]
    content: str | Texts
    tool_call_id: Annotated[str, Field(min_length=1, max_length=200)]


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


@with_config(FORBID)
class Function(TypedDict, total=False):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: Required[FunctionName]
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


@with_config(FORBID)
class Tool(TypedDict):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


@with_config(FORBID)
class NamedFunction(TypedDict):
    """A function's name."""

    name: FunctionName


@with_config(FORBID)
class NamedTool(TypedDict):
    """The one tool that the model is to call."""

    type: Literal["function"]
    function: NamedFunction


@with_config(FORBID)
class JsonSchema(TypedDict, total=False):
    """The schema of a `response_format`."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str
    schema: dict[str, Any]
    strict: bool | None


@with_config(FORBID)
class ResponseFormat(TypedDict, total=False):
    """What form the answer takes; a grammar holds the model to it."""

    type: Required[Literal["text", "json_object", "json_schema"]]
    json_schema: JsonSchema


@with_config(FORBID)
class StreamOptions(TypedDict, total=False):
    """What a stream carries besides the text."""

    include_usage: bool
    include_obfuscation: bool


Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Biases = dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]
Stops = str | Annotated[list[str], Field(max_length=16)]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]


@with_config(FORBID)
class ChatCompletionRequest(TypedDict, total=False):
    """A chat request. The model `default` is the hub's default model."""

    model: Required[ModelName]
    messages: Required[Annotated[list[Message], Field(min_length=1)]]
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None
    min_p: Annotated[float, Field(ge=0, le=1)] | None
    max_tokens: Tokens | None
    max_completion_tokens: Tokens | None
    frequency_penalty: Penalty | None
    presence_penalty: Penalty | None
    logit_bias: Biases | None
    stop: Stops | None
    seed: Seed | None
    logprobs: bool | None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None
    response_format: ResponseFormat | None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None
    parallel_tool_calls: bool | None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1)] | None
    stream: bool | None
    stream_options: StreamOptions | None
    n: Annotated[int, Field(ge=1, le=128)] | None
    user: str | None
    metadata: dict[str, str] | None
    store: bool | None
    service_tier: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


REQUEST = TypeAdapter(ChatCompletionRequest)
SCHEMA = REQUEST.json_schema(ref_template="#/components/schemas/{model}")
"""The request's JSON schema; its definitions go to the OpenAPI document's components."""


def parse_chat(body: bytes) -> ChatCompletionRequest:
    """A chat request, its fields checked against each other.

    Raises:
        InvalidInput: it is none.
    """
    asked = parse_body(REQUEST, body, REFUSED)
    if asked.get("top_logprobs") and not asked.get("logprobs"):
        raise InvalidInput("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    _check_format(asked.get("response_format"))
    check_tools(asked.get("tools"), asked.get("tool_choice"))
    if asked.get("parallel_tool_calls") is not None and not asked.get("tools"):
        raise InvalidInput("`parallel_tool_calls` needs `tools`.", param="parallel_tool_calls")
    check_messages(asked["messages"])
    return asked


def _check_format(response_format: ResponseFormat | None) -> None:
    if not response_format:
        return
    schema = response_format.get("json_schema", {}).get("schema")
    if schema is not None:
        check_schema(schema, "response_format")
    elif response_format["type"] == "json_schema":
        raise InvalidInput("`response_format.json_schema.schema` is missing.", param="response_format")


def check_tools(tools: Sequence[Tool] | None, choice: str | NamedTool | None) -> None:
    """Goes on with tools of different names, whose parameters are schemas, and a choice among them.

    Raises:
        InvalidInput: they are not.
    """
    names: set[str] = set()
    for number, tool in enumerate(tools or ()):
        function = tool["function"]
        if function["name"] in names:
            raise InvalidInput(f"Two of `tools` have the name {function['name']}.", param="tools")
        names.add(function["name"])
        if (parameters := function.get("parameters")) is not None:
            check_schema(parameters, f"tools.{number}.function.parameters")
    if choice is not None and not names:
        raise InvalidInput("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(choice, dict) and (named := choice["function"]["name"]) not in names:
        raise InvalidInput(f"`tool_choice` names {named}, which is not one of `tools`.", param="tool_choice")


def check_messages(messages: Sequence[Message], where: str = "messages") -> None:
    """Goes on where each tool call is answered before the next message, and images and sounds are what they say.

    Raises:
        InvalidInput: something else.
    """
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        param = f"{where}.{number}"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise InvalidInput(
                    f"`{param}` answers the tool call {message['tool_call_id']}, which no message right before it "
                    "makes.",
                    param=f"{param}.tool_call_id",
                )
            waiting.discard(message["tool_call_id"])
            continue
        _all_answered(waiting, where)
        if message["role"] == "assistant":
            waiting = _calls(message, param)
        elif message["role"] == "user" and not isinstance(message["content"], str):
            _check_media(message["content"], f"{param}.content")
    _all_answered(waiting, where)


def _all_answered(waiting: set[str], where: str) -> None:
    if waiting:
        raise InvalidInput(
            f"The tool call {min(waiting)} has no message of the role `tool` after it that answers it.", param=where
        )


def _calls(message: AssistantMessage, param: str) -> set[str]:
    """The ids of the message's tool calls."""
    calls = message.get("tool_calls") or []
    if not calls and message.get("content") is None and message.get("refusal") is None:
        raise InvalidInput(f"`{param}.content` is missing: it may be null beside `tool_calls` alone.", param=param)
    for number, call in enumerate(calls):
        place = f"{param}.tool_calls.{number}.function.arguments"
        try:
            arguments = json.loads(call["function"]["arguments"])
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"`{place}` is not JSON.", param=place) from error
        if not isinstance(arguments, dict):
            raise InvalidInput(f"`{place}` is not a JSON object.", param=place)
    return {call["id"] for call in calls}


def _check_media(parts: Sequence[TextPart | ImagePart | AudioPart], where: str) -> None:
    for number, part in enumerate(parts):
        if part["type"] == "image_url":
            check_image(part["image_url"]["url"], f"{where}.{number}.image_url.url")
        elif part["type"] == "input_audio":
            sound = part["input_audio"]
            check_sound(sound["data"], sound["format"], f"{where}.{number}.input_audio.data")


def plain_message(message: Message) -> dict[str, Json]:
    """The message as every chat template takes it: texts in one piece, `developer` as `system`."""
    content = message.get("content")
    plain: dict[str, Any] = {
        "role": "system" if message["role"] == "developer" else message["role"],
        "content": content if content is None or isinstance(content, str) else _joined(content),
    }
    if message["role"] == "assistant":
        if content is None and message.get("refusal") is not None:
            plain["content"] = message["refusal"]
        if calls := message.get("tool_calls"):
            plain["tool_calls"] = calls
        if (reasoning := message.get("reasoning_content")) is not None:
            plain["reasoning_content"] = reasoning
    if message["role"] == "tool":
        plain["tool_call_id"] = message["tool_call_id"]
    elif "name" in message:
        plain["name"] = message["name"]
    return plain


def _joined(parts: Sequence[Any]) -> Json:
    """The texts in one piece where there are texts alone; else the parts as they are."""
    if all(part["type"] in {"text", "refusal"} for part in parts):
        return "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    return list(parts)
