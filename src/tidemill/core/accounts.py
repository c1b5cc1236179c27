"""Who asks."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a key may do: a member uses the hub and sees its own reviews; an admin sees and manages all."""

    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: without the secret. `prefix` is its first characters, to recognise it by."""

    id: UUID
    name: str
    role: Role
    prefix: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever made a request, as its key says."""

    key_id: UUID
    role: Role
