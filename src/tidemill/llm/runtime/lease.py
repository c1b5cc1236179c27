"""What a request holds while its answer is read: a loaded child, its address, and its adapters' numbers there."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from tidemill.core.json import Json
from tidemill.llm.runtime.ledger import Claim
from tidemill.llm.runtime.process import ChildProcess
from tidemill.llm.runtime.turns import Turns


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a local model serves OpenAI's API: the base URL, up to and including `/v1`, and the key to it."""

    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is ready, for as long as it is held.

    Attributes:
        endpoint: where it serves.
        model: the name of the base, under which the child knows it.
        options: fields that each request needs: which of the child's adapters to apply.
    """

    endpoint: Endpoint
    model: str
    options: Mapping[str, Json]


@dataclass(slots=True, eq=False)
class Loaded:
    """A child that serves: one of our own (`child` and `claim`), or another process's (`stamp`).

    Attributes:
        adapters: the names of the adapters that it has loaded; their place is their number.
        turns: who is let into it.
        stamp: of the publication through which we found it.
        held: how many read an answer of it.
    """

    endpoint: Endpoint
    pid: int
    adapters: tuple[str, ...]
    turns: Turns
    child: ChildProcess | None = None
    claim: Claim | None = None
    stamp: tuple[int, int] | None = None
    started_at: datetime | None = None
    held: int = 0
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Counts who reads an answer of it."""
        self.held += 1
        self._free.clear()
        try:
            yield
        finally:
            self.held -= 1
            if not self.held:
                self._free.set()

    async def until_idle(self, patience: float) -> None:
        """Returns when nobody reads an answer of it any more, or after so many seconds."""
        if self.held:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._free.wait(), patience)
