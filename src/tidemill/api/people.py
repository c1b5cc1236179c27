"""People: who there is, who is added, changed and disabled, and what the hub knows of the caller."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tidemill.accounts.people import NewPerson, PersonChanges
from tidemill.api.gate import caller_of
from tidemill.api.pages import After, Limit, Page, ends
from tidemill.api.rights import needs
from tidemill.api.services import Services, services_of
from tidemill.core.accounts import LONGEST_EMAIL, LONGEST_NAME, Right, Role, User
from tidemill.core.audit import Actor
from tidemill.core.classification import Level

router = APIRouter(tags=["people"])


class TeamNamed(BaseModel):
    """A team, by name."""

    id: UUID
    name: str


class Person(BaseModel):
    """A person. `access_level` is the highest level of text that the person may see."""

    id: UUID
    object: Literal["user"] = "user"
    email: str
    name: str
    role: Role
    access_level: Level
    department_id: UUID | None
    teams: list[TeamNamed]
    created_at: datetime
    disabled_at: datetime | None


class PersonPage(Page[Person]):
    """A part of the people, oldest first."""


class PersonRequest(BaseModel):
    """A person to add."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(min_length=3, max_length=LONGEST_EMAIL)
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    role: Role = Role.MEMBER
    access_level: Level = Level.INTERNAL
    department_id: UUID | None = None


class PersonPatch(BaseModel):
    """What is to change of a person. What is absent stays; `department_id: null` takes the person out of any."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = Field(None, min_length=3, max_length=LONGEST_EMAIL)
    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME)
    role: Role | None = None
    access_level: Level | None = None
    department_id: UUID | None = None
    disabled: bool | None = None

    def changes(self) -> PersonChanges:
        """What was given; of null, only a department's."""
        given = self.model_dump(exclude_unset=True)
        kept = {name: value for name, value in given.items() if value is not None or name == "department_id"}
        return cast(PersonChanges, kept)


class DeletedPerson(BaseModel):
    """A person who was disabled for good, and how many keys were revoked with them."""

    id: UUID
    object: Literal["user.deleted"] = "user.deleted"
    deleted: Literal[True] = True
    revoked_keys: int


class Me(BaseModel):
    """Whoever makes the request. `user` is null for a key of the installation; `owner_id` is whose things it makes."""

    object: Literal["me"] = "me"
    owner_id: UUID
    role: Role
    rights: list[Right]
    access_level: Level
    key_id: UUID | None
    session_id: UUID | None
    expires_at: datetime | None
    user: Person | None


@router.get("/me", summary="Who you are", dependencies=[needs(Right.ACCOUNT)])
async def me(request: Request) -> Me:
    """Whoever the key, the session or the token stands for, and what that may do."""
    caller, services = caller_of(request.scope), services_of(request)
    user = None if caller.user_id is None else await services.accounts.people.get(caller.user_id)
    return Me(
        owner_id=caller.owner_id,
        role=caller.role,
        rights=sorted(caller.rights),
        access_level=caller.level,
        key_id=caller.key_id,
        session_id=caller.session_id,
        expires_at=caller.expires_at,
        user=None if user is None else (await _shown(services, [user]))[0],
    )


@router.get("/users", summary="List people", dependencies=[needs(Right.PEOPLE_READ)])
async def list_users(request: Request, limit: Limit = 20, after: After = None) -> PersonPage:
    """People, disabled ones among them, oldest first."""
    services = services_of(request)
    found = await services.accounts.people.page(limit=limit + 1, after=after)
    return PersonPage(data=await _shown(services, found[:limit]), **ends(found, limit))


@router.post("/users", summary="Add a person", dependencies=[needs(Right.PEOPLE_MANAGE)])
async def create_user(request: Request, body: PersonRequest) -> Person:
    """Adds a person, who signs in with a password once one is set, or through the issuer."""
    services = services_of(request)
    new = NewPerson(body.email, body.name, body.role, body.access_level, body.department_id)
    user = await services.accounts.people.add(new, Actor.of(caller_of(request.scope)))
    return (await _shown(services, [user]))[0]


@router.get("/users/{user_id}", summary="One person", dependencies=[needs(Right.PEOPLE_READ)])
async def get_user(request: Request, user_id: UUID) -> Person:
    """One person."""
    services = services_of(request)
    return (await _shown(services, [await services.accounts.people.get(user_id)]))[0]


@router.patch("/users/{user_id}", summary="Change a person", dependencies=[needs(Right.PEOPLE_MANAGE)])
async def change_user(request: Request, user_id: UUID, body: PersonPatch) -> Person:
    """Changes a person. A lesser role and `disabled` act on sessions, keys and tokens within five seconds."""
    services = services_of(request)
    user = await services.accounts.people.change(user_id, body.changes(), Actor.of(caller_of(request.scope)))
    return (await _shown(services, [user]))[0]


@router.delete("/users/{user_id}", summary="Disable a person for good", dependencies=[needs(Right.PEOPLE_MANAGE)])
async def delete_user(
    request: Request,
    user_id: UUID,
    revoke_keys: Annotated[bool, Query(description="Revoke the person's keys, too.")] = False,
) -> DeletedPerson:
    """Disables a person, whose work stays. A person with keys that still work is refused without `revoke_keys`."""
    revoked = await services_of(request).accounts.people.remove(
        user_id, revoke_keys=revoke_keys, actor=Actor.of(caller_of(request.scope))
    )
    return DeletedPerson(id=user_id, revoked_keys=revoked)


async def _shown(services: Services, users: Sequence[User]) -> list[Person]:
    teams = await services.accounts.teams.teams_of([user.id for user in users])
    return [
        Person(
            id=user.id,
            email=user.email or "",
            name=user.name or "",
            role=user.role,
            access_level=user.access_level,
            department_id=user.department_id,
            teams=[TeamNamed(id=team.id, name=team.name) for team in teams[user.id]],
            created_at=user.created_at,
            disabled_at=user.disabled_at,
        )
        for user in users
    ]
