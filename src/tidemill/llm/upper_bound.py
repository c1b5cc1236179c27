"""What a request may use at most, before it is sent: the numbers that a budget reserves.

Every tokenizer that models have today makes at most one token of one byte: those that work on bytes by their making,
the others since they fall back to bytes. Some normalise a text first (Unicode's NFKC), which can lengthen it, so the
longer of the two forms counts.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidemill.core.chat import ModelRequest, TextRequest, Usage
from tidemill.core.embedding import EmbeddingRequest
from tidemill.core.json import Json
from tidemill.core.provider import ModelFacts
from tidemill.llm.openai_wire import wanted_choices

FRAME_TOKENS = 64
"""Tokens of a chat template around all messages, and of a prompt that it puts in by itself."""
MESSAGE_TOKENS = 16
"""Tokens of a chat template around one message or text."""
TOOLS_TOKENS = 1024
"""Tokens of what providers tell a model about the use of tools, besides the tools."""
IMAGE_TOKENS = 65_536
"""Tokens of one image: 50 million pixels, the most that is taken, in patches of 28 × 28 pixels."""
AUDIO_CHARACTERS = 16
"""Characters of a sound's base64 for one token: 1,000 bytes of it, in MP3 a second or less, are 83 tokens."""
DEFAULT_OUTPUT_TOKENS = 4096
"""The longest answer where neither the request nor the model's facts say it; it is then sent with the request."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A request, and what it may use at most as it stands here.

    Attributes:
        request: the same one, with `max_tokens` where nothing else bounds its answer.
    """

    request: ModelRequest
    usage: Usage


def bounded(request: ModelRequest, facts: ModelFacts) -> Bounded:
    """A request as it is to be sent, with its bound. Each of several answers may read the prompt anew."""
    count = wanted_choices(request)
    said = prompt_bound(request)
    prompt = said if facts.context_tokens is None else min(said, facts.context_tokens)
    asked = _limit_of(request)
    known = [limit for limit in (asked, facts.max_output_tokens) if limit is not None]
    if not known:
        known = [DEFAULT_OUTPUT_TOKENS]
        request = replace(request, options={**request.options, "max_tokens": DEFAULT_OUTPUT_TOKENS})
    return Bounded(request, Usage(prompt_tokens=count * prompt, completion_tokens=count * min(known)))


def prompt_bound(request: ModelRequest) -> int:
    """The most tokens that a request's messages or text, its tools and its formats can be."""
    tools = TOOLS_TOKENS if request.options.get("tools") else 0
    frame = FRAME_TOKENS + tools + _written(request.options)
    if isinstance(request, TextRequest):
        return frame + text_bound(request.prompt) + text_bound(request.suffix or "")
    return frame + sum(MESSAGE_TOKENS + _tokens(message) for message in request.messages)


def texts_bound(request: EmbeddingRequest) -> Usage:
    """The most tokens that the texts to be embedded can be."""
    return Usage(prompt_tokens=sum(FRAME_TOKENS + text_bound(text) for text in request.texts))


def text_bound(text: str) -> int:
    """The most tokens that a text can be."""
    if text.isascii():
        return len(text)
    return max(_bytes(text), _bytes(unicodedata.normalize("NFKC", text)))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _limit_of(request: ModelRequest) -> int | None:
    limit = request.options.get("max_tokens")
    return limit if isinstance(limit, int) and limit > 0 else None


def _written(value: Json) -> int:
    """The most tokens of JSON that templates write into a prompt: escaped as for a web page, and indented."""
    text = json.dumps(value, default=dict)
    return 2 * (len(text) + sum((len("\\u0026") - 1) * text.count(mark) for mark in "<>&'"))


def _tokens(value: Json) -> int:
    """The most tokens that a JSON value can be, however a provider writes it into a prompt."""
    if isinstance(value, str):
        return text_bound(value) + 2
    if isinstance(value, Mapping):
        if "image_url" in value:
            return IMAGE_TOKENS
        if isinstance(sound := value.get("input_audio"), Mapping):
            return MESSAGE_TOKENS + len(str(sound.get("data"))) // AUDIO_CHARACTERS
        return sum(
            text_bound(name) + 4 + (_written(part) if name == "tool_calls" else _tokens(part))
            for name, part in value.items()
        )
    if isinstance(value, list | tuple):
        return sum(1 + _tokens(part) for part in value)
    return len(str(value))
