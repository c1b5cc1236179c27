"""A trace as values that can be sent, and as a text for a person."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tidemill.telemetry.spans import Attribute, Span, Trace

CONTENT = frozenset({"gen_ai.input.messages", "gen_ai.output.messages"})
"""The attributes that hold what was said, where the setting allows any to."""
NAME_WIDTH = 44
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class SpanShown:
    """A span. Times are milliseconds, `start_ms` since the trace's first span; `None` for what has not ended."""

    span_id: str
    parent_id: str | None
    name: str
    start_ms: float
    duration_ms: float | None
    error: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    events: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True, slots=True)
class TraceShown:
    """A trace, its spans in the order in which they began. `dropped` were too many to keep."""

    trace_id: str
    started_at: datetime
    duration_ms: float | None
    spans: Sequence[SpanShown]
    dropped: int = 0


def shown(trace: Trace, *, content: bool) -> TraceShown:
    """The trace as it stands now; with `content` also what was said, where its spans hold it."""
    first = min(span.started for span in trace.spans)
    ends = [span.ended for span in trace.spans]
    last = None if None in ends else max(end for end in ends if end is not None)
    return TraceShown(
        trace_id=trace.trace_id,
        started_at=datetime.fromtimestamp((first + trace.anchor) / 1e9, UTC),
        duration_ms=None if last is None else _ms(last - first),
        spans=[_span(span, first, content=content) for span in trace.spans],
        dropped=trace.dropped,
    )


def tree(trace: TraceShown) -> str:
    """The spans of a trace, one a line, each under the one within which it was done, with times in milliseconds.

    A span whose parent is not here, such as the client's own, stands at the left.
    """
    below: dict[str | None, list[SpanShown]] = defaultdict(list)
    known = {span.span_id for span in trace.spans}
    for span in trace.spans:
        below[span.parent_id if span.parent_id in known else None].append(span)
    lines = [f"trace {trace.trace_id}  {trace.started_at.isoformat(timespec='milliseconds')}"]
    lines.append(f"{'':{NAME_WIDTH}}{'start':>10}{'ms':>11}")
    waiting = [(span, 0) for span in reversed(below[None])]
    while waiting:
        span, depth = waiting.pop()
        lines += _lines(span, depth)
        waiting += [(child, depth + 1) for child in reversed(below[span.span_id])]
    if trace.dropped:
        lines.append(f"… and {trace.dropped} more spans, which were not kept.")
    return "\n".join(lines)


def _lines(span: SpanShown, depth: int) -> list[str]:
    duration = "running" if span.duration_ms is None else f"{span.duration_ms:.2f}"
    said = [f"error={span.error}"] if span.error else []
    said += [f"{name}={_text(value)}" for name, value in span.attributes.items()]
    head = f"{'  ' * depth}{span.name}"
    lines = [f"{head:{NAME_WIDTH}}{span.start_ms:>10.2f}{duration:>11}  {' '.join(said)}".rstrip()]
    for name, at in span.events:
        event = f"{'  ' * (depth + 1)}· {name}"
        lines.append(f"{event:{NAME_WIDTH}}{at:>10.2f}")
    return lines


def _span(span: Span, first: int, *, content: bool) -> SpanShown:
    return SpanShown(
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        start_ms=_ms(span.started - first),
        duration_ms=None if span.ended is None else _ms(span.ended - span.started),
        error=span.error,
        attributes={name: value for name, value in span.attributes.items() if content or name not in CONTENT},
        events=[(name, _ms(at - first)) for at, name in span.events],
    )


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / MILLION, 3)


def _text(value: Attribute) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return f'"{text}"' if " " in text else text
