"""What the guardrails found."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict

from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.guardrail import Action, Direction, Guardrail

router = APIRouter(tags=["guardrails"])


class GuardrailEventShown(BaseModel):
    """What one guardrail found in one request or answer, and did about it; nothing of the text is kept.

    `owner_id` is to whom the inference belongs, `count` how many findings there were.
    """

    model_config = ConfigDict(from_attributes=True)

    object: Literal["guardrail.event"] = "guardrail.event"
    id: UUID
    inference_id: UUID
    owner_id: UUID | None
    task: str
    guardrail: Guardrail
    direction: Direction
    action: Action
    rules: list[str]
    count: int
    created_at: datetime


class GuardrailEventList(BaseModel):
    """Events, newest first; `last_id` is the next request's `before`."""

    object: Literal["list"] = "list"
    data: list[GuardrailEventShown]
    last_id: UUID | None
    has_more: bool


@router.get("/guardrails/events", summary="What the guardrails found", dependencies=[needs(Right.METRICS_READ)])
async def list_guardrail_events(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Annotated[UUID | None, Query(description="The `last_id` of the answer before.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Events from this time on.")] = None,
    guardrail: Annotated[Guardrail | None, Query(description="Those of one guardrail.")] = None,
    inference_id: Annotated[UUID | None, Query(description="Those of one inference.")] = None,
) -> GuardrailEventList:
    """What the guardrails found in everybody's requests and answers, newest first."""
    found = await services_of(request).guardrails.page(
        limit=limit + 1, before=before, since=since, guardrail=guardrail, inference_id=inference_id
    )
    shown = [GuardrailEventShown.model_validate(event) for event in found[:limit]]
    return GuardrailEventList(data=shown, last_id=shown[-1].id if shown else None, has_more=len(found) > limit)
