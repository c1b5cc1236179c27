"""The audit log: every change of people, rights and secrets leaves an entry, in the transaction that makes it.

Each entry carries a keyed hash of itself and of the entry before (HMAC-SHA256 under a key derived from the hub's
secret), so that one that was changed, left out or put in shows: whoever can write to the database lacks the key.
Only the end of the log can be cut off unseen, which is why `verify` names the last entry's number and hash.
"""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from tidemill.core.audit import Actor, AuditEntry
from tidemill.core.clock import Clock
from tidemill.core.json import Json
from tidemill.store.audit import AuditRepository
from tidemill.store.database import Connection

PAGE = 1000


class Derive(Protocol):
    """Derives a secret for a purpose from the hub's own secret key."""

    def __call__(self, purpose: str, /) -> str:
        """The derived secret, in hexadecimal."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A change in the making. What is done through `connection` is committed with the entries, or not at all."""

    connection: Connection
    notes: list[tuple[str, str, str | None, dict[str, Json]]] = field(default_factory=list)

    def note(self, action: str, target: str, target_id: object | None = None, **details: Json) -> None:
        """Says what was done, as `user.role_changed`, to which thing; written at the end of the transaction.

        `details` are ids, roles, counts: nothing that a person could be known by, and no secret.
        """
        self.notes.append((action, target, None if target_id is None else str(target_id), details))


@dataclass(frozen=True, slots=True)
class Verified:
    """What checking the chain found.

    Attributes:
        entries: how many entries hold.
        hash: of the last of them; compare it with one that was kept elsewhere.
        fault: the first thing that is wrong, in a sentence; `None` where nothing is.
    """

    entries: int
    hash: str | None
    fault: str | None


class Audit:
    """The service for the audit log.

    Args:
        rows: its rows.
        derive: gives the key of the chain.
        clock: gives the entries' times.
    """

    def __init__(self, rows: AuditRepository, *, derive: Derive, clock: Clock) -> None:
        self._rows = rows
        self._key = bytes.fromhex(derive("audit log"))
        self._clock = clock

    @asynccontextmanager
    async def change(self, actor: Actor) -> AsyncIterator[Change]:
        """A transaction that commits a change together with the entries about it."""
        async with self._rows.transaction() as connection:
            change = Change(connection)
            yield change
            if change.notes:
                await self._write(change, actor)

    async def record(
        self, actor: Actor, action: str, target: str, target_id: object | None = None, **details: Json
    ) -> None:
        """Writes an entry about something that was done elsewhere than in the database; see `Change.note`."""
        async with self.change(actor) as change:
            change.note(action, target, target_id, **details)

    async def entries(
        self, *, after: int = 0, since: datetime | None = None, until: datetime | None = None, limit: int | None = None
    ) -> AsyncIterator[AuditEntry]:
        """Entries, oldest first, read page by page; `limit` of them where it is given."""
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = await self._rows.page(limit=size, after=after, since=since, until=until)
            for entry in page:
                yield entry
            if len(page) < size:
                return
            after = page[-1].seq
            left = None if left is None else left - len(page)

    async def verify(self) -> Verified:
        """Whether each entry is as it was written, and none is missing before the last."""
        count, before = 0, ""
        async for entry in self.entries():
            if entry.seq != count + 1:
                return Verified(count, before or None, f"Entry {count + 1} is missing: {entry.seq} follows {count}.")
            if not hmac.compare_digest(entry.hash, self._hash(entry, before)):
                return Verified(
                    count, before or None, f"Entry {entry.seq} is not as it was written, or the one before it is not."
                )
            count, before = entry.seq, entry.hash
        return Verified(count, before or None, None)

    async def _write(self, change: Change, actor: Actor) -> None:
        """Chains the entries; last in the transaction, so that others wait for no more than its commit."""
        last = await self._rows.lock_last(change.connection)
        seq, before = (last.seq, last.hash) if last else (0, "")
        for action, target, target_id, details in change.notes:
            seq += 1
            entry = AuditEntry(
                seq, self._clock(), actor.kind, actor.id, actor.key_id, action, target, target_id, details, ""
            )
            before = self._hash(entry, before)
            await self._rows.add(change.connection, replace(entry, hash=before))

    def _hash(self, entry: AuditEntry, before: str) -> str:
        return hmac.new(self._key, (before + _canonical(entry)).encode(), hashlib.sha256).hexdigest()


def entry_json(entry: AuditEntry) -> dict[str, Json]:
    """An entry as it is exported."""
    return {
        "seq": entry.seq,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "actor_id": str(entry.actor_id) if entry.actor_id else None,
        "key_id": str(entry.key_id) if entry.key_id else None,
        "action": entry.action,
        "target": entry.target,
        "target_id": entry.target_id,
        "details": entry.details,
        "hash": entry.hash,
    }


def _canonical(entry: AuditEntry) -> str:
    """One text for one entry: JSON with sorted names and no spaces, without the hash."""
    told = {name: value for name, value in entry_json(entry).items() if name != "hash"}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
