"""API keys by request: a member's own, and everyone's with the right `keys.manage`."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tidemill.accounts.api_keys import LONGEST_GRACE, NewApiKey, Wanted
from tidemill.api.gate import caller_of
from tidemill.api.pages import After, Limit, Page, ends
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import LONGEST_NAME, ApiKey, Right, Role
from tidemill.core.audit import Actor

DAY_SECONDS = 86_400

router = APIRouter(tags=["keys"])


class Key(BaseModel):
    """An API key, without its secret; `prefix` is how that begins.

    `owner_id` is null for a key of the installation, `scopes` for one that has all the rights of its role, `expires_at`
    for one that does not end. `replaced_by` is the key into which it was rotated.
    """

    id: UUID
    object: Literal["key"] = "key"
    name: str
    prefix: str
    role: Role
    scopes: list[Right] | None
    owner_id: UUID | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: UUID | None


class NewKey(Key):
    """An API key just made; `key` is its secret, and is shown in this answer alone."""

    key: str


class KeyPage(Page[Key]):
    """A part of the keys, oldest first."""


class KeyRequest(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="What the key is for.")
    role: Role | None = Field(None, description="The most that it may do; a member's or your own when absent.")
    owner_id: UUID | None = Field(
        None, description="To whom it belongs: yourself when absent. Null is the installation; it needs `keys.manage`."
    )
    scopes: list[Right] | None = Field(None, description="The rights to which it is narrowed.")
    expires_at: AwareDatetime | None = Field(None, description="When it ends; never when absent.")


class Rotation(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: int = Field(
        DAY_SECONDS, ge=0, le=int(LONGEST_GRACE.total_seconds()), description="How long the old key goes on."
    )


class DeletedKey(BaseModel):
    """A key that was revoked."""

    id: UUID
    object: Literal["key.deleted"] = "key.deleted"
    deleted: Literal[True] = True


@router.get("/keys", summary="List API keys", dependencies=[needs(Right.KEYS_OWN)])
async def list_keys(
    request: Request,
    limit: Limit = 20,
    after: After = None,
    owner_id: Annotated[UUID | None, Query(description="The keys of this person alone.")] = None,
) -> KeyPage:
    """Your own keys; everyone's with the right `keys.manage`. Revoked and expired ones are among them."""
    caller = caller_of(request.scope)
    found = await services_of(request).keys.page(caller, owner_id=owner_id, limit=limit + 1, after=after)
    return KeyPage(data=[Key(**_fields(key)) for key in found[:limit]], **ends(found, limit))


@router.post("/keys", summary="Make an API key", dependencies=[needs(Right.KEYS_OWN)])
async def create_key(request: Request, body: KeyRequest) -> NewKey:
    """Makes a key that can do no more than you, and that ends no later than what you call with.

    A key for another person, or for the installation, needs the right `keys.manage`.
    """
    caller = caller_of(request.scope)
    owner_id = body.owner_id if "owner_id" in body.model_fields_set else caller.user_id
    scopes = None if body.scopes is None else frozenset(body.scopes)
    wanted = Wanted(body.name, body.role, owner_id, scopes, body.expires_at)
    return _new(await services_of(request).keys.create_as(caller, wanted))


@router.post("/keys/{key_id}/rotate", summary="Rotate an API key", dependencies=[needs(Right.KEYS_OWN)])
async def rotate_key(request: Request, key_id: UUID, body: Rotation) -> NewKey:
    """Makes a key like this one; the old one goes on for `grace_seconds`, so that its users can change over."""
    caller = caller_of(request.scope)
    grace = timedelta(seconds=body.grace_seconds)
    return _new(await services_of(request).keys.rotate(key_id, grace=grace, actor=Actor.of(caller), caller=caller))


@router.delete("/keys/{key_id}", summary="Revoke an API key", dependencies=[needs(Right.KEYS_OWN)])
async def delete_key(request: Request, key_id: UUID) -> DeletedKey:
    """Revokes a key. Every hub refuses it within five seconds."""
    await services_of(request).keys.revoke_as(caller_of(request.scope), key_id)
    return DeletedKey(id=key_id)


def _new(made: NewApiKey) -> NewKey:
    return NewKey(**_fields(made.key), key=made.secret)


def _fields(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "scopes": None if key.scopes is None else sorted(key.scopes),
        "owner_id": key.owner_id,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "replaced_by": key.replaced_by,
    }
