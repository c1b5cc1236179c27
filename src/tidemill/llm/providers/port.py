"""What the adapters of providers need from above: which provider a name is of, its key, and a way out to it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tidemill.core.provider import Provider

if TYPE_CHECKING:
    import httpx2

OpenClient = Callable[[Provider], "httpx2.AsyncClient"]
"""A client that reaches nothing that the provider may not: no private address, no redirect, no proxy, and no answer of
more than some tens of megabytes. All three official clients take one. Whoever opens it closes it.
"""


class ProviderBook(Protocol):
    """Knows the providers, and where their keys lie."""

    def find(self, model: str) -> tuple[Provider, str] | None:
        """The provider of `provider/model`, and the model's name there; `None` for a local model or an endpoint."""
        ...

    async def key(self, provider: Provider) -> str | None:
        """The provider's key as it is now; `None` for a provider that asks for none.

        Raises:
            Configuration: it names a key that is not there.
        """
        ...
