"""The models that can be asked, under the names that requests have: local ones, endpoints, and providers' models.

What each name means is known in memory: the settings say one part, and the rows of providers that were added while
the hub runs the other, which are read anew every second.

A name is looked up in this order, and the first that has it is meant: a route, an endpoint, a file of the settings, a
fetched file of the Hugging Face Hub, the catalog, an adapter, and last `provider/model`.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tidemill.analysis.addresses import is_inside, url_host
from tidemill.core.errors import Configuration, InvalidInput, ModelNotFound, NotFound
from tidemill.core.provider import FREE, LOCAL, ModelFacts, Price, Provider, ProviderKind, ProviderModel
from tidemill.llm.catalog import DEFAULT, ModelEntry, SourceKind, default_name, find_model, list_models, model_version
from tidemill.llm.hub_files import hub_file
from tidemill.llm.outside import is_outside
from tidemill.settings import Settings
from tidemill.store.providers import ProviderRepository

MEMORY_SECONDS = 1.0
MODEL_NAME = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]{1,200}")
"""What can be a model's name at a provider: as the settings have it, and nothing that could end a line or a header."""
LARGEST_KEY = 8192
ONES_OWN_KINDS = frozenset({ProviderKind.OLLAMA, ProviderKind.VLLM, ProviderKind.TGI})
"""Servers that people run themselves; at an address of one's own, nobody bills their tokens."""


class Revealed(Protocol):
    """Reads the secrets that are encrypted at rest."""

    async def reveal(self, name: str, /) -> str:
        """The secret, or `Configuration` where it is not there."""
        ...


class Providers:
    """Knows the providers, where their keys lie, and what each name that can be asked is.

    Args:
        settings: has the local models, the endpoints, and providers that no command changes.
        rows: the other providers.
        secrets: has keys.
        timer: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        rows: ProviderRepository,
        secrets: Revealed,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._rows = rows
        self._secrets = secrets
        self._timer = timer
        self._configured = {name: one.provider(name) for name, one in settings.providers.items()}
        self._known: dict[str, Provider] = dict(self._configured)
        self._keys: dict[str, str] = {}
        self._local: dict[str, ModelEntry] = {}
        self._local_facts: dict[str, ModelFacts] = {}
        self._remote_facts: dict[str, tuple[Provider, ModelFacts]] = {}
        self._files: dict[str, tuple[tuple[int, ...], str]] = {}
        self._looked: float | None = None

    async def refresh(self) -> None:
        """Learns what other processes have changed, keys included. Run at the start, and every second."""
        rows = {one.name: one for one in await self._rows.all()}
        known = {**rows, **self._configured}
        self._known = {name: self._same(known[name]) for name in sorted(known)}
        self._keys.clear()
        self._remote_facts.clear()

    def all(self) -> list[Provider]:
        """Every provider, by name."""
        return list(self._known.values())

    def get(self, name: str) -> Provider:
        """The provider of this name.

        Raises:
            NotFound: there is none.
        """
        found = self._known.get(name)
        if found is None:
            raise NotFound(f"There is no provider {name!r}. `tidemill providers list` shows the names.")
        return found

    def endpoints(self) -> dict[str, str]:
        """The addresses of the endpoints that the settings name, by name."""
        return {name: one.url for name, one in self._settings.models.endpoints.items()}

    def configured(self, name: str) -> bool:
        """Whether a provider stands in the settings."""
        return name in self._configured

    def find(self, model: str) -> tuple[Provider, str] | None:
        """The provider of `provider/model`, and the model's name there; `None` for a local model or an endpoint."""
        name, slash, remote = model.partition("/")
        provider = self._known.get(name)
        if provider is None or not slash or model in self._entries() or not MODEL_NAME.fullmatch(remote):
            return None
        return provider, remote

    def facts(self, name: str) -> ModelFacts:
        """What is known of a name: of a local model, an endpoint, or `provider/model`.

        Raises:
            ModelNotFound: there is nothing of this name, or its file is not there.
        """
        wanted = default_name(self._settings) if name == DEFAULT else name
        entry = self._entries().get(wanted)
        if entry is not None:
            facts = self._local_facts.get(wanted)
            if facts is None:
                facts = self._local_facts[wanted] = self._facts_of(entry)
            return facts
        found = self.find(wanted)
        if found is None:
            self.check_prefix(wanted)
            return self._facts_of(find_model(self._settings, wanted))
        known = self._remote_facts.get(wanted)
        if known is None or known[0] is not found[0]:
            known = self._remote_facts[wanted] = found[0], _provider_facts(*found)
        return known[1]

    def local(self, name: str) -> ModelEntry | None:
        """The local model or endpoint of this name that can be asked now."""
        return self._entries().get(name)

    async def key(self, provider: Provider) -> str | None:
        """The provider's key as it is now, at most a second old where it is a secret; `None` where it has none.

        Raises:
            Configuration: its place holds none.
        """
        if provider.key_env is not None:
            found = os.environ.get(provider.key_env, "").strip()
            where = f"the environment variable {provider.key_env}"
        elif provider.key_file is not None:
            found = await self._key_in_file(provider)
            where = f"the file {provider.key_file}"
        elif provider.key_secret is not None:
            known = self._keys.get(provider.key_secret)
            found = known or (await self._secrets.reveal(provider.key_secret)).strip()
            self._keys[provider.key_secret] = found
            where = f"the secret {provider.key_secret}"
        else:
            return None
        if not found:
            raise Configuration(f"The provider {provider.name} has its key in {where}, which is not set or empty.")
        if not is_key(found):
            raise Configuration(
                f"The provider {provider.name} has its key in {where}, and what is there is no key: it holds a space, "
                f"a letter that no key has, or more than {LARGEST_KEY} characters."
            )
        return found

    async def _key_in_file(self, provider: Provider) -> str:
        """What a key's file holds, which is read again when it was written."""
        path = provider.key_file or ""
        state, known = _state_of(path), self._files.get(path)
        if state is not None and known is not None and known[0] == state:
            return known[1]
        found = await asyncio.to_thread(_read_key, provider)
        if state is not None:
            self._files[path] = state, found
        return found

    def _same(self, provider: Provider) -> Provider:
        """The provider as it was known where nothing of it changed, so that clients of it go on."""
        before = self._known.get(provider.name)
        return before if before == provider else provider

    def _entries(self) -> dict[str, ModelEntry]:
        now = self._timer()
        if self._looked is None or now - self._looked >= MEMORY_SECONDS:
            self._local = {entry.name: entry for entry in list_models(self._settings) if entry.installed}
            self._local_facts.clear()
            self._looked = now
        return self._local

    def check_prefix(self, name: str) -> None:
        """Goes on unless what stands before a slash would have to be a provider, and is none.

        Raises:
            ModelNotFound: it is none. The message names the providers.
        """
        provider, slash, _ = name.partition("/")
        if slash and provider not in self._known and name not in self._entries() and hub_file(name) is None:
            known = ", ".join(self._known) or "none"
            raise ModelNotFound(
                f"There is no model {name!r}: no provider is called {provider!r}. These are: {known}. An admin adds "
                "one with `tidemill providers add`.",
                param="model",
            )

    def _facts_of(self, entry: ModelEntry) -> ModelFacts:
        version = model_version(self._settings, entry)
        if entry.kind is not SourceKind.ENDPOINT:
            context = self._settings.models.context_tokens
            return ModelFacts(entry.name, LOCAL, entry.name, version, FREE, local=True, context_tokens=context)
        endpoint = self._settings.models.endpoints[entry.name]
        price = endpoint.price or (FREE if is_inside(url_host(endpoint.url)) else None)
        return ModelFacts(
            entry.name, entry.name, entry.remote_model or entry.name, version, price, outside=is_outside(endpoint)
        )


def is_key(text: str) -> bool:
    """Whether a text can be sent as a key."""
    return 0 < len(text) <= LARGEST_KEY and text.isascii() and text.isprintable() and " " not in text


def leaves_the_network(provider: Provider) -> bool:
    """Whether texts leave the team's network for a provider: as it says, else by its addresses."""
    if provider.outside is not None:
        return provider.outside
    return not all(is_inside(url_host(url)) for url in provider.base_urls)


def _provider_facts(provider: Provider, model: str) -> ModelFacts:
    known = provider.models.get(model) or ProviderModel(model)
    return ModelFacts(
        name=f"{provider.name}/{model}",
        provider=provider.name,
        model=model,
        version=f"{provider.kind}:{provider.base_urls[0]}#{model}",
        price=_price(provider, known),
        outside=leaves_the_network(provider),
        context_tokens=known.context_tokens,
        max_output_tokens=known.max_output_tokens,
    )


def _price(provider: Provider, model: ProviderModel) -> Price | None:
    """Unknown where nobody said it, save for a server of one's own, which nobody bills."""
    if model.price is not None or provider.kind not in ONES_OWN_KINDS:
        return model.price
    return FREE if all(is_inside(url_host(url)) for url in provider.base_urls) else None


def _state_of(path: str) -> tuple[int, ...] | None:
    """What changes when a file is written, or another put in its place; `None` where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_key(provider: Provider) -> str:
    path = Path(provider.key_file or "")
    try:
        return path.read_bytes()[: 2 * LARGEST_KEY].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise Configuration(
            f"The provider {provider.name} has its key in the file {path}, which can't be read: {reason}."
        ) from error


def checked_key(key: str, param: str = "api_key") -> str:
    """A key as it was given, without spaces around it.

    Raises:
        InvalidInput: it can't be sent as one. The message does not repeat it.
    """
    plain = key.strip()
    if not is_key(plain):
        raise InvalidInput(
            f"A key has 1 to {LARGEST_KEY} letters, digits and signs of ASCII, and no space within.", param=param
        )
    return plain
