"""Providers of models, the routes over them, and which of them serve which task."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, model_validator

from tidemill.core.deployment import Fallback, Route, Strategy, Target, Task
from tidemill.core.provider import LOCAL, Price, Provider, ProviderKind, ProviderModel
from tidemill.settings.models import RESERVED_MODEL_NAMES, EndpointSettings
from tidemill.settings.section import AbsolutePath, Dollars, Section, TokenPrice, http_url

T = TypeVar("T")
PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PUBLIC_URLS = {
    ProviderKind.OPENAI: "https://api.openai.com/v1",
    ProviderKind.ANTHROPIC: "https://api.anthropic.com",
    ProviderKind.GEMINI: "https://generativelanguage.googleapis.com",
    ProviderKind.GROK: "https://api.x.ai/v1",
    ProviderKind.OPENROUTER: "https://openrouter.ai/api/v1",
}
"""Where the providers that everyone knows are; all of them want a key."""
NOT_FOR_TASKS = {Task.EMBED: "`embeddings.default` names the embedding model"}


def provider_name(name: str) -> str:
    """A name that can stand before the slash in `provider/model`.

    Raises:
        ValueError: it can't.
    """
    if not PROVIDER_NAME.fullmatch(name) or name == LOCAL:
        raise ValueError(
            f"{name!r} can't name a provider: use up to 64 lower-case letters, digits, dots, dashes and underscores, "
            f"and not `{LOCAL}`, which is this machine"
        )
    return name


def _provider_names(providers: dict[str, T]) -> dict[str, T]:
    for name in providers:
        provider_name(name)
    return providers


def _route_names(routes: dict[str, T]) -> dict[str, T]:
    for name in routes:
        if not re.fullmatch(r"[^\s/:]{1,100}", name) or name == "default" or name in RESERVED_MODEL_NAMES:
            raise ValueError(
                f"{name!r} can't name a route: it has a meaning of its own, is empty, has over 100 characters, or "
                "holds a space, a slash or a colon"
            )
    return routes


def _model_names(models: dict[str, T]) -> dict[str, T]:
    for name in models:
        if not re.fullmatch(r"\S{1,200}", name):
            raise ValueError(f"{name!r} can't name a provider's model: it is empty, too long, or holds a space")
    return models


def _tasks(tasks: dict[Task, T]) -> dict[Task, T]:
    for task, instead in NOT_FOR_TASKS.items():
        if task in tasks:
            raise ValueError(f"the task `{task}` is not set here: {instead}")
    return tasks


class ProviderModelSettings(Section):
    """What is known of one of a provider's models. A price that is not given is unknown, which is not the same as 0."""

    input: TokenPrice | None = Field(None, description="US dollars for a million tokens of the prompt.")
    output: TokenPrice | None = Field(None, description="US dollars for a million tokens of the answer.")
    cached: TokenPrice | None = Field(
        None, description="US dollars for a million tokens of the prompt that it had cached; as `input` when absent."
    )
    context_tokens: int | None = Field(None, ge=1, description="Tokens that its context holds.")
    max_output_tokens: int | None = Field(None, ge=1, description="Tokens of its longest answer.")

    @model_validator(mode="after")
    def whole_price(self) -> "ProviderModelSettings":
        """Both parts of a price, or none."""
        if (self.input is None) != (self.output is None) or (self.cached is not None and self.input is None):
            raise ValueError("a price needs both `input` and `output`; leave all of it out where it is not known")
        return self

    def model(self, name: str) -> ProviderModel:
        """The value that it describes."""
        price = None
        if self.input is not None and self.output is not None:
            price = Price(self.input, self.output, self.cached)
        return ProviderModel(name, price, self.context_tokens, self.max_output_tokens)


class ProviderSettings(Section):
    """A provider of models."""

    kind: ProviderKind = Field(description="Which API it speaks.")
    base_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, description="Its address; the provider's public one when absent."
    )
    base_urls: list[Annotated[str, AfterValidator(http_url)]] = Field(
        default_factory=list, description="Its addresses, where it has several: the first is asked first."
    )
    api_key_env: str | None = Field(None, min_length=1, description="The environment variable that holds the key.")
    api_key_file: AbsolutePath | None = Field(None, description="The file that holds the key.")
    api_key_secret: str | None = Field(None, min_length=1, description="The encrypted secret that holds the key.")
    models: Annotated[dict[str, ProviderModelSettings], AfterValidator(_model_names)] = Field(
        default_factory=dict, description="What is known of its models, by their names there."
    )
    allow_private: bool = Field(False, description="Whether its addresses may be ones of your own network.")
    outside: bool | None = Field(
        None, description="Whether it is outside of the team's own network; by its address when absent."
    )
    timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Seconds for one request; `models.request_timeout` when absent."
    )

    @model_validator(mode="after")
    def complete(self) -> "ProviderSettings":
        """One place for the key where one is needed, and an address."""
        places = [self.api_key_env, self.api_key_file, self.api_key_secret]
        given = sum(place is not None for place in places)
        if given > 1:
            raise ValueError("give one of `api_key_env`, `api_key_file` and `api_key_secret`")
        if not given and self.kind in PUBLIC_URLS:
            raise ValueError(
                f"{self.kind} asks for a key, and none is named. Put it into an environment variable and name that in "
                "`api_key_env`, or into a file and name that in `api_key_file`, or store it with `tidemill secrets "
                "set` and name it in `api_key_secret`"
            )
        if self.base_url is not None and self.base_urls:
            raise ValueError("give `base_url` or `base_urls`, not both")
        if len(self.urls) != len(set(self.urls)):
            raise ValueError("`base_urls` names one address twice")
        if not self.urls:
            raise ValueError(f"{self.kind} has no public address. Give `base_url`, such as http://gpu-box:8000/v1")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Its addresses, the first of which is asked first."""
        given = [self.base_url] if self.base_url is not None else self.base_urls
        public = PUBLIC_URLS.get(self.kind)
        return tuple(url.rstrip("/") for url in given) or ((public,) if public else ())

    def provider(self, name: str, *, configured: bool = True) -> Provider:
        """The value that it describes."""
        return Provider(
            name=name,
            kind=self.kind,
            base_urls=self.urls,
            key_env=self.api_key_env,
            key_file=str(self.api_key_file) if self.api_key_file else None,
            key_secret=self.api_key_secret,
            models={model: known.model(model) for model, known in self.models.items()},
            allow_private=self.allow_private,
            outside=self.outside,
            timeout=self.timeout,
            configured=configured,
        )


class TargetSettings(Section):
    """One of a route's models."""

    model: str = Field(min_length=1)
    weight: int = Field(1, ge=1, le=1000)
    max_complexity: float = Field(1.0, ge=0, le=1)
    min_budget_usd: Dollars = 0.0

    def target(self) -> Target:
        """The value that it describes."""
        return Target(self.model, self.weight, self.max_complexity, self.min_budget_usd)


class RouteSettings(Section):
    """Several models that serve one name."""

    targets: list[str | TargetSettings] = Field(
        min_length=1, description="Its models: names, or tables with `model` and what its strategy needs."
    )
    strategy: Strategy = Field(Strategy.ORDERED, description="How one of them is chosen.")
    fallbacks: list[Fallback] = Field(default_factory=list, description="What answers when none of them did, in turn.")

    @model_validator(mode="after")
    def different(self) -> "RouteSettings":
        """No model or fallback twice."""
        named = [target.model for target in self.route("").targets]
        if not all(named) or len(named) != len(set(named)):
            raise ValueError("`targets` names a model twice, or none")
        if len(self.fallbacks) != len(set(self.fallbacks)):
            raise ValueError("`fallbacks` names one twice")
        return self

    def route(self, name: str) -> Route:
        """The value that it describes."""
        targets = tuple(Target(one) if isinstance(one, str) else one.target() for one in self.targets)
        return Route(name, targets, self.strategy, tuple(self.fallbacks))


class TaskSettings(Section):
    """What serves a task."""

    model: str = Field(min_length=1, description="A model or a route; the default model where a task is not named.")


Providers = Annotated[dict[str, ProviderSettings], AfterValidator(_provider_names)]
Routes = Annotated[dict[str, RouteSettings], AfterValidator(_route_names)]
Tasks = Annotated[dict[Task, TaskSettings], AfterValidator(_tasks)]


def check_names(
    providers: Mapping[str, ProviderSettings],
    routes: Mapping[str, RouteSettings],
    endpoints: Mapping[str, EndpointSettings],
    files: Iterable[str],
) -> None:
    """Goes on where each name means one thing, and routes lead to models.

    Raises:
        ValueError: they do not.
    """
    for name in sorted(providers.keys() & endpoints.keys()):
        raise ValueError(f"the name {name!r} stands in `providers` and in `models.endpoints`. Rename one of them")
    for name in sorted(routes.keys() & {*endpoints, *files}):
        raise ValueError(f"the name {name!r} stands in `routes` and among the models. Rename one of them")
    for name, settings in routes.items():
        for target in settings.route(name).targets:
            if target.model == name:
                raise ValueError(f"the route {name!r} names itself. Name models under `routes.{name}.targets`")
            if target.model in routes:
                raise ValueError(
                    f"the route {name!r} names the route {target.model!r}. Name that one's models under "
                    f"`routes.{name}.targets`"
                )
