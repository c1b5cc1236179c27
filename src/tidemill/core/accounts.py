"""Who asks, and what each role may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.errors import NotPermitted


class Role(StrEnum):
    """What a person or key is to the hub, least powerful first. `RIGHTS` says what each may do."""

    VIEWER = "viewer"
    MEMBER = "member"
    MAINTAINER = "maintainer"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """0 for the least powerful; for comparing."""
        return list(Role).index(self)


class Right(StrEnum):
    """One thing that may be done. Every route names the right that it needs; a key's scopes are rights, too."""

    ACCOUNT = "account"
    MODELS_READ = "models.read"
    MODELS_USE = "models.use"
    MODELS_MANAGE = "models.manage"
    REVIEWS_READ = "reviews.read"
    REVIEWS_READ_ALL = "reviews.read_all"
    REVIEWS_CREATE = "reviews.create"
    CONVERSATIONS = "conversations"
    FILES = "files"
    KEYS_OWN = "keys.own"
    KEYS_MANAGE = "keys.manage"
    PEOPLE_READ = "people.read"
    PEOPLE_MANAGE = "people.manage"
    TEAMS_MANAGE = "teams.manage"
    METRICS_READ = "metrics.read"
    AUDIT_READ = "audit.read"
    SECRETS_MANAGE = "secrets.manage"
    DATA_MANAGE = "data.manage"


_VIEWER = frozenset({Right.ACCOUNT, Right.MODELS_READ, Right.REVIEWS_READ})
_MEMBER = _VIEWER | {Right.MODELS_USE, Right.REVIEWS_CREATE, Right.CONVERSATIONS, Right.FILES, Right.KEYS_OWN}
_MAINTAINER = _MEMBER | {
    Right.MODELS_MANAGE,
    Right.REVIEWS_READ_ALL,
    Right.PEOPLE_READ,
    Right.TEAMS_MANAGE,
    Right.METRICS_READ,
}
RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {Role.VIEWER: _VIEWER, Role.MEMBER: _MEMBER, Role.MAINTAINER: _MAINTAINER, Role.ADMIN: frozenset(Right)}
)
"""What each role may do; each has all that the one before it has."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: without the secret. `prefix` is its first characters, to recognise it by.

    Attributes:
        role: the most that the key may do; where it has an owner, no more than the owner may.
        owner_id: the user to whom it belongs; `None` for a key of the installation itself.
        scopes: the rights to which it is narrowed; `None` for all of its role's.
        expires_at: from when on it is refused; `None` for never.
    """

    id: UUID
    name: str
    role: Role
    prefix: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    owner_id: UUID | None = None
    scopes: frozenset[Right] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever made a request, as the key, the session or the token says. A body can narrow it, never widen it.

    Attributes:
        owner_id: to whom what the caller makes belongs: the user, or the key where no user stands behind it.
        role: what the caller is.
        rights: what the caller may do, after the scopes of the key.
        level: the highest level of text that the caller may see.
        key_id: the API key, `None` for a session or a token.
        user_id: the person, `None` for a key of the installation itself.
        session_id: the session, `None` for a key or a token.
    """

    owner_id: UUID
    role: Role
    rights: frozenset[Right]
    level: Level = Level.INTERNAL
    key_id: UUID | None = None
    user_id: UUID | None = None
    session_id: UUID | None = None

    def may(self, right: Right) -> bool:
        """Whether the caller has this right."""
        return right in self.rights

    def require(self, right: Right) -> None:
        """Goes on only with this right.

        Raises:
            NotPermitted: the caller does not have it.
        """
        if right not in self.rights:
            raise NotPermitted(
                f"This needs the right `{right}`, which this {self.role}'s key or session does not have. "
                "An admin can give another role, or a key with more scopes."
            )


def narrowed(role: Role, scopes: frozenset[Right] | None) -> frozenset[Right]:
    """The role's rights, narrowed to the scopes where there are any."""
    return RIGHTS[role] if scopes is None else RIGHTS[role] & scopes
