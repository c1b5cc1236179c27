"""A small real request to a provider: whether it is there, takes the key, and how long that takes."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tidemill.core.errors import TidemillError
from tidemill.core.failure import Failure
from tidemill.core.provider import Provider, ProviderKind
from tidemill.llm.providers.failures import Said, error_of, told, transport_failure

ANTHROPIC_VERSION = "2023-06-01"
NO_LIST = frozenset({404, 405, 501})
"""What a server answers that keeps no list of its models."""
OK = 200
BROKEN = {
    Failure.NETWORK_CONNECTION: "can't be reached, or broke the connection",
    Failure.NETWORK_TIMEOUT: "did not answer in time",
}


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it.

    Attributes:
        ok: it answered as a provider of its kind does.
        latency_ms: how long that took, connecting included.
        said: a sentence for the person.
        models: the names of its models, where it lists them.
        failure: how it failed, where it did.
    """

    ok: bool
    latency_ms: float
    said: str
    models: tuple[str, ...] = ()
    failure: Failure | None = None


async def probe(client: httpx.AsyncClient, provider: Provider, key: str | None) -> Probed:
    """Asks for the list of models; where the server keeps none, one token of the first model that is known."""
    began = time.perf_counter()
    try:
        found = await _listed(client, provider, key)
    except TidemillError as error:
        found = Probed(ok=False, latency_ms=0.0, said=error.message, failure=error.failure or Failure.UNKNOWN)
    except httpx.HTTPError as error:
        failure, _ = transport_failure(error) or (Failure.UNKNOWN, False)
        said = f"The server at {provider.base_urls[0]} {BROKEN.get(failure, 'answered with something unusable')}."
        found = Probed(ok=False, latency_ms=0.0, said=said, failure=failure)
    said = found.said.replace(key, "…") if key else found.said
    return replace(found, latency_ms=(time.perf_counter() - began) * 1000, said=said)


async def _listed(client: httpx.AsyncClient, provider: Provider, key: str | None) -> Probed:
    answer = await client.get(_models_url(provider), headers=_headers(provider, key))
    model = next(iter(provider.models), None)
    if answer.status_code in NO_LIST and model is not None and _speaks_openai(provider):
        return await _asked(client, provider, key, model)
    if answer.status_code != OK:
        return _failed(provider, answer)
    names = _names(provider, _json(answer))
    if names is None:
        return Probed(ok=False, latency_ms=0.0, said=_unlike(provider), failure=Failure.UNKNOWN)
    missing = [name for name in provider.models if name not in names]
    said = f"It lists {len(names)} models."
    if missing and names:
        said += f" Of those that are named here it does not list {', '.join(missing[:5])}."
    return Probed(ok=True, latency_ms=0.0, said=said, models=names)


async def _asked(client: httpx.AsyncClient, provider: Provider, key: str | None, model: str) -> Probed:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    url = f"{provider.base_urls[0]}/chat/completions"
    answer = await client.post(url, json=body, headers=_headers(provider, key))
    if answer.status_code != OK:
        return _failed(provider, answer)
    found = _json(answer)
    if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
        return Probed(ok=False, latency_ms=0.0, said=_unlike(provider), failure=Failure.UNKNOWN)
    return Probed(ok=True, latency_ms=0.0, said=f"It lists no models, and {model} answers.")


def _models_url(provider: Provider) -> str:
    base = provider.base_urls[0]
    if provider.kind is ProviderKind.ANTHROPIC:
        return f"{base.removesuffix('/v1')}/v1/models?limit=1000"
    if provider.kind is ProviderKind.GEMINI:
        return f"{base.removesuffix('/v1beta')}/v1beta/models?pageSize=1000"
    return f"{base}/models"


def _headers(provider: Provider, key: str | None) -> dict[str, str]:
    headers = {"anthropic-version": ANTHROPIC_VERSION} if provider.kind is ProviderKind.ANTHROPIC else {}
    if key is None:
        return headers
    if provider.kind is ProviderKind.ANTHROPIC:
        return {**headers, "x-api-key": key}
    if provider.kind is ProviderKind.GEMINI:
        return {**headers, "x-goog-api-key": key}
    return {**headers, "authorization": f"Bearer {key}"}


def _speaks_openai(provider: Provider) -> bool:
    return provider.kind not in {ProviderKind.ANTHROPIC, ProviderKind.GEMINI}


def _names(provider: Provider, found: Any) -> tuple[str, ...] | None:
    """The models' names as requests have them; `None` where this is no list of models."""
    field, key = ("models", "name") if provider.kind is ProviderKind.GEMINI else ("data", "id")
    listed = found.get(field) if isinstance(found, dict) else None
    if not isinstance(listed, list):
        return None
    names = [one.get(key) for one in listed if isinstance(one, dict)]
    return tuple(name.removeprefix("models/") for name in names if isinstance(name, str))


def _failed(provider: Provider, answer: httpx.Response) -> Probed:
    found = _json(answer)
    error = found.get("error", found) if isinstance(found, dict) else {}
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    names = frozenset(str(fields[name]).lower() for name in ("type", "code", "status") if fields.get(name))
    said = Said(answer.status_code, names, message if isinstance(message, str) else "", dict(answer.headers))
    known = error_of(said, provider.name)
    more = f" It says: {told(said.message)}" if said.message else ""
    return Probed(
        ok=False,
        latency_ms=0.0,
        said=f"The provider {provider.name} answered {answer.status_code}.{more}",
        failure=known.failure or Failure.UNKNOWN,
    )


def _json(answer: httpx.Response) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        return None


def _unlike(provider: Provider) -> str:
    return (
        f"What answers at {provider.base_urls[0]} does not speak the API of {provider.kind}. Check the base URL: it "
        "goes up to and including the version, where there is one."
    )
