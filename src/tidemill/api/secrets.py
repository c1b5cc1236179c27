"""Secrets: their names are listed, their values set and never read."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor

router = APIRouter(tags=["secrets"])


class SecretShown(BaseModel):
    """A secret that is stored, without its value. `key_id` names the key that it is encrypted under."""

    object: str = "secret"
    name: str
    key_id: str
    updated_at: datetime


class SecretList(BaseModel):
    """All secrets."""

    object: str = "list"
    data: list[SecretShown]


class SecretValue(BaseModel):
    """What is to be kept secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    value: SecretStr = Field(min_length=1, max_length=65_536)


@router.get("/secrets", summary="The names of the secrets", dependencies=[needs(Right.SECRETS_MANAGE)])
async def list_secrets(request: Request) -> SecretList:
    """Every secret's name; no value leaves the hub."""
    found = await services_of(request).secrets.names()
    return SecretList(data=[SecretShown(name=one.name, key_id=one.key_id, updated_at=one.updated_at) for one in found])


@router.put("/secrets/{name}", status_code=204, summary="Set a secret", dependencies=[needs(Right.SECRETS_MANAGE)])
async def put_secret(request: Request, name: str, body: SecretValue) -> Response:
    """Stores a secret encrypted, in the place of one of its name."""
    actor = Actor.of(caller_of(request.scope))
    await services_of(request).secrets.put(name, body.value.get_secret_value(), actor)
    return Response(status_code=204)


@router.delete(
    "/secrets/{name}", status_code=204, summary="Delete a secret", dependencies=[needs(Right.SECRETS_MANAGE)]
)
async def delete_secret(request: Request, name: str) -> Response:
    """Deletes a secret."""
    await services_of(request).secrets.delete(name, Actor.of(caller_of(request.scope)))
    return Response(status_code=204)
