"""Adding, changing, removing and trying out providers, and how they are doing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from pydantic import ValidationError

from tidemill.analysis.addresses import is_metadata_name, literal_address, url_host
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import Configuration, Conflict, InvalidInput, NotFound
from tidemill.core.failure import Failure
from tidemill.core.json import Json
from tidemill.core.provider import Provider, ProviderKind, ProviderState
from tidemill.llm.providers.probe import Probed, probe
from tidemill.registry.providers import Providers, checked_key
from tidemill.settings.providers import PUBLIC_URLS, ProviderSettings, RouteSettings, TaskSettings, provider_name
from tidemill.store.audited import Audited
from tidemill.store.provider_states import ProviderStateRepository
from tidemill.store.providers import ProviderRepository, models_json

log = logging.getLogger(__name__)

LONGEST_REASON = 200
KEY_PLACES = ("api_key_env", "api_key_file", "api_key_secret")


class SecretStore(Protocol):
    """Keeps secrets encrypted at rest."""

    async def put(self, name: str, value: str, actor: Actor, /) -> None:
        """Stores a secret, in the place of one of its name."""
        ...

    async def delete(self, name: str, actor: Actor, /) -> None:
        """Deletes a secret; `NotFound` where there is none."""
        ...


class Out(Protocol):
    """The way out to addresses that others chose."""

    async def check(self, url: str, *, param: str, allow_private: bool = False) -> None:
        """Goes on where the address may be asked."""
        ...

    def client(self, *, timeout: float, allow_private: bool = False) -> httpx.AsyncClient:
        """A client that asks such addresses alone."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """How a provider is doing.

    Attributes:
        state: `disabled`, `resting` (nothing is sent for now), `failing` (its last request failed), or `ready`.
        whole: of the provider as a whole; `None` where nothing is known of it.
        models: of its models, as far as anything is known.
    """

    state: str
    whole: ProviderState | None
    models: Sequence[ProviderState] = ()

    @property
    def latency_ms(self) -> float | None:
        """The mean of what is known of its models."""
        known = [one.latency_ms for one in self.models if one.latency_ms is not None]
        return sum(known) / len(known) if known else None


class ProviderRegistry:
    """The service for what is done to providers. What is known of them is in `Providers`.

    Args:
        known: is told of each change at once.
        rows: the providers that were added.
        states: how they are doing, which the recovery writes.
        secrets: keeps keys that are given.
        out: reaches them.
        audit: makes each change known.
        clock: gives times.
        timeout: seconds that trying one out may take.
    """

    def __init__(
        self,
        known: Providers,
        rows: ProviderRepository,
        states: ProviderStateRepository,
        secrets: SecretStore,
        out: Out,
        *,
        routes: Mapping[str, RouteSettings],
        tasks: Mapping[Any, TaskSettings],
        audit: Audited,
        clock: Clock,
        timeout: float = 15.0,
    ) -> None:
        self.known = known
        self._rows = rows
        self._states = states
        self._secrets = secrets
        self._out = out
        self._named = _named_by(routes, tasks)
        self._audit = audit
        self._clock = clock
        self._timeout = timeout

    async def add(self, name: str, fields: Mapping[str, Any], actor: Actor, *, key: str | None = None) -> Provider:
        """Adds a provider.

        Args:
            name: what comes before the slash in `provider/model`.
            fields: as `ProviderSettings` has them.
            actor: who does it.
            key: its key, which is stored encrypted; `fields` may name another place instead.

        Raises:
            InvalidInput: something of it can't be used.
            Conflict: there is a provider of this name.
        """
        try:
            provider_name(name)
        except ValueError as error:
            raise InvalidInput(f"{error}.", param="name") from error
        if self.known.configured(name):
            raise _in_settings(name)
        fields, key = _with_key(name, fields, key)
        provider = _validated(name, fields)
        await self._check_addresses(provider)
        async with self._audit.change(actor) as change:
            if not await self._rows.add(change.connection, provider, self._clock()):
                raise Conflict(f"There is a provider {name!r}. Remove it first, or give another name.")
            change.note("provider.added", "provider", name, kind=provider.kind.value)
        if key is not None:
            await self._secrets.put(secret_name(name), key, actor)
        await self.known.refresh()
        return provider

    async def change(self, name: str, changes: Mapping[str, Any], actor: Actor, *, key: str | None = None) -> Provider:
        """Changes fields of a provider, and its key where one is given. Other arguments and errors as in `add`.

        Raises:
            NotFound: there is no such provider.
            Conflict: it stands in the settings.
            InvalidInput: also where it would send its key to an address that the key was not given for.
        """
        self._changeable(name)
        changes, key = _with_key(name, changes, key)
        await self._check_addresses(_validated(name, _merged(self.known.get(name), changes)))
        if key is not None:  # before the addresses, so that a new one is never sent the old key
            await self._secrets.put(secret_name(name), key, actor)
        async with self._audit.change(actor) as change:
            old = await self._rows.lock(change.connection, name)
            if old is None:
                raise _unknown(name)
            new = _validated(name, _merged(old, changes))
            _hold_key(old, new, changes)
            fields = [*(["api_key"] if key is not None else []), *_differing(old, new)]
            if fields:
                await self._rows.update(change.connection, new, self._clock())
                change.note("provider.changed", "provider", name, fields=[*fields])
        if old.key_secret != new.key_secret:
            await self._forget_key(old, actor)
        await self.known.refresh()
        return new

    async def remove(self, name: str, actor: Actor) -> None:
        """Forgets a provider, its key, and how it was doing.

        Raises:
            NotFound: there is no such provider.
            Conflict: it stands in the settings, or a route or a task needs it.
        """
        self._changeable(name)
        if where := self._named.get(name):
            raise Conflict(f"The provider {name} is named in `{where}` of the settings. Take it out there first.")
        async with self._audit.change(actor) as change:
            old = await self._rows.lock(change.connection, name)
            if old is None:
                raise _unknown(name)
            await self._rows.remove(change.connection, name)
            change.note("provider.removed", "provider", name)
        await self._forget_key(old, actor)
        await self._states.forget(name)
        await self.known.refresh()

    async def disable(self, name: str, actor: Actor, reason: str = "by hand") -> None:
        """Takes a provider out of the pool until it is put back, for all processes.

        Raises:
            NotFound: there is no such provider.
        """
        provider = self.known.get(name)
        said = " ".join(reason.split())[:LONGEST_REASON] or "by hand"
        await self._states.disable(provider.name, said, self._clock())
        await self._record(actor, "provider.disabled", name)

    async def enable(self, name: str, actor: Actor) -> None:
        """Puts a provider and its models back, rested; `NotFound` where there is none."""
        provider = self.known.get(name)
        await self._states.enable(provider.name, self._clock())
        await self._record(actor, "provider.enabled", name)

    async def test(self, name: str) -> Probed:
        """Asks a provider for something small, also where it is disabled. What fails is in the result.

        Raises:
            NotFound: there is no such provider.
        """
        provider = self.known.get(name)
        try:
            key = await self.known.key(provider)
        except Configuration as error:
            return Probed(ok=False, latency_ms=0.0, said=error.message, failure=Failure.AUTH_INVALID)
        limit = min(provider.timeout or self._timeout, self._timeout)
        async with self._out.client(timeout=limit, allow_private=provider.allow_private) as client:
            return await probe(client, provider, key)

    async def health(self) -> Mapping[str, Health]:
        """How each provider and each endpoint is doing, by its name; a provider's name is no endpoint's."""
        found: dict[str, list[ProviderState]] = {}
        for state in await self._states.all():
            found.setdefault(state.provider, []).append(state)
        names = [*self.known.endpoints(), *(one.name for one in self.known.all())]
        return {name: self._health(found.get(name, [])) for name in names}

    async def check_settings(self) -> None:
        """Goes on where the addresses of providers in the settings may be asked, as far as they themselves say.

        Names are not looked up: a hub starts without DNS, and each connection is checked. A key that is not there is
        told in the log alone, since it may come.

        Raises:
            Configuration: one may not.
        """
        for provider in self.known.all():
            if provider.configured:
                await self._check_configured(provider)

    async def _check_configured(self, provider: Provider) -> None:
        try:
            if not all(map(_is_name, provider.base_urls)):
                await self._check_addresses(provider)
        except InvalidInput as error:
            raise Configuration(f"`providers.{provider.name}` can't be used. {error.message}") from error
        try:
            await self.known.key(provider)
        except Configuration as error:
            log.warning("%s Until then requests to it fail.", error.message)

    async def _check_addresses(self, provider: Provider) -> None:
        for url in provider.base_urls:
            await self._out.check(url, param="base_urls", allow_private=provider.allow_private)

    def _changeable(self, name: str) -> None:
        self.known.get(name)
        if self.known.configured(name):
            raise _in_settings(name)

    async def _forget_key(self, provider: Provider, actor: Actor) -> None:
        if provider.key_secret == secret_name(provider.name):
            try:
                await self._secrets.delete(provider.key_secret, actor)
            except NotFound:
                return  # somebody has deleted it already

    async def _record(self, actor: Actor, action: str, name: str) -> None:
        async with self._audit.change(actor) as change:
            change.note(action, "provider", name)

    def _health(self, states: Sequence[ProviderState]) -> Health:
        whole = next((one for one in states if not one.model), None)
        models = [one for one in states if one.model]
        now = self._clock()
        if whole is not None and whole.disabled_at is not None:
            state = "disabled"
        elif whole is not None and whole.rests_until is not None and whole.rests_until > now:
            state = "resting"
        elif any(one.failures for one in states):
            state = "failing"
        else:
            state = "ready"
        return Health(state, whole, models)


def secret_name(provider: str) -> str:
    """The secret under which the key that was given for a provider is kept."""
    return f"provider.{provider}"


def fields_of(provider: Provider) -> dict[str, Json]:
    """A provider as `ProviderSettings` has it."""
    return {
        "kind": provider.kind.value,
        "base_urls": [*provider.base_urls],
        "api_key_env": provider.key_env,
        "api_key_file": provider.key_file,
        "api_key_secret": provider.key_secret,
        "models": models_json(provider.models),
        "allow_private": provider.allow_private,
        "outside": provider.outside,
        "timeout": provider.timeout,
    }


def _merged(provider: Provider, changes: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = fields_of(provider)
    if any(place in changes for place in KEY_PLACES):
        fields |= dict.fromkeys(KEY_PLACES)
    if "base_url" in changes:
        fields["base_urls"] = []
    return {**fields, **changes}


def _with_key(name: str, fields: Mapping[str, Any], key: str | None) -> tuple[dict[str, Any], str | None]:
    """The fields with the place where a given key will lie."""
    if key is None:
        return dict(fields), None
    return {**fields, "api_key_secret": secret_name(name)}, checked_key(key)


def _validated(name: str, fields: Mapping[str, Any]) -> Provider:
    """The provider that the fields describe, or `InvalidInput`."""
    kind = fields.get("kind")
    if kind in {one.value for one in PUBLIC_URLS} and not any(fields.get(place) for place in KEY_PLACES):
        raise InvalidInput(
            f"{ProviderKind(kind)} asks for a key, and none was given. Over HTTP it is `api_key`; `tidemill providers "
            "add` asks for it, or takes --key-env or --key-file.",
            param="api_key",
        )
    try:
        return ProviderSettings.model_validate(fields).provider(name, configured=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        message = f"`{where}` can't be used: {said[:1].lower()}{said[1:]}." if where else f"{said}."
        raise InvalidInput(message, param=where or None) from error


def _hold_key(old: Provider, new: Provider, changes: Mapping[str, Any]) -> None:
    """Goes on where a key is sent only to the addresses that it was given for, or is given anew.

    Otherwise whoever may change a provider could have its key, which nobody may read, sent to a server of their own.
    """
    has_key = any((old.key_env, old.key_file, old.key_secret))
    elsewhere = set(new.base_urls) - set(old.base_urls)
    if has_key and elsewhere and not any(place in changes for place in KEY_PLACES):
        raise InvalidInput(
            f"The key of {old.name} was given for {', '.join(old.base_urls)}, and is not sent elsewhere. Give the key "
            "again with the new address.",
            param="api_key",
        )


def _differing(old: Provider, new: Provider) -> list[str]:
    before, after = fields_of(old), fields_of(new)
    return [field for field in before if before[field] != after[field]]


def _named_by(routes: Mapping[str, RouteSettings], tasks: Mapping[Any, TaskSettings]) -> dict[str, str]:
    """Where the settings name a model of a provider, by the provider."""
    named = {str(task): one.model for task, one in tasks.items()}
    found = {model.partition("/")[0]: f"tasks.{task}.model" for task, model in named.items() if "/" in model}
    for name, route in routes.items():
        for target in route.route(name).targets:
            if "/" in target.model:
                found[target.model.partition("/")[0]] = f"routes.{name}.targets"
    return found


def _in_settings(name: str) -> Conflict:
    return Conflict(f"The provider {name} stands in the settings, under `providers.{name}`. Change it there.")


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no provider {name!r}. `tidemill providers list` shows the names.")


def _is_name(url: str) -> bool:
    host = url_host(url)
    return literal_address(host) is None and not is_metadata_name(host)
