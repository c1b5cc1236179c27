"""Deliveries of forges' webhooks. Whoever knows the webhook's secret may send them; nothing else is open to them."""

import asyncio
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Request, Response
from pydantic import BaseModel

from tidemill.api.request_body import json_body
from tidemill.api.services import services_of
from tidemill.core.errors import InvalidInput, TooLarge, TooManyRequests
from tidemill.flows.deliveries import Taken
from tidemill.forges.webhooks import LARGEST_DELIVERY

READ_SECONDS = 30.0
"""In which a body has to have come: a forge gives up after ten."""
LARGE_BYTES = 1_000_000
PACE = 1_000_000
"""Bytes per second at which a large body has to come, after some seconds of grace."""
GRACE_SECONDS = 5.0

router = APIRouter(tags=["webhooks"])


class DeliveryTaken(BaseModel):
    """What became of a delivery: `known` came before, `ignored` tells of nothing that is acted on."""

    object: Literal["delivery"] = "delivery"
    state: Taken


BODY = json_body({"type": "object", "description": "What the forge sends for its event."})
QUEUED: dict[int | str, dict[str, Any]] = {202: {"model": DeliveryTaken, "description": "Work was queued."}}


@router.post("/webhooks/{forge}", summary="Take a forge's delivery", openapi_extra=BODY, responses=QUEUED)
async def take_delivery(request: Request, response: Response, later: BackgroundTasks, forge: str) -> DeliveryTaken:
    """From the forge of this name, or the only one of this kind. Needs no key: the delivery's signature is checked.

    202 where work was queued; 200 where there is nothing to do, as for a delivery that came before.
    """
    return await _take(request, response, later, forge)


@router.post("/webhook/pull-request", summary="Take any forge's delivery", openapi_extra=BODY, responses=QUEUED)
async def take_any_delivery(
    request: Request, response: Response, later: BackgroundTasks, forge: str | None = None
) -> DeliveryTaken:
    """As `POST /webhooks/{forge}`; which kind of forge it is, the headers tell."""
    return await _take(request, response, later, forge)


async def _take(request: Request, response: Response, later: BackgroundTasks, forge: str | None) -> DeliveryTaken:
    deliveries = services_of(request).deliveries
    headers = {name.lower(): value for name, value in request.headers.items()}
    sender = deliveries.sender(request.query_params.get("forge") or forge, headers)
    with SpooledTemporaryFile(max_size=LARGE_BYTES) as kept:
        size = await _receive(request, kept, deliveries.arriving)
        kept.seek(0)
        if size <= LARGE_BYTES:
            receipt = await deliveries.take(sender, headers, kept.read())
        else:
            async with deliveries.large:
                receipt = await deliveries.take(sender, headers, await asyncio.to_thread(kept.read))
    if receipt.id is not None:
        later.add_task(deliveries.queue, receipt.id)
    response.status_code = 202 if receipt.taken is Taken.QUEUED else 200
    return DeliveryTaken(state=receipt.taken)


async def _receive(request: Request, kept: IO[bytes], arriving: asyncio.Semaphore) -> int:
    """Keeps the raw body, which is what was signed; on the disk where it is large. Returns its bytes.

    Who sends it is known only when it has come. So a large one takes no memory until then, and has to come at a pace:
    whoever sends slowly would else keep others from sending.
    """
    size, large = 0, False
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + READ_SECONDS) as limit:
            async for part in request.stream():
                kept.write(part)
                size += len(part)
                if size > LARGEST_DELIVERY:
                    raise TooLarge(f"A delivery has at most {LARGEST_DELIVERY:,} bytes.")
                if size > LARGE_BYTES and not large:
                    if arriving.locked():
                        raise TooManyRequests("Many large deliveries are coming in. Send it again.", retry_after=5)
                    large = await arriving.acquire()
                    since = asyncio.get_running_loop().time() + GRACE_SECONDS
                if large:
                    limit.reschedule(min(began + READ_SECONDS, since + (size - LARGE_BYTES) / PACE))
    except TimeoutError:
        raise InvalidInput(
            f"The delivery did not come within {READ_SECONDS:g} s, or came at less than {PACE:,} bytes per second."
        ) from None
    finally:
        if large:
            arriving.release()
    return size
