"""Connections that are kept for the next request to the same server."""

import asyncio
from types import ModuleType

from tidemill.outbound.connecting import Connector, Origin
from tidemill.outbound.exchange import Exchange

KEPT_CONNECTIONS = 64
KEPT_SECONDS = 30.0


class Pool:
    """Hands out connections, the one that was used last first, and makes as many as are needed at once.

    Args:
        http: `httpx` or `httpx2`, whose errors its connections raise.
        connector: makes them.
    """

    def __init__(self, http: ModuleType, connector: Connector) -> None:
        self._http = http
        self._connector = connector
        self._kept: dict[Origin, list[tuple[float, Exchange]]] = {}
        self._used: set[Exchange] = set()

    async def take(self, origin: Origin, seconds: float | None) -> Exchange:
        """A connection that nobody else uses.

        Raises:
            Refused, Unavailable: see `Connector.connect`.
        """
        kept = self._kept.get(origin, ())
        while kept:
            until, exchange = kept.pop()
            if until > asyncio.get_running_loop().time() and exchange.usable:
                break
            exchange.close()
        else:
            exchange = await self._connector.connect(self._http, origin, seconds)
        self._used.add(exchange)
        return exchange

    def give_back(self, origin: Origin, exchange: Exchange) -> None:
        """Keeps a connection whose exchange has ended, where it can be used again."""
        if exchange not in self._used:  # closed meanwhile, with all others
            return
        self._used.discard(exchange)
        if not exchange.finish():
            return
        self._drop_expired()
        if sum(map(len, self._kept.values())) >= KEPT_CONNECTIONS:
            exchange.close()
            return
        until = asyncio.get_running_loop().time() + KEPT_SECONDS
        self._kept.setdefault(origin, []).append((until, exchange))

    async def aclose(self) -> None:
        """Closes all connections, used or not."""
        kept = [exchange for all_of_one in self._kept.values() for _, exchange in all_of_one]
        for exchange in (*kept, *self._used):
            exchange.close()
        self._kept.clear()
        self._used.clear()
        await asyncio.sleep(0)  # in which the event loop closes them

    def _drop_expired(self) -> None:
        now = asyncio.get_running_loop().time()
        for origin, kept in list(self._kept.items()):
            while kept and kept[0][0] <= now:
                kept.pop(0)[1].close()
            if not kept:
                del self._kept[origin]
