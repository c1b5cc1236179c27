"""API keys: made, rotated, listed and revoked. Only a keyed hash of each is stored."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tidemill.accounts.audit import Audit, Change
from tidemill.accounts.key_check import KeyCheck, caller_of_key
from tidemill.core.accounts import ApiKey, Caller, Right, Role, User, narrowed, proper_name
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import Conflict, InvalidInput, NotFound, NotPermitted
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.database import Connection
from tidemill.store.people import PeopleRepository

PREFIX = "tm-"
LOCAL_KEY = "local commands"
"""The name of the key that a hub makes for its own machine's commands, valid while it runs."""
LONGEST_GRACE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=10_000)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made, with the secret that is shown this once."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a key is to be.

    Attributes:
        role: the most that it may do; `None` for a member's, or its owner's or maker's where that is less.
        owner_id: the person to whom it will belong; `None` for the installation.
        scopes: the rights to which it is narrowed; `None` for all of its role's.
        expires_at: from when on it is refused; `None` for never.
    """

    name: str
    role: Role | None = None
    owner_id: UUID | None = None
    scopes: frozenset[Right] | None = None
    expires_at: datetime | None = None


class ApiKeys:
    """The service for API keys.

    Args:
        repository: their rows.
        people: the rows of those to whom they belong.
        check: says whose a key is.
        audit: hears of each change.
        clock: gives their times.
    """

    def __init__(
        self, repository: ApiKeyRepository, people: PeopleRepository, *, check: KeyCheck, audit: Audit, clock: Clock
    ) -> None:
        self._repository = repository
        self._people = people
        self._check = check
        self.check = check.check
        self.check_id = check.check_id
        self.write_uses = check.write_uses
        self._audit = audit
        self._clock = clock

    async def create(self, wanted: Wanted, actor: Actor) -> NewApiKey:
        """Makes a key, for whoever may make any: a command on the hub's machine, or the hub.

        Raises:
            InvalidInput: its name, scopes or end make no sense, or its role is above its owner's.
            NotFound: there is no such owner.
            Conflict: the owner is disabled.
        """
        async with self._audit.change(actor) as change:
            return await self._add(change, wanted, Role.MEMBER)

    async def create_as(self, caller: Caller, wanted: Wanted) -> NewApiKey:
        """Makes a key by request. It can do no more than its maker, and lives no longer.

        Raises:
            InvalidInput, NotFound, Conflict: as for `create`.
            NotPermitted: it would do more, live longer, or belong to another.
        """
        if wanted.name.strip() == LOCAL_KEY:
            raise InvalidInput(f"`{LOCAL_KEY}` is the name of the hub's own key. Choose another.", param="name")
        if not caller.may(Right.KEYS_MANAGE) and (caller.user_id is None or wanted.owner_id != caller.user_id):
            raise NotPermitted(
                f"A key for another person, or for none, needs the right `{Right.KEYS_MANAGE}`. "
                "Ask an admin to make it, or make one that is your own."
            )
        async with self._audit.change(Actor.of(caller)) as change:
            made = await self._add(change, wanted, caller.role.at_most(Role.MEMBER))
            self._refuse_more(caller, made.key)
            return made

    async def rotate(self, key_id: UUID, *, grace: timedelta, actor: Actor, caller: Caller | None = None) -> NewApiKey:
        """Makes a key like this one, which ends after the grace; at once where there is none.

        The new key ends when the old one would have, and has its role, or its owner's where that is less by now.
        `caller` is whoever asks by request.

        Raises:
            NotFound: there is no such key, or it is another's.
            Conflict: it is revoked, expired or rotated already, or its owner is disabled.
            NotPermitted: the caller may do less than the key, or ends before it.
        """
        if not timedelta(0) <= grace <= LONGEST_GRACE:
            raise InvalidInput(f"The old key can go on for {LONGEST_GRACE.days} days at most.", param="grace_seconds")
        now = self._clock()
        found = await self._repository.find(key_id)
        owner_id = self._visible(found[0] if found else None, key_id, caller).owner_id
        async with self._audit.change(actor) as change:
            # Everyone who locks a person and a key locks the person first.
            owner = await self._owner(change.connection, owner_id)
            old = self._visible(await self._repository.lock(change.connection, key_id), key_id, caller)
            if old.replaced_by is not None or not old.live(now):
                state = "was rotated already" if old.replaced_by is not None else "is revoked or has expired"
                raise Conflict(f"The key {key_id} {state}. Make a new one with `tidemill keys create NAME`.")
            role = old.role if owner is None else old.role.at_most(owner.role)
            again = Wanted(old.name, role, old.owner_id, old.scopes, old.expires_at)
            made = await self._add(change, again, role, rotated=old)
            if caller is not None:
                self._refuse_more(caller, made.key)
            ends = now + grace if old.expires_at is None else min(now + grace, old.expires_at)
            await self._repository.replace(change.connection, old.id, made.key.id, ends)
            change.note("key.rotated", "key", old.id, by=str(made.key.id), grace_seconds=int(grace.total_seconds()))
        self._check.forget()
        return made

    async def list(self) -> list[ApiKey]:
        """Every key, oldest first, without secrets."""
        return await self._repository.list()

    async def page(self, caller: Caller, *, owner_id: UUID | None, limit: int, after: UUID | None) -> Sequence[ApiKey]:
        """The caller's own keys, or everyone's with the right `keys.manage`; of one owner where one is given."""
        if not caller.may(Right.KEYS_MANAGE):
            if caller.user_id is None or owner_id not in {None, caller.user_id}:
                return []
            owner_id = caller.user_id
        return await self._repository.page(owner_id=owner_id, limit=limit, after=after)

    async def count_live(self, owner_id: UUID) -> int:
        """How many of a person's keys are neither revoked nor expired."""
        return await self._repository.count_live(owner_id, self._clock())

    async def revoke(self, key: str, actor: Actor) -> ApiKey:
        """Revokes the key with this id, or else the only live one whose name or prefix this is.

        Raises:
            NotFound: no such key, or more than one, is meant.
        """
        meant = await self.meant(key)
        await self.revoke_id(meant.id, actor)
        return meant

    async def meant(self, key: str) -> ApiKey:
        """The unrevoked key with this id, or else the only live one whose name or prefix this is.

        Raises:
            NotFound: no such key, or more than one, is meant.
        """
        keys = [one for one in await self._repository.list() if one.revoked_at is None]
        now = self._clock()
        # An id comes first, since a key may be called by the id of another; what has ended is meant by its id alone.
        meant = [one for one in keys if key == str(one.id)] or [
            one for one in keys if one.live(now) and key in {one.name, one.prefix}
        ]
        if len(meant) != 1:
            count = "No" if not meant else f"{len(meant)}"
            raise NotFound(f"{count} keys that work are called {key!r}. `tidemill keys list` shows their ids.")
        return meant[0]

    async def revoke_id(self, key_id: UUID, actor: Actor) -> None:
        """Revokes a key by its id; nothing happens where it is revoked already."""
        async with self._audit.change(actor) as change:
            await self._revoke(change, key_id)
        self._check.forget()

    async def revoke_as(self, caller: Caller, key_id: UUID) -> None:
        """Revokes a key by request.

        Raises:
            NotFound: there is no such key, or it is another's.
            Conflict: nobody could administer the hub any more.
        """
        async with self._audit.change(Actor.of(caller)) as change:
            admins = await self._people.lock_admins(change.connection)
            key = self._visible(await self._repository.lock(change.connection, key_id), key_id, caller)
            if not admins and self._administers(key):
                await self._keep_an_admin_key(change.connection, key)
            await self._revoke(change, key_id)
        self._check.forget()

    async def revoke_all(self, change: Change, keys: Sequence[ApiKey]) -> None:
        """Revokes keys as a part of another change; call `KeyCheck.forget` after it."""
        for key in keys:
            await self._revoke(change, key.id)

    async def _revoke(self, change: Change, key_id: UUID) -> None:
        if await self._repository.revoke(change.connection, key_id, self._clock()):
            change.note("key.revoked", "key", key_id)

    async def _add(self, change: Change, wanted: Wanted, usual: Role, *, rotated: ApiKey | None = None) -> NewApiKey:
        now = self._clock()
        if wanted.expires_at is not None and wanted.expires_at <= now:
            raise InvalidInput("The key would have expired already. Give a time to come.", param="expires_at")
        if wanted.expires_at is not None and wanted.expires_at - now > LONGEST_LIFE:
            raise InvalidInput(
                f"A key ends within {LONGEST_LIFE.days:,} days, or never. Leave the end out for never.",
                param="expires_at",
            )
        if wanted.scopes is not None and not wanted.scopes:
            raise InvalidInput("A key with no scope could do nothing. Name one, or leave them out.", param="scopes")
        owner = await self._owner(change.connection, wanted.owner_id)
        role = wanted.role or (usual if owner is None else usual.at_most(owner.role))
        if owner is not None and owner.role.at_most(role) is not role:
            raise InvalidInput(
                f"The key's owner is a {owner.role}, and a key can do no more than its owner. "
                f"Make it a {owner.role}'s key.",
                param="role",
            )
        if not narrowed(role, wanted.scopes):
            raise InvalidInput(
                f"A {role}'s key with these scopes alone could do nothing: a {role} has none of these rights. "
                "Name others, or another role.",
                param="scopes",
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(
            id=new_id(),
            name=proper_name(wanted.name, "a key's"),
            role=role,
            prefix=secret[:8],
            created_at=now,
            owner_id=wanted.owner_id,
            scopes=wanted.scopes,
            expires_at=wanted.expires_at,
            origin_id=None if rotated is None else rotated.origin_id or rotated.id,
        )
        await self._repository.add(change.connection, key, self._check.hash(secret))
        told = _told(key) if rotated is None else {**_told(key), "rotated_from": str(rotated.id)}
        change.note("key.created", "key", key.id, **told)
        return NewApiKey(key, secret)

    async def _owner(self, connection: Connection, owner_id: UUID | None) -> User | None:
        if owner_id is None:
            return None
        owner = await self._people.lock(connection, owner_id)
        if owner is None or owner.erased_at is not None:
            raise NotFound(f"There is no person {owner_id} to own a key.", param="owner_id")
        if not owner.enabled:
            raise Conflict(f"The person {owner_id} is disabled, so the key could not be used. Enable the person first.")
        return owner

    @staticmethod
    def _visible(key: ApiKey | None, key_id: UUID, caller: Caller | None) -> ApiKey:
        """The key, where the caller may know of it."""
        known = caller is None or caller.may(Right.KEYS_MANAGE)
        if key is None or not (known or (caller is not None and key.owner_id == caller.user_id is not None)):
            raise NotFound(f"There is no key {key_id}.")
        return key

    @staticmethod
    def _refuse_more(caller: Caller, key: ApiKey) -> None:
        """Refuses a key that could do or see more than whoever asks for it, or live longer."""
        more = narrowed(key.role, key.scopes) - caller.rights
        if more:
            raise NotPermitted(
                f"The key would have rights that the one who asks does not have: {', '.join(sorted(more))}. "
                "Give it a lesser role, or `scopes` within your own."
            )
        seen = caller_of_key(key, None).level if key.owner_id is None else caller.level
        if seen.rank > caller.level.rank and not caller.may(Right.PEOPLE_MANAGE):
            raise NotPermitted(
                f"The key would see texts up to `{seen}`, and the one who asks sees them up to `{caller.level}`. "
                "Give it a lesser role."
            )
        if caller.expires_at is not None and (key.expires_at is None or key.expires_at > caller.expires_at):
            raise NotPermitted(
                f"The key would live longer than the one by which it is asked for, which ends at "
                f"{caller.expires_at.isoformat(timespec='seconds')}. Let it end by then, or sign in to make it."
            )

    def _administers(self, key: ApiKey) -> bool:
        """Whether the hub can be administered with this key from now on, by whoever holds it."""
        lasting = key.live(self._clock()) and key.replaced_by is None and key.name != LOCAL_KEY
        return lasting and key.owner_id is None and key.role is Role.ADMIN and key.scopes is None

    async def _keep_an_admin_key(self, connection: Connection, key: ApiKey) -> None:
        keys = await self._repository.live_of(connection, None, self._clock())
        if not any(self._administers(one) for one in keys if one.id != key.id):
            raise Conflict(
                "This is the last admin key, and no person is an admin: nobody could administer the hub. "
                "Add an admin first (`tidemill users add EMAIL --role admin`), or another admin key."
            )


def _told(key: ApiKey) -> dict[str, Json]:
    """What the audit log is told of a key: nothing that a person wrote."""
    return {
        "role": key.role,
        "owner_id": str(key.owner_id) if key.owner_id else None,
        "scopes": None if key.scopes is None else sorted(key.scopes),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }
