"""A change that commits together with what the audit log says of it: what domains ask of whoever keeps that log."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tidemill.core.audit import Actor
from tidemill.core.json import Json
from tidemill.store.database import Connection


class Noted(Protocol):
    """A change in the making, on one connection, with what the audit log will say of it."""

    @property
    def connection(self) -> Connection:
        """Commits with the log's entries, or not at all."""
        ...

    def note(self, action: str, target: str, target_id: object | None = None, **details: Json) -> None:
        """Says what was done."""
        ...


class Audited(Protocol):
    """Gives a transaction that commits a change together with the audit log's entries about it."""

    def change(self, actor: Actor, /) -> AbstractAsyncContextManager[Noted]:
        """The transaction."""
        ...
