"""Who did what: the values of the audit log. They hold ids, roles and counts, never a name, an address or a secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tidemill.core.accounts import Caller
from tidemill.core.json import Json


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change.

    Attributes:
        kind: `user`, `key` (one of the installation's), `command` (on the hub's machine), `hub` (by itself) or
            `stranger` (not signed in).
        id: the user's or the key's.
        key_id: the key by which a user acts.
    """

    kind: str
    id: UUID | None = None
    key_id: UUID | None = None

    @classmethod
    def of(cls, caller: Caller) -> "Actor":
        """Whoever made the request."""
        if caller.user_id is not None:
            return cls("user", caller.user_id, caller.key_id)
        return cls("key", caller.key_id)


COMMAND = Actor("command")
HUB = Actor("hub")
STRANGER = Actor("stranger")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit log.

    Attributes:
        seq: 1 for the first; none is left out.
        key_id: the key by which a user acted.
        action: what was done, as `user.role_changed`.
        target: the kind of thing that it was done to, as `user`.
        target_id: which one.
        details: ids, roles and the like, before and after.
        hash: of this entry and the hash before, in hexadecimal, under a key of the hub's.
    """

    seq: int
    at: datetime
    actor: str
    actor_id: UUID | None
    key_id: UUID | None
    action: str
    target: str
    target_id: str | None
    details: Mapping[str, Json]
    hash: str
