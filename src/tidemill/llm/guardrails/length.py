"""How long requests and answers may be."""

from collections.abc import Mapping
from dataclasses import replace

from tidemill.analysis.truncation import drop_middle, drop_middle_of_messages
from tidemill.core.chat import ModelRequest, TextRequest
from tidemill.core.json import Json
from tidemill.llm.guardrails.request_texts import texts_of
from tidemill.settings.guardrails import LengthSettings

BYTES_PER_TOKEN = 3
"""Of most tokenizers, for prose in most scripts and for code: only the model's own server can count."""
ANSWER_FIELDS = ("max_completion_tokens", "max_tokens")


def estimated_tokens(text: str) -> int:
    """About as many tokens as a text has, from its bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def request_tokens(request: ModelRequest) -> int:
    """About as many as a request has."""
    return sum(estimated_tokens(one.text) for one in texts_of(request))


def shortened(request: ModelRequest, limit: int) -> ModelRequest | None:
    """The request without its oldest turns and the middle of its longest texts; `None` where it can't fit."""
    if isinstance(request, TextRequest):
        room = limit - estimated_tokens(request.suffix or "")
        prompt = drop_middle(request.prompt, room, estimated_tokens) if room > 0 else ""
        return replace(request, prompt=prompt) if prompt else None
    messages = drop_middle_of_messages(request.messages, limit, estimated_tokens)
    return None if messages is None else replace(request, messages=messages)


def with_answer_limit(request: ModelRequest, settings: LengthSettings) -> ModelRequest:
    """The request, asking for no longer an answer than is allowed."""
    limit = settings.max_answer_tokens
    if limit is None:
        return request
    options: dict[str, Json] = dict(request.options)
    named = [field for field in ANSWER_FIELDS if isinstance(options.get(field), int)]
    for field in named or ANSWER_FIELDS[1:]:
        options[field] = _lesser(options, field, limit)
    return replace(request, options=options)


def _lesser(options: Mapping[str, Json], field: str, limit: int) -> int:
    asked = options.get(field)
    return min(asked, limit) if isinstance(asked, int) else limit
