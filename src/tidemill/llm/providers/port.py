"""What the adapters of providers need from above: which provider a name is of, its key, and a way out to it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tidemill.core.provider import Provider

if TYPE_CHECKING:
    import httpx2

OpenTransport = Callable[[Provider], "httpx2.AsyncBaseTransport"]
"""A way out to a provider's addresses and to no others: it refuses what the provider may not reach.

All three official clients take an `httpx2.AsyncClient`, and each is given one around such a transport. What is opened
is closed by the one who asked for it.
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
