"""`/v1/responses`, as OpenAI's API has it. `responses_schema` says what a request may hold."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from tidemill.api.answering import asker_of, chunks_of, headers_of, json_bytes, loading, served_by
from tidemill.api.gate import caller_of
from tidemill.api.request_body import json_body, parsed
from tidemill.api.responses_schema import SCHEMA, parse_response
from tidemill.api.rights import needs
from tidemill.api.services import Services, services_of
from tidemill.api.streaming import ClientGone, EventStream, begin, while_connected
from tidemill.core.accounts import Right
from tidemill.core.errors import InvalidInput
from tidemill.core.json import JsonObject
from tidemill.flows.responses import Exchange

router = APIRouter(tags=["responses"])


class InputItems(BaseModel):
    """Items that a response was asked for with; `has_more` where the list goes on after `last_id`."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class Deleted(BaseModel):
    """A response that is gone."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


@router.post(
    "/responses",
    summary="Respond to items",
    dependencies=[needs(Right.MODELS_USE)],
    response_description="A `response`, or with `stream` the server-sent events that lead to one.",
    openapi_extra=json_body(SCHEMA),
)
async def create_response(request: Request) -> Response:
    """Answers with the named model, whole or streamed, and stores the response unless `store` is false."""
    services = services_of(request)
    asked = await parsed(parse_response, await request.body())
    exchange = await services.responses.prepare(asked, caller_of(request.scope), asker_of(request))
    try:
        if asked.get("stream"):
            return await _streamed(services, request, exchange)
        response, served = await while_connected(request, services.responses.answer(exchange))
    except ClientGone:
        return Response(status_code=499)
    return Response(json_bytes(response), 200, headers_of([exchange.chat], served), "application/json")


@router.get("/responses/{response_id}", summary="A stored response", dependencies=[needs(Right.MODELS_USE)])
async def get_response(request: Request, response_id: str) -> dict[str, Any]:
    """One of the caller's own responses, as it was answered."""
    return dict((await services_of(request).responses.get(response_id, caller_of(request.scope))).response)


@router.delete("/responses/{response_id}", summary="Delete a response", dependencies=[needs(Right.MODELS_USE)])
async def delete_response(request: Request, response_id: str) -> Deleted:
    """Deletes one of the caller's own responses. What goes on from it can't be gone on from any more."""
    await services_of(request).responses.delete(response_id, caller_of(request.scope))
    return Deleted(id=response_id)


@router.get(
    "/responses/{response_id}/input_items",
    summary="What a response was asked for with",
    dependencies=[needs(Right.MODELS_USE)],
)
async def list_input_items(
    request: Request,
    response_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=200)] = None,
) -> InputItems:
    """The response's own items, without those of the responses that it goes on from."""
    row = await services_of(request).responses.get(response_id, caller_of(request.scope))
    items = [dict(item) for item in (row.input if order == "asc" else reversed(row.input))]
    if after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidInput(f"This response has no input item {after[:60]!r}.", param="after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    first, last = (str(page[0]["id"]), str(page[-1]["id"])) if page else ("", "")
    return InputItems(data=page, first_id=first, last_id=last, has_more=len(items) > limit)


async def _streamed(services: Services, request: Request, exchange: Exchange) -> Response:
    chunks = services.responses.stream(exchange)
    first = await begin(request, chunks, may_wait=loading(services, exchange.chat.model))
    events = services.responses.events(exchange, chunks_of(first, chunks, exchange.chat.model))
    return EventStream(_written(events), headers_of([exchange.chat], served_by(first)))


async def _written(events: AsyncGenerator[JsonObject | bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            if isinstance(event, bytes):
                yield event
            else:
                yield f"event: {event['type']}\ndata: ".encode() + json_bytes(event) + b"\n\n"
    finally:
        await events.aclose()
