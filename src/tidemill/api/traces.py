"""Traces: what was done for a request, as far as this process still has it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.classification import Level
from tidemill.core.errors import NotFound
from tidemill.telemetry.trace_tree import TraceShown, shown

router = APIRouter(tags=["telemetry"])


class TraceSummary(BaseModel):
    """A trace's first span, and how many there are."""

    trace_id: str
    name: str
    started_at: str
    duration_ms: float | None
    error: str | None
    spans: int


class TraceList(BaseModel):
    """The newest traces first."""

    object: Literal["list"] = "list"
    data: list[TraceSummary]


@router.get("/traces", summary="The last traces", dependencies=[needs(Right.METRICS_READ)])
async def list_traces(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> TraceList:
    """The traces that this process keeps, the newest first. Each process keeps its own."""
    found = [shown(trace, content=False) for trace in services_of(request).traces.newest(limit)]
    return TraceList(
        data=[
            TraceSummary(
                trace_id=one.trace_id,
                name=one.spans[0].name,
                started_at=one.started_at.isoformat(timespec="milliseconds"),
                duration_ms=one.duration_ms,
                error=next((span.error for span in one.spans if span.error), None),
                spans=len(one.spans) + one.dropped,
            )
            for one in found
        ]
    )


@router.get("/traces/{trace_id}", summary="One trace", dependencies=[needs(Right.METRICS_READ)])
async def get_trace(request: Request, trace_id: str) -> TraceShown:
    """Every span of a trace, with times in milliseconds.

    What was asked and answered is in it only where the setting `telemetry.trace_content` says so, and then only for
    those who may see texts of every level.
    """
    trace = services_of(request).traces.find(trace_id.lower())
    if trace is None:
        raise NotFound(
            f"This hub has no trace {trace_id[:64]}. Each process keeps its own last `telemetry.traces_kept` traces in "
            "memory."
        )
    return shown(trace, content=caller_of(request.scope).level is Level.SECRET)
