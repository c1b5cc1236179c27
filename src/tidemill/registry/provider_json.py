"""A provider as the hub and the commands show it. Of its key there is only where it lies."""

from typing import Any

from tidemill.core.provider import Provider, ProviderState
from tidemill.llm.providers.probe import Probed
from tidemill.registry.provider_registry import Health
from tidemill.store.providers import models_json


def provider_json(provider: Provider, health: Health) -> dict[str, Any]:
    """A provider, and how it is doing. Times are datetimes."""
    return {
        "name": provider.name,
        "kind": provider.kind.value,
        "base_urls": list(provider.base_urls),
        "key": _key(provider),
        "models": models_json(provider.models),
        "allow_private": provider.allow_private,
        "outside": provider.outside,
        "timeout": provider.timeout,
        "configured": provider.configured,
        "health": health_json(health),
    }


def health_json(health: Health) -> dict[str, Any]:
    """How a provider or an endpoint is doing."""
    return {
        "state": health.state,
        "latency_ms": health.latency_ms,
        "whole": _state(health.whole) if health.whole else None,
        "models": [_state(one) for one in health.models],
    }


def probed_json(name: str, found: Probed) -> dict[str, Any]:
    """What came of trying a provider."""
    return {
        "name": name,
        "ok": found.ok,
        "latency_ms": round(found.latency_ms, 1),
        "said": found.said,
        "failure": found.failure.value if found.failure else None,
        "models": list(found.models),
    }


def _key(provider: Provider) -> dict[str, str] | None:
    places = {"environment": provider.key_env, "file": provider.key_file, "secret": provider.key_secret}
    return next(({"place": place, "name": name} for place, name in places.items() if name is not None), None)


def _state(state: ProviderState) -> dict[str, Any]:
    return {
        "model": state.model or None,
        "failures": state.failures,
        "rests_until": state.rests_until,
        "disabled_at": state.disabled_at,
        "disabled_reason": state.disabled_reason,
        "last_failure": state.last_failure,
        "last_failed_at": state.last_failed_at,
        "latency_ms": state.latency_ms,
    }
