"""People, keys, who asks, and what each role may do."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.errors import InvalidInput, NotPermitted

LONGEST_NAME = 100
LONGEST_EMAIL = 254
"""RFC 5321 §4.5.3.1.3: a path has 256 octets at most, two of which are its angle brackets."""
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)*")


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

    def at_most(self, other: "Role") -> "Role":
        """The less powerful of the two."""
        return min(self, other, key=lambda role: role.rank)


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
    PROMPTS_MANAGE = "prompts.manage"
    PROVIDERS_READ = "providers.read"
    PROVIDERS_MANAGE = "providers.manage"
    USAGE_READ_ALL = "usage.read_all"
    LIMITS_MANAGE = "limits.manage"
    KNOWLEDGE_READ = "knowledge.read"
    KNOWLEDGE_FOR_OTHERS = "knowledge.for_others"
    KNOWLEDGE_ADD = "knowledge.add"
    KNOWLEDGE_MANAGE = "knowledge.manage"


_VIEWER = frozenset({Right.ACCOUNT, Right.MODELS_READ, Right.REVIEWS_READ, Right.KNOWLEDGE_READ})
_MEMBER = _VIEWER | {
    Right.MODELS_USE,
    Right.REVIEWS_CREATE,
    Right.CONVERSATIONS,
    Right.FILES,
    Right.KEYS_OWN,
    Right.KNOWLEDGE_ADD,
}
_MAINTAINER = _MEMBER | {
    Right.MODELS_MANAGE,
    Right.REVIEWS_READ_ALL,
    Right.PEOPLE_READ,
    Right.TEAMS_MANAGE,
    Right.METRICS_READ,
    Right.PROMPTS_MANAGE,
    Right.PROVIDERS_READ,
    Right.USAGE_READ_ALL,
    Right.KNOWLEDGE_MANAGE,
}
RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {Role.VIEWER: _VIEWER, Role.MEMBER: _MEMBER, Role.MAINTAINER: _MAINTAINER, Role.ADMIN: frozenset(Right)}
)
"""What each role may do; each has all that the one before it has."""


@dataclass(frozen=True, slots=True)
class User:
    """A person.

    Attributes:
        email: normalised by `normal_email`; unique. `None` once the person is erased, as is `name`.
        role: what the person may do.
        access_level: the highest level of text that the person may see.
        password_hash: as argon2 encodes it; `None` for who signs in through an issuer alone.
        oidc_issuer: with `oidc_subject`, who the person is to the issuer; both or neither.
        disabled_at: from when on the person, and every key of theirs, is refused.
        erased_at: when the person's data was erased; the row stays, so that no id is ever given twice.
    """

    id: UUID
    email: str | None
    name: str | None
    role: Role
    created_at: datetime
    access_level: Level = Level.INTERNAL
    department_id: UUID | None = None
    password_hash: str | None = field(default=None, repr=False)
    oidc_issuer: str | None = None
    oidc_subject: str | None = None
    disabled_at: datetime | None = None
    erased_at: datetime | None = None

    @property
    def enabled(self) -> bool:
        """Whether the person may come in."""
        return self.disabled_at is None and self.erased_at is None


@dataclass(frozen=True, slots=True)
class Team:
    """People who see one another's reviews."""

    id: UUID
    name: str
    created_at: datetime
    department_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Department:
    """A part of the organisation, to which people and teams belong."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: without the secret. `prefix` is its first characters, to recognise it by.

    Attributes:
        role: the most that the key may do; where it has an owner, no more than the owner may.
        owner_id: the user to whom it belongs; `None` for a key of the installation itself.
        scopes: the rights to which it is narrowed; `None` for all of its role's.
        expires_at: from when on it is refused; `None` for never.
        replaced_by: the key that was made of it by rotation.
        origin_id: the first of the keys of whose rotation it came; `None` for one that was made anew.
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
    replaced_by: UUID | None = None
    origin_id: UUID | None = None

    def live(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired; its owner may still be disabled."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Session:
    """A person signed in with one browser, from `created_at` on; `seen_at` is at most a minute behind its last use."""

    id: UUID
    user_id: UUID
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever made a request, as the key, the session or the token says. A body can narrow it, never widen it.

    Attributes:
        owner_id: to whom what the caller makes belongs: the user, or the key where no user stands behind it; of a key
            that was rotated, the first one, so that what was made with the others is still there.
        role: what the caller is.
        rights: what the caller may do, after the scopes of the key.
        level: the highest level of text that the caller may see.
        key_id: the API key, `None` for a session or a token of a session.
        user_id: the person, `None` for a key of the installation itself.
        session_id: the session, `None` for a key or a token of a key.
        expires_at: when the key or token ends, `None` for never and for a session; nothing that the caller makes to
            come in with may live longer.
    """

    owner_id: UUID
    role: Role
    rights: frozenset[Right]
    level: Level = Level.INTERNAL
    key_id: UUID | None = None
    user_id: UUID | None = None
    session_id: UUID | None = None
    expires_at: datetime | None = None

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


def normal_email(email: str) -> str:
    """An address as it is stored and looked up: NFC, lower case, without spaces around it.

    Whether it reaches anyone is not checked; no mail is ever sent.

    Raises:
        InvalidInput: it does not have the form of an address.
    """
    normal = unicodedata.normalize("NFC", email).strip().lower()
    if len(normal.encode("utf-8", "surrogatepass")) > LONGEST_EMAIL or not normal.isprintable():
        raise InvalidInput(f"An email address has {LONGEST_EMAIL} printable bytes at most.", param="email")
    if not _EMAIL.fullmatch(normal):
        raise InvalidInput("This is not an email address: it needs the form name@host.", param="email")
    return normal


def proper_name(name: str, of: str) -> str:
    """A name without spaces around it. `of` says what has it, for the message: `a key's`.

    Raises:
        InvalidInput: it is empty, too long, or holds what a table can't show.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"{of[:1].upper()}{of[1:]} name has 1 to {LONGEST_NAME} printable characters.", param="name")
    return name
