"""OpenAI's wire format, both ways, and what a server's refusal means. `text_wire` has what is of texts alone.

Reference: https://platform.openai.com/docs/api-reference/chat. llama-server's and vLLM's own additions to an answer
are left behind: only `choices` and `usage` pass.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest, TextRequest, Usage
from tidemill.core.errors import InvalidInput, ModelFailed, TidemillError
from tidemill.core.failure import Failure
from tidemill.core.json import Json
from tidemill.llm.providers.failures import Said, error_of
from tidemill.llm.text_wire import infill_body, infill_choice, infill_usage, is_infill, text_body

MOST_TOKENS = 2**31 - 1
"""What a row can count."""
MAX_EVENT_BYTES = 16 * 2**20
DONE = b"[DONE]"
ANSWERS = json.JSONDecoder(parse_constant={"-Infinity": -9999.0}.get)
"""Reads what servers write that JSON has not: a token that can't come has OpenAI's own number, others are null."""


def encode_request(
    request: ModelRequest,
    model: str,
    options: Mapping[str, Json] | None = None,
    *,
    stream: bool,
    infill: bool = False,
) -> bytes:
    """The body of a request for `model`, as the server there calls it.

    Args:
        request: what is asked.
        model: the model's name there.
        options: the server's own fields.
        stream: whether the answer is to come in pieces.
        infill: whether it goes to llama-server's `/infill`.
    """
    body: dict[str, Any] = {**_body(request, infill=infill), **(options or {}), "model": model}
    if _wants_no_alternatives(request):
        body["top_logprobs"] = 1  # llama-server sends 20 for none, and no log probabilities at all for 0
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _body(request: ModelRequest, *, infill: bool) -> dict[str, Any]:
    if isinstance(request, TextRequest):
        return infill_body(request) if infill else text_body(request)
    return {**request.options, "messages": request.messages}


def wanted_choices(request: ModelRequest) -> int:
    """How many answers are asked for."""
    count = request.options.get("n")
    return count if isinstance(count, int) else 1


def decode_completion(body: bytes, request: ModelRequest) -> ChatCompletion:
    """A whole answer.

    Raises:
        ModelFailed: it is no JSON object with as many choices as were asked for, or a tool call in it has no name or
            arguments that are not JSON.
    """
    return completion_of(read_object(body, request.model), request)


def completion_of(answer: dict[str, Any], request: ModelRequest) -> ChatCompletion:
    """The same of an answer that was read; see `decode_completion`."""
    name = request.model
    if isinstance(request, TextRequest) and is_infill(answer):
        return ChatCompletion([infill_choice(answer)], infill_usage(answer))
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        if "error" in answer:
            raise classify_error(answer, 500, name)
        raise _unusable(f"The server of the model {name} answered without choices. Its log may say why.")
    if len(choices) < wanted_choices(request):
        raise too_few_choices(request, len(choices))
    _drop_alternatives(choices, request)
    for choice in choices:
        _check_form(choice, "message", request)
        _check_tool_calls(choice, name)
    return ChatCompletion(choices, decode_usage(answer.get("usage")) or Usage())


def too_few_choices(request: ModelRequest, came: int) -> ModelFailed:
    """For a server that does not know `n`."""
    return ModelFailed(
        f"The server of the model {request.model} gave {came} of the {wanted_choices(request)} answers that `n` asks "
        "for. Where it can't take `n`, ask several times."
    )


def decode_chunk(data: bytes, request: ModelRequest) -> ChatChunk:
    """One event of a streamed answer.

    Raises:
        ModelFailed: it is no JSON object with choices.
        TidemillError: it is an error that the server reports in the middle; see `classify_error`.
    """
    return chunk_of(read_object(data, request.model), request)


def chunk_of(event: dict[str, Any], request: ModelRequest) -> ChatChunk:
    """The same of an event that was read; see `decode_chunk`."""
    name = request.model
    if isinstance(request, TextRequest) and is_infill(event):
        return ChatChunk([infill_choice(event)], infill_usage(event) if event["stop"] else None)
    choices = event.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        if "error" in event:
            raise classify_error(event, 500, name)
        raise _unusable(f"The server of the model {name} streamed an event without choices.")
    _drop_alternatives(choices, request)
    for choice in choices:
        _check_form(choice, "delta", request)
        _check_called(choice.get("delta") or {}, name)
    usage = event.get("usage")
    return ChatChunk(choices, decode_usage(usage) if usage else None)


def decode_usage(usage: object) -> Usage | None:
    """OpenAI's `usage` object; `None` where there is none."""
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


async def events(pieces: AsyncIterator[bytes], name: str) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Joins an event's `data` lines, leaves out comments and other fields, and ends at OpenAI's `[DONE]`.

    Raises:
        ModelFailed: one event is larger than 16 MiB.
    """
    rest: list[bytes] = []
    data: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_EVENT_BYTES:
            raise _unusable(f"The server of the model {name} streamed an event that is too large.")
        rest.append(piece)
        if b"\n" not in piece:
            continue
        *lines, last = b"".join(rest).split(b"\n")
        rest = [last]
        size = len(last) + sum(map(len, data))
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                event = b"\n".join(data)
                data.clear()
                if event == DONE:
                    return
                yield event
    last = b"".join(rest)
    if last.startswith(b"data:"):
        data.append(last.rstrip(b"\r")[5:].removeprefix(b" "))
    if data and data != [DONE]:
        yield b"\n".join(data)


def decode_error(body: bytes, status: int, name: str, headers: Mapping[str, str] | None = None) -> TidemillError:
    """What an answer with an error status means; its body may be anything."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, list) and answer:
        answer = answer[0]  # as Google's OpenAI-compatible server does
    return classify_error(answer if isinstance(answer, dict) else {}, status, name, headers)


def classify_error(
    answer: Mapping[str, Any], status: int, name: str, headers: Mapping[str, str] | None = None
) -> TidemillError:
    """What OpenAI's error object, with this HTTP status, means for whoever asked; see `providers.failures`.

    The server's sentence is passed on only where it is about the request (400); it is cut short, and in other cases
    left out, since it may repeat what was sent.

    Args:
        answer: the body, or an event of a stream.
        status: of HTTP; 500 for an error that came with 200.
        name: the model that was asked.
        headers: of the answer, by names in small letters.
    """
    inner = answer.get("error")
    error: Mapping[str, Any] = inner if isinstance(inner, Mapping) else answer
    code = error.get("code")
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600:
        status = code
    said = error.get("message")
    message = said if isinstance(said, str) else inner if isinstance(inner, str) else ""
    if (unable := _inability(message, name)) is not None:
        return unable
    tokens = error.get("n_prompt_tokens"), error.get("n_ctx")
    param = error.get("param")
    return error_of(
        Said(
            status,
            frozenset(str(error[field]).lower() for field in ("type", "code", "status") if error.get(field)),
            message,
            headers or {},
            param=param if isinstance(param, str) else None,
            tokens=(tokens[0], tokens[1]) if isinstance(tokens[0], int) and isinstance(tokens[1], int) else None,
        ),
        name,
    )


def _wants_no_alternatives(request: ModelRequest) -> bool:
    """Log probabilities of the answer's own tokens alone: OpenAI's meaning of an absent `top_logprobs`."""
    return request.options.get("logprobs") is True and request.options.get("top_logprobs") in (None, 0)


def _drop_alternatives(choices: list[dict[str, Any]], request: ModelRequest) -> None:
    if not _wants_no_alternatives(request):
        return
    for choice in choices:
        logprobs = choice.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        for token in tokens if isinstance(tokens, list) else ():
            if isinstance(token, dict):
                token["top_logprobs"] = []


def _check_form(choice: dict[str, Any], said: str, request: ModelRequest) -> None:
    """Sees to it that a choice is one of those that were asked for, and that what it says is an object."""
    index = choice.get("index", 0)
    placed = isinstance(index, int) and 0 <= index < wanted_choices(request)
    if not placed or not isinstance(choice.get(said) or {}, dict):
        raise _unusable(f"The server of the model {request.model} answered with a choice that can't be read.")


def _check_called(delta: dict[str, Any], name: str) -> None:
    """Sees to it that the pieces of streamed tool calls have a place, and texts."""
    calls = delta.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) and _is_piece(call) for call in calls):
        raise _unusable(f"The model {name} called a tool in a form that can't be read. Ask again.")


def _is_piece(call: dict[str, Any]) -> bool:
    function = call.get("function") or {}
    return (
        isinstance(call.get("index", 0), int)
        and isinstance(function, dict)
        and all(isinstance(function.get(part) or "", str) for part in ("name", "arguments"))
    )


def _check_tool_calls(choice: dict[str, Any], name: str) -> None:
    """Sees to it that each tool call of a whole answer can be made; one that was cut short is as it came."""
    message = choice.get("message")
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not calls:
        return
    if not isinstance(calls, list):
        raise _unusable(f"The model {name} called a tool in a form that can't be read. Ask again.")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        tool = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(tool, str) or not tool:
            raise _unusable(f"The model {name} called a tool without saying which. Ask again.")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        elif arguments in (None, ""):
            function["arguments"] = "{}"
        elif choice.get("finish_reason") != "length" and not _is_json(arguments):
            raise _unusable(f"The model {name} called the function {tool[:64]} with arguments that are not JSON.")


def _is_json(text: object) -> bool:
    try:
        json.loads(text if isinstance(text, str) else "")
    except (ValueError, RecursionError):
        return False
    return True


def _inability(message: str, name: str) -> InvalidInput | None:
    """What llama-server, with a status of its own failing, says a model can't do."""
    if media := re.search(r"\b(image|audio|video) input is not supported", message):
        return InvalidInput(
            f"The model {name} takes no {media[1]} input. Leave it out, or use a model that does.", param="messages"
        )
    if re.search(r"[Ff]ailed to load (image|audio|media)", message):
        return InvalidInput(f"The model {name} can't read an image or a sound of this request.", param="messages")
    if "Failed to parse tool call arguments" in message:
        return InvalidInput(f"The model {name} can't read the `arguments` of a tool call of the messages.")
    if "Infill is not supported" in message:
        return InvalidInput(
            f"The model {name} was not trained to fill in what is missing before a `suffix`. Leave the suffix out, or "
            "use a model for code that was.",
            param="suffix",
        )
    return None


def read_object(body: bytes, name: str) -> dict[str, Any]:
    """An answer's JSON.

    Raises:
        ModelFailed: it is no object.
    """
    try:
        answer = ANSWERS.decode(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _unusable(f"The server of the model {name} answered with something that is not JSON.") from error
    if not isinstance(answer, dict):
        raise _unusable(f"The server of the model {name} answered with JSON that is no object.")
    return answer


def _unusable(message: str) -> ModelFailed:
    return ModelFailed(message, failure=Failure.UNKNOWN)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS else 0
