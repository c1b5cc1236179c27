"""Whether the hub lives, whether it can work, and its metrics."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from tidemill import __version__
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.telemetry.exposition import CONTENT_TYPE

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The hub lives."""

    status: Literal["ok"] = "ok"
    version: str = __version__


@router.get("/health", summary="Whether the hub lives")
async def health() -> Health:
    """Answers as long as the process does. Needs no key."""
    return Health()


@router.get("/ready", summary="Whether the hub can work")
async def ready(request: Request) -> Health:
    """Answers 200 when the database does too, else 503 with what is missing. Needs no key."""
    await services_of(request).ready()
    return Health()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    dependencies=[needs(Right.METRICS_READ)],
)
async def metrics(request: Request) -> Response:
    """What every process of the installation counts, in Prometheus' text format. Needs the right `metrics.read`."""
    return Response(await services_of(request).metrics_page(), media_type=CONTENT_TYPE)
