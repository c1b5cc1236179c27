"""Providers of models: who they are, how they are doing, and what is done to them. A key is taken and never shown."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor
from tidemill.core.provider import Provider, ProviderKind
from tidemill.registry.provider_json import probed_json, provider_json
from tidemill.registry.provider_registry import Health, ProviderRegistry
from tidemill.settings.section import HIGHEST_PRICE

router = APIRouter(tags=["providers"])

Dollars = Field(None, ge=0, le=HIGHEST_PRICE, allow_inf_nan=False)


class ModelFields(BaseModel):
    """What is known of one of a provider's models; prices in US dollars for a million tokens.

    A price that is not given is unknown, which is not the same as 0.
    """

    model_config = ConfigDict(extra="forbid")

    input: float | None = Dollars
    output: float | None = Dollars
    cached: float | None = Dollars
    context_tokens: int | None = Field(None, ge=1)
    max_output_tokens: int | None = Field(None, ge=1)


class ProviderChange(BaseModel):
    """What is to be different. The key is sent only to addresses that it was given for: a new one needs it again."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    base_urls: list[str] | None = Field(None, max_length=10)
    api_key: SecretStr | None = Field(None, min_length=1, max_length=8192)
    models: dict[str, ModelFields] | None = Field(None, max_length=2000)
    allow_private: bool | None = None
    outside: bool | None = None
    timeout: float | None = Field(None, gt=0, le=86_400, allow_inf_nan=False)


class NewProvider(ProviderChange):
    """A provider to add. Kinds with a public address need no `base_urls`, and all of them need a key."""

    name: str = Field(min_length=1, max_length=64)
    kind: ProviderKind


class KeyPlace(BaseModel):
    """Where the key lies, an environment variable, a file or an encrypted secret, and what that is called."""

    place: Literal["environment", "file", "secret"]
    name: str


class StateShown(BaseModel):
    """How a provider is doing, or one of its models."""

    model: str | None
    failures: int
    rests_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    last_failure: str | None
    last_failed_at: datetime | None
    latency_ms: float | None


class HealthShown(BaseModel):
    """How a provider is doing. `state` is `ready`, `failing`, `resting` or `disabled`."""

    state: Literal["ready", "failing", "resting", "disabled"]
    latency_ms: float | None
    whole: StateShown | None
    models: list[StateShown]


class ProviderShown(BaseModel):
    """A provider. `configured` is one of the settings, which no request changes."""

    object: Literal["provider"] = "provider"
    name: str
    kind: ProviderKind
    base_urls: list[str]
    key: KeyPlace | None
    models: dict[str, ModelFields]
    allow_private: bool
    outside: bool | None
    timeout: float | None
    configured: bool
    health: HealthShown


class ProviderList(BaseModel):
    """Every provider, by name."""

    object: Literal["list"] = "list"
    data: list[ProviderShown]


class Disabling(BaseModel):
    """Why a provider is taken out of the pool."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("by hand", min_length=1, max_length=200)


class ProviderTest(BaseModel):
    """What came of a small real request: whether it answered, how long that took, and what there is to say of it.

    `failure` is a leaf of the recovery tree; `models` are those that it lists.
    """

    object: Literal["provider.test"] = "provider.test"
    name: str
    ok: bool
    latency_ms: float
    said: str
    failure: str | None
    models: list[str]


@router.get("/providers", summary="List the providers", dependencies=[needs(Right.PROVIDERS_READ)])
async def list_providers(request: Request) -> ProviderList:
    """Every provider, and how it is doing."""
    registry = _registry(request)
    health = await registry.health()
    return ProviderList(data=[_shown(one, health) for one in registry.known.all()])


@router.post("/providers", summary="Add a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)])
async def add_provider(request: Request, body: NewProvider) -> ProviderShown:
    """Adds a provider; its key is stored encrypted."""
    registry = _registry(request)
    await registry.add(body.name, {**_fields(body), "kind": body.kind.value}, _actor(request), key=_key(body))
    return await _one(registry, body.name)


@router.get("/providers/{name}", summary="One provider", dependencies=[needs(Right.PROVIDERS_READ)])
async def get_provider(request: Request, name: str) -> ProviderShown:
    """One provider, and how it is doing."""
    return await _one(_registry(request), name)


@router.patch("/providers/{name}", summary="Change a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)])
async def change_provider(request: Request, name: str, body: ProviderChange) -> ProviderShown:
    """Changes what is given. `models` replaces all that was known of its models."""
    registry = _registry(request)
    await registry.change(name, _fields(body), _actor(request), key=_key(body))
    return await _one(registry, name)


@router.delete(
    "/providers/{name}", status_code=204, summary="Remove a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)]
)
async def remove_provider(request: Request, name: str) -> Response:
    """Forgets a provider and its key."""
    await _registry(request).remove(name, _actor(request))
    return Response(status_code=204)


@router.post("/providers/{name}/test", summary="Try a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)])
async def try_provider(request: Request, name: str) -> ProviderTest:
    """Asks the provider for something small, and says what came of it. A failure is no error of this request."""
    return ProviderTest.model_validate(probed_json(name, await _registry(request).test(name)))


@router.post("/providers/{name}/disable", summary="Disable a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)])
async def disable_provider(request: Request, name: str, body: Disabling | None = None) -> ProviderShown:
    """Takes a provider out of the pool of every hub, until it is enabled."""
    registry = _registry(request)
    await registry.disable(name, _actor(request), (body or Disabling()).reason)
    return await _one(registry, name)


@router.post("/providers/{name}/enable", summary="Enable a provider", dependencies=[needs(Right.PROVIDERS_MANAGE)])
async def enable_provider(request: Request, name: str) -> ProviderShown:
    """Puts a provider and its models back, rested."""
    registry = _registry(request)
    await registry.enable(name, _actor(request))
    return await _one(registry, name)


def _registry(request: Request) -> ProviderRegistry:
    return services_of(request).providers


def _actor(request: Request) -> Actor:
    return Actor.of(caller_of(request.scope))


def _key(body: ProviderChange) -> str | None:
    return None if body.api_key is None else body.api_key.get_secret_value()


def _fields(body: ProviderChange) -> dict[str, Any]:
    """The fields that were given, as the settings have them. Only `outside` and `timeout` mean something as null."""
    given = body.model_dump(exclude_unset=True, exclude={"api_key", "name", "kind"})
    return {name: value for name, value in given.items() if value is not None or name in {"outside", "timeout"}}


async def _one(registry: ProviderRegistry, name: str) -> ProviderShown:
    return _shown(registry.known.get(name), await registry.health())


def _shown(provider: Provider, health: Mapping[str, Health]) -> ProviderShown:
    return ProviderShown.model_validate(provider_json(provider, health[provider.name]))
