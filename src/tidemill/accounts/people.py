"""People: added, changed, disabled, and who sees whose work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict
from uuid import UUID

from tidemill.accounts.api_keys import ApiKeys
from tidemill.accounts.audit import Audit, Change
from tidemill.accounts.key_check import KeyCheck
from tidemill.core.accounts import Caller, Role, User, normal_email, proper_name
from tidemill.core.audit import Actor
from tidemill.core.classification import Level
from tidemill.core.clock import Clock
from tidemill.core.errors import Conflict, NotFound
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.people import PeopleRepository
from tidemill.store.sessions import SessionRepository


@dataclass(frozen=True, slots=True)
class NewPerson:
    """Who is to be added."""

    email: str
    name: str
    role: Role = Role.MEMBER
    access_level: Level = Level.INTERNAL
    department_id: UUID | None = None


class PersonChanges(TypedDict, total=False):
    """What is to change of a person; what is not there stays."""

    email: str
    name: str
    role: Role
    access_level: Level
    department_id: UUID | None
    disabled: bool


class People:
    """The service for people.

    Args:
        people: their rows.
        key_rows: the rows of their keys.
        session_rows: the rows of their sessions, which end when they are disabled.
        keys: revokes their keys.
        check: is told to believe no key any more when a person changes.
        audit: hears of each change.
        clock: gives their times.
    """

    def __init__(
        self,
        people: PeopleRepository,
        key_rows: ApiKeyRepository,
        session_rows: SessionRepository,
        *,
        keys: ApiKeys,
        check: KeyCheck,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._people = people
        self._key_rows = key_rows
        self._session_rows = session_rows
        self._keys = keys
        self._check = check
        self._audit = audit
        self._clock = clock

    async def add(self, new: NewPerson, actor: Actor) -> User:
        """Adds a person, who can sign in once there is a password or the issuer's word for the address.

        Raises:
            InvalidInput: the address or the name can't be used.
            Conflict: someone has the address already.
            NotFound: there is no such department.
        """
        user = User(
            id=new_id(),
            email=normal_email(new.email),
            name=proper_name(new.name, "a person's"),
            role=new.role,
            created_at=self._clock(),
            access_level=new.access_level,
            department_id=new.department_id,
        )
        async with self._audit.change(actor) as change:
            await self._people.add(change.connection, user)
            change.note("user.added", "user", user.id, role=user.role, access_level=user.access_level)
        return user

    async def get(self, user_id: UUID) -> User:
        """The person with this id.

        Raises:
            NotFound: there is none, or the person is erased.
        """
        return _known(await self._people.find(user_id), user_id)

    async def get_by_email(self, email: str) -> User:
        """The person with this address.

        Raises:
            NotFound: there is none.
        """
        normal = normal_email(email)
        user = await self._people.find_by_email(normal)
        if user is None:
            raise NotFound(f"There is no person with the address {normal}. `tidemill users list` shows who there is.")
        return user

    async def page(self, *, limit: int, after: UUID | None) -> Sequence[User]:
        """People after an id, oldest first."""
        return await self._people.page(limit=limit, after=after)

    async def change(self, user_id: UUID, changes: PersonChanges, actor: Actor) -> User:
        """Changes a person. A lesser role, and being disabled, act on sessions and keys within five seconds.

        Raises:
            InvalidInput: the address or the name can't be used.
            NotFound: there is no such person, or no such department.
            Conflict: someone has the address already, or nobody would be an admin any more.
        """
        async with self._audit.change(actor) as change:
            admins = await self._people.lock_admins(change.connection)
            old = _known(await self._people.lock(change.connection, user_id), user_id)
            new = self._changed(old, changes)
            await self._write(change, admins, old, new)
        self._check.forget()
        return new

    async def unlink(self, user_id: UUID, actor: Actor) -> User:
        """Forgets as which subject an issuer knows a person: the next sign-in joins one by the verified address.

        For a person whom the issuer knows anew, and for an issuer that has moved.

        Raises:
            NotFound: there is no such person.
        """
        async with self._audit.change(actor) as change:
            old = _known(await self._people.lock(change.connection, user_id), user_id)
            new = replace(old, oidc_issuer=None, oidc_subject=None)
            if new != old:
                await self._people.update(change.connection, new)
                change.note("user.unlinked", "user", user_id)
        return new

    async def remove(self, user_id: UUID, *, revoke_keys: bool, actor: Actor) -> int:
        """Disables a person for good: no session, key or token of theirs is taken any more. What they made stays.

        Returns how many keys were revoked.

        Raises:
            NotFound: there is no such person.
            Conflict: the person has keys that still work and `revoke_keys` is not set, or is the last admin.
        """
        async with self._audit.change(actor) as change:
            admins = await self._people.lock_admins(change.connection)
            old = _known(await self._people.lock(change.connection, user_id), user_id)
            keys = await self._key_rows.live_of(change.connection, user_id, self._clock())
            if keys and not revoke_keys:
                count = "1 API key that still works" if len(keys) == 1 else f"{len(keys)} API keys that still work"
                raise Conflict(
                    f"The person {user_id} has {count}. Revoke them first, or ask again with `revoke_keys=true` "
                    "to revoke them with the person."
                )
            new = self._changed(old, {"disabled": True})
            await self._write(change, admins, old, new)
            await self._keys.revoke_all(change, keys)
        self._check.forget()
        return len(keys)

    async def keep_an_admin_beside(self, change: Change, user_id: UUID) -> None:
        """For whoever takes a person out by another way: goes on only while someone else is an admin.

        Until the transaction ends, no one else changes who the admins are.

        Raises:
            Conflict: the person is the last admin.
        """
        if await self._people.lock_admins(change.connection) == [user_id]:
            raise _last_admin(user_id)

    async def visible_owners(self, caller: Caller) -> Sequence[UUID]:
        """Whose reviews the caller sees: the caller's own, and those of the people who share a team."""
        if caller.user_id is None:
            return [caller.owner_id]
        return [caller.owner_id, *await self._people.teammates(caller.user_id)]

    async def _write(self, change: Change, admins: Sequence[UUID], old: User, new: User) -> None:
        """Writes what has changed of a person, whose row and whose fellow admins are locked."""
        if new == old:
            return
        _keep_an_admin(admins, old, new)
        await self._people.update(change.connection, new)
        if old.enabled and not new.enabled:
            # Or whoever was to be kept out by it would be in again once the person is enabled.
            await self._session_rows.end_all(change.connection, new.id, self._clock())
        _note(change, old, new)

    def _changed(self, old: User, changes: PersonChanges) -> User:
        new = old
        if "email" in changes:
            new = replace(new, email=normal_email(changes["email"]))
        if "name" in changes:
            new = replace(new, name=proper_name(changes["name"], "a person's"))
        if "role" in changes:
            new = replace(new, role=changes["role"])
        if "access_level" in changes:
            new = replace(new, access_level=changes["access_level"])
        if "department_id" in changes:
            new = replace(new, department_id=changes["department_id"])
        if "disabled" in changes and changes["disabled"] is not (old.disabled_at is not None):
            new = replace(new, disabled_at=self._clock() if changes["disabled"] else None)
        return new


def _known(user: User | None, user_id: UUID) -> User:
    if user is None or user.erased_at is not None:
        raise NotFound(f"There is no person {user_id}.")
    return user


def _keep_an_admin(admins: Sequence[UUID], old: User, new: User) -> None:
    """Refuses a change after which no one is an admin; `admins` are those before it, locked."""
    if list(admins) == [old.id] and not (new.role is Role.ADMIN and new.enabled):
        raise _last_admin(old.id)


def _last_admin(user_id: UUID) -> Conflict:
    return Conflict(
        f"The person {user_id} is the last admin, without whom nobody could administer the hub. "
        "Make another person an admin first."
    )


def _note(change: Change, old: User, new: User) -> None:
    """Tells the audit log what changed; of an address or a name, only that it did."""

    def said(old_value: object, new_value: object) -> dict[str, Json]:
        return {
            "old": None if old_value is None else str(old_value),
            "new": None if new_value is None else str(new_value),
        }

    fields = [field for field in ("email", "name") if getattr(old, field) != getattr(new, field)]
    if fields:
        change.note("user.changed", "user", new.id, fields=fields)
    if old.role is not new.role:
        change.note("user.role_changed", "user", new.id, **said(old.role, new.role))
    if old.access_level is not new.access_level:
        change.note("user.access_level_changed", "user", new.id, **said(old.access_level, new.access_level))
    if old.department_id != new.department_id:
        change.note("user.department_changed", "user", new.id, **said(old.department_id, new.department_id))
    if old.enabled != new.enabled:
        change.note("user.enabled" if new.enabled else "user.disabled", "user", new.id)
