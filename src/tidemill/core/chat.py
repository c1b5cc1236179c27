"""What is asked of a chat model and what it answers. The wire format is OpenAI's; see `tidemill.llm.openai_wire`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.core.context import InferenceContext
from tidemill.core.json import Json, JsonObject
from tidemill.core.served import Served


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request to one chat model.

    Attributes:
        model: the model's name, as the catalog or the settings have it.
        messages: OpenAI's message objects, oldest first.
        options: the other fields of OpenAI's request that this model is to be given (`temperature`,
            `max_tokens`, `response_format`, `stop`, `seed`, `logprobs`, …); never `model`, `messages`,
            `stream` or `stream_options`.
        context: who asks and for what; the wrappers of the port read it; of adapters, those of
            providers read its `attempt` alone.
    """

    model: str
    messages: Sequence[JsonObject]
    options: Mapping[str, Json] = field(default_factory=dict)
    context: InferenceContext | None = None


@dataclass(frozen=True, slots=True)
class TextRequest:
    """One request to continue a text, or to fill in what is missing between a prompt and a suffix.

    Attributes:
        model: the model's name, as the catalog or the settings have it.
        prompt: the text before what is asked for.
        suffix: the text after it; `None` where the prompt is to be continued.
        options: as in a `ChatRequest`, of OpenAI's `completions`.
        context: as in a `ChatRequest`.
    """

    model: str
    prompt: str
    suffix: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    context: InferenceContext | None = None


ModelRequest = ChatRequest | TextRequest
"""What the model port is asked."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the model's own tokenizer. `cached_tokens` of the prompt needed no computation."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A whole answer: OpenAI's `choices` array as it came, and what it cost.

    The choices hold a `message`, or, where a `TextRequest` was asked, a `text`. `served` says who answered.
    """

    choices: Sequence[JsonObject]
    usage: Usage
    served: Served | None = None

    @property
    def text(self) -> str:
        """The first choice's text, or its message's content; empty where it has none."""
        choice = self.choices[0] if self.choices else {}
        message = choice.get("message")
        content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class ChatChunk:
    """One piece of a streamed answer: OpenAI's `choices` (deltas, or pieces of text), and on the last one the usage.

    `served` says who answers on the first one, and on the last one what it cost.
    """

    choices: Sequence[JsonObject]
    usage: Usage | None = None
    served: Served | None = None
