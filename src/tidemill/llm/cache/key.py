"""Which requests are the same, and which have an answer that may be given again."""

import json
from dataclasses import dataclass, replace

from tidemill.analysis.particulars import particulars
from tidemill.core.chat import ChatRequest, ModelRequest
from tidemill.core.context import InferenceContext
from tidemill.core.ids import digest
from tidemill.core.json import Json
from tidemill.llm.asked import asked_of

FORM = "1"
"""Raised by hand when the form of keys or of kept answers changes, so that older ones are not met again."""


@dataclass(frozen=True, slots=True)
class Question:
    """The last message of a conversation, which a similar one may stand for, and a digest of all that may not differ.

    That is the rest of the request, and of the message what `particulars` finds.

    Attributes:
        text: what was said last.
        scope: 32 bytes.
    """

    text: str
    scope: bytes


def access_of(context: InferenceContext) -> str:
    """What an asker may see, as text. An answer is given again to askers of the very same access alone.

    Whatever narrows or widens what a person sees must be a part of this, such as departments where there are some.
    """
    return f"level:{context.level}"


def is_deterministic(request: ModelRequest, context: InferenceContext) -> bool:
    """Whether the same request is meant to have the same answer: without chance, or with a seed for it."""
    options, sampling = request.options, context.deployment.sampling
    temperature = options.get("temperature", sampling.get("temperature"))
    seed = options.get("seed", sampling.get("seed"))
    return (isinstance(temperature, int | float) and temperature == 0) or isinstance(seed, int)


def key_of(request: ModelRequest, context: InferenceContext) -> bytes:
    """The SHA-256 of everything that an answer depends on, and of who may see it; the order of fields is none of it."""
    return _digest(request, context)


def question_of(request: ModelRequest, context: InferenceContext) -> Question | None:
    """The last message apart from the rest; `None` where it is not a text that a user said."""
    if not isinstance(request, ChatRequest) or not request.messages:
        return None
    last = request.messages[-1]
    text = last.get("content")
    if last.get("role") != "user" or not isinstance(text, str) or not text.strip():
        return None
    kept = "\n".join(particulars(text))
    rest = replace(request, messages=[*request.messages[:-1], {**last, "content": kept}])
    return Question(text, _digest(rest, context))


def _digest(request: ModelRequest, context: InferenceContext) -> bytes:
    deployment = context.deployment
    normal = {name: _whole(value) for name, value in asked_of(request).items() if value is not None}
    return bytes.fromhex(
        digest(
            FORM,
            deployment.task,
            deployment.config_hash,
            deployment.prompt_version or "",
            access_of(context),
            request.model,
            json.dumps(normal, ensure_ascii=True, separators=(",", ":"), sort_keys=True),
        )
    )


def _whole(value: Json) -> Json:
    """0 and 0.0 are one number to every server, and two to JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
