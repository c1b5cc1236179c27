"""Providers of models: what each is, where its key lies, and what its models cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tidemill.core.chat import Usage

LOCAL = "local"
"""The provider of the models that run on this machine."""
MILLION = 1_000_000


class ProviderKind(StrEnum):
    """Which API a provider speaks, and so which client asks it."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    GROK = "grok"
    OPENROUTER = "openrouter"
    OLLAMA = "ollama"
    VLLM = "vllm"
    TGI = "tgi"
    OPENAI_COMPATIBLE = "openai_compatible"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens. Cached tokens of a prompt cost what the others do where nothing else is said."""

    input: float
    output: float
    cached: float | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether no use costs anything."""
        return not (self.input or self.output or self.cached)

    def of(self, usage: Usage) -> float:
        """What this use costs, in US dollars. `cached_tokens` are a part of `prompt_tokens`."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        reused = self.input if self.cached is None else self.cached
        fresh = (usage.prompt_tokens - cached) * self.input
        return (fresh + cached * reused + usage.completion_tokens * self.output) / MILLION


FREE = Price(0.0, 0.0, 0.0)
"""A model of one's own: its tokens cost nothing that a provider bills."""


@dataclass(frozen=True, slots=True)
class ProviderModel:
    """What is known of one of a provider's models.

    Attributes:
        name: the provider's own name for it.
        price: `None` where it is not known, which is not the same as nothing.
        context_tokens: what its context holds.
        max_output_tokens: the longest answer that it gives; what a budget reckons with where a request names none.
    """

    name: str
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. Its key stands in one of three places, and never in its row.

    Attributes:
        name: what comes before the slash in `provider/model`.
        base_urls: the first is asked; the others stand in where its host's name can't be resolved.
        key_env: the environment variable that holds the key.
        key_file: the file that holds it; read again when the provider says that the key has expired.
        key_secret: the encrypted secret that holds it.
        models: what is known of its models, by their names there; others can be asked too, at an unknown price.
        allow_private: whether its addresses may be private ones, such as a machine of the team's own network.
        outside: whether texts leave the team's network for it; by its address where `None`.
        timeout: seconds that one request may take; the hub's `models.request_timeout` where `None`.
        configured: it stands in the settings and can't be changed by a command.
    """

    name: str
    kind: ProviderKind
    base_urls: tuple[str, ...]
    key_env: str | None = None
    key_file: str | None = None
    key_secret: str | None = None
    models: Mapping[str, ProviderModel] = field(default_factory=dict)
    allow_private: bool = False
    outside: bool | None = None
    timeout: float | None = None
    configured: bool = False


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the wrappers of the model port need to know of a name that can be asked.

    Attributes:
        name: as requests have it: a local model, an endpoint, or `provider/model`.
        provider: who serves it: `local`, the endpoint's own name, or the provider's.
        model: the name there.
        version: which exact model it is, as far as that can be known.
        price: `None` where it is not known.
        local: it runs on this machine.
        outside: texts leave the team's network for it.
    """

    name: str
    provider: str
    model: str
    version: str
    price: Price | None = None
    local: bool = False
    outside: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderState:
    """How a provider, or one model of it where `model` is not empty, is doing. Shared between processes.

    Attributes:
        failures: in a row; a success sets it to 0.
        rests_until: nothing is sent before then.
        disabled_reason: why it is out of the pool until a person puts it back; `None` where it is not.
        latency_ms: an exponentially weighted mean of whole answers; `None` before the first.
    """

    provider: str
    model: str = ""
    failures: int = 0
    rests_until: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    last_failure: str | None = None
    last_failed_at: datetime | None = None
    latency_ms: float | None = None
