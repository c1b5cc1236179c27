"""Continuing a text on the wire: OpenAI's `completions`, llama-server's `/infill`, and log probabilities of tokens.

References: https://platform.openai.com/docs/api-reference/completions and llama.cpp's `tools/server/README.md`.
"""

from collections.abc import Mapping
from typing import Any

from tidemill.core.chat import TextRequest, Usage
from tidemill.core.json import Json

CHAT_PATH = "chat/completions"
TEXT_PATH = "completions"


def text_body(request: TextRequest) -> dict[str, Any]:
    """OpenAI's own form of a text request, without the model."""
    body: dict[str, Any] = {**request.options, "prompt": request.prompt}
    if request.suffix is not None:
        body["suffix"] = request.suffix
    return body


def infill_body(request: TextRequest) -> dict[str, Any]:
    """The same for llama-server's `/infill`, which puts the model's own tokens around prefix and suffix."""
    body: dict[str, Any] = {**request.options, "input_prefix": request.prompt, "input_suffix": request.suffix}
    if (alternatives := body.pop("logprobs", None)) is not None:
        body["n_probs"] = alternatives
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    return body


def is_infill(answer: Mapping[str, Any]) -> bool:
    """Whether this is an answer, or an event, of `/infill`."""
    return "choices" not in answer and isinstance(answer.get("content"), str) and "stop" in answer


def infill_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The choice of OpenAI's form that says what an answer, or an event, of `/infill` says."""
    finish = ("length" if answer.get("stop_type") == "limit" else "stop") if answer["stop"] else None
    seen = answer.get("completion_probabilities")
    return {
        "index": 0,
        "text": answer["content"],
        "logprobs": {"content": seen} if isinstance(seen, list) and seen else None,
        "finish_reason": finish,
    }


def infill_usage(answer: Mapping[str, Any]) -> Usage:
    """What an answer of `/infill` cost."""
    timings = answer.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, Mapping) else None
    counts = (answer.get("tokens_evaluated"), answer.get("tokens_predicted"), cached)
    return Usage(*(count if isinstance(count, int) and count > 0 else 0 for count in counts))


def token_logprobs(logprobs: object, *, start: int, alternatives: int) -> dict[str, Json] | None:
    """The `logprobs` of OpenAI's `completions`, also of a server that answers in the form of its chats.

    Args:
        logprobs: what the server gave.
        start: characters of the choice's text that came before; `text_offset` counts on from there.
        alternatives: how many alternatives to each token were asked for; without any, `top_logprobs` is null.
    """
    if not isinstance(logprobs, Mapping):
        return None
    seen = logprobs.get("content")
    if not isinstance(seen, list):
        tokens = logprobs.get("tokens")
        lengths = [len(str(token)) for token in tokens] if isinstance(tokens, list) else []
        return {
            "tokens": tokens if isinstance(tokens, list) else [],
            "token_logprobs": logprobs.get("token_logprobs") or [],
            "top_logprobs": logprobs.get("top_logprobs") if alternatives else None,
            "text_offset": _offsets(lengths, start),
        }
    found = [token for token in seen if isinstance(token, Mapping)]
    names = [str(token.get("token", "")) for token in found]
    return {
        "tokens": names,
        "token_logprobs": [token.get("logprob") for token in found],
        "top_logprobs": [_alternatives(token) for token in found] if alternatives else None,
        "text_offset": _offsets([len(name) for name in names], start),
    }


def _alternatives(token: Mapping[str, Any]) -> dict[str, Json]:
    """The alternatives to a token by name, and the token itself, which OpenAI's list always holds."""
    listed = token.get("top_logprobs")
    others = {
        str(one.get("token", "")): one.get("logprob")
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, Mapping)
    }
    return {**others, str(token.get("token", "")): token.get("logprob")}


def _offsets(lengths: list[int], start: int) -> list[int]:
    offsets = []
    for length in lengths:
        offsets.append(start)
        start += length
    return offsets
