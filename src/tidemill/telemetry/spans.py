"""Spans: what was done for a request, when, and within what.

A span is a few slots and one entry of a list, since every request makes about ten of them: on the machine of
docs/benchmarks.md OpenTelemetry's own took 29 µs each, these take 8. `otlp` makes OpenTelemetry's spans of
them where they are sent somewhere.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tidemill.core.errors import TidemillError
from tidemill.core.ids import new_id

Attribute = str | int | float | bool | tuple[str, ...]
Export = Callable[["Span"], None]

MOST_SPANS = 1000
"""Of one trace; more are counted and left out. A client may send thousands of requests in one trace."""
SPANS_EACH = 40
"""Times the traces that are kept, the spans that are: a request has about ten, and some 700 bytes each."""
HEX = frozenset("0123456789abcdef")
CANCELLED = "cancelled"

_current: ContextVar["Span | None"] = ContextVar("tidemill_span", default=None)


@dataclass(frozen=True, slots=True)
class Parent:
    """The caller's own span, as its W3C `traceparent` names it: https://www.w3.org/TR/trace-context/."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(header: str | None) -> Parent | None:
    """The caller's span; `None` where there is none or it can't be read, in which case a trace of our own begins."""
    parts = (header or "").strip().split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not HEX.issuperset("".join(parts[:4])):
        return None
    version, trace_id, span_id, flags = parts[:4]
    later = version != "00"
    if version == "ff" or (len(parts) > 4 and not later) or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & 1))


class Trace:
    """All spans of one trace id in this process, in the order in which they began.

    Attributes:
        anchor: nanoseconds that make Unix time of a span's monotonic one.
        sampled: whether its spans are sent anywhere; `Traces` keeps them either way.
        dropped: spans over `MOST_SPANS`.
    """

    __slots__ = ("anchor", "dropped", "export", "keep", "sampled", "spans", "trace_id")

    def __init__(self, trace_id: str, keep: Callable[["Trace"], None], export: Export | None, *, sampled: bool) -> None:
        self.trace_id = trace_id
        self.keep = keep
        self.export = export
        self.sampled = sampled
        self.anchor = time.time_ns() - time.perf_counter_ns()
        self.spans: list[Span] = []
        self.dropped = 0

    def add(self, span: "Span") -> None:
        """Notes a span that begins. From the second on, a trace is worth keeping."""
        if len(self.spans) >= MOST_SPANS:
            self.dropped += 1
            return
        self.spans.append(span)
        if len(self.spans) > 1:
            self.keep(self)


class Span:
    """One thing that is done. A context manager: what begins within is its child.

    Attributes:
        span_id: 16 hexadecimal digits, made when somebody first asks.
        parent_id: the span within which it was done; the caller's own for the first; `None` for neither.
        entry: it is the first span of a request here.
        started: nanoseconds by the monotonic clock.
        ended: the same; `None` while it goes on.
        events: moments in it: time and name.
        error: the code of what it ended with, never its message, which may hold what somebody said.
    """

    __slots__ = (
        "_id", "_parent", "_token", "attributes", "ended", "entry", "error", "events", "name", "started", "trace"
    )  # fmt: skip

    def __init__(self, name: str, trace: Trace, parent: "Span | str | None", *, entry: bool = False) -> None:
        self.name = name
        self.trace = trace
        self.entry = entry
        self.attributes: dict[str, Attribute] = {}
        self.events: list[tuple[int, str]] = []
        self.error: str | None = None
        self.ended: int | None = None
        self._id: str | None = None
        self._parent = parent
        self._token: Token[Span | None] | None = None
        trace.add(self)
        self.started = time.perf_counter_ns()

    @property
    def span_id(self) -> str:
        """What it is called where it is sent; most spans go nowhere."""
        if self._id is None:
            self._id = f"{random.getrandbits(64) or 1:016x}"
        return self._id

    @property
    def parent_id(self) -> str | None:
        """What its parent is called."""
        return self._parent.span_id if isinstance(self._parent, Span) else self._parent

    @property
    def traceparent(self) -> str:
        """W3C's header that makes another server's spans children of this one."""
        return f"00-{self.trace.trace_id}-{self.span_id}-{'01' if self.trace.sampled else '00'}"

    def child(self, name: str) -> "Span":
        """A span within this one, which whoever asks for it ends."""
        return Span(name, self.trace, self)

    def rename(self, name: str) -> None:
        """Gives it the name that is known now."""
        self.name = name

    def set(self, attributes: Mapping[str, Attribute]) -> None:
        """Says more about it."""
        self.attributes.update(attributes)

    def event(self, name: str) -> None:
        """Notes a moment in it."""
        self.events.append((time.perf_counter_ns(), name))

    def enter(self) -> Token["Span | None"]:
        """Makes it the parent of what begins next in this context, until `leave`."""
        return _current.set(self)

    def leave(self, token: Token["Span | None"]) -> None:
        """Ends what `enter` began; in the same context."""
        _current.reset(token)

    def fail(self, error: BaseException) -> None:
        """Notes what it ended with."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.error = CANCELLED
        else:
            self.error = error.code if isinstance(error, TidemillError) else type(error).__name__
            if isinstance(error, TidemillError) and error.failure is not None:
                self.attributes["tidemill.failure"] = str(error.failure)

    def end(self) -> None:
        """Ends it. A second time does nothing."""
        if self.ended is None:
            self.ended = time.perf_counter_ns()
            if self.trace.export is not None and self.trace.sampled:
                self.trace.export(self)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        if error is not None:
            self.fail(error)
        self.end()


class NoSpan:
    """Stands where no trace is made, and does nothing."""

    __slots__ = ()

    def rename(self, name: str) -> None:
        """Nothing."""

    def set(self, attributes: Mapping[str, Attribute]) -> None:
        """Nothing."""

    def event(self, name: str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass


NO_SPAN = NoSpan()


def current_span() -> Span | None:
    """The span within which this task works."""
    return _current.get()


def span(name: str) -> Span | NoSpan:
    """A span within the current one, for a `with` block; nothing where no trace is made."""
    parent = _current.get()
    return NO_SPAN if parent is None else parent.child(name)


class Traces:
    """The last traces of this process, in memory.

    A trace is kept as soon as something was done within it, so that a request that does nothing but read a row does
    not push one out that tells something. Where many requests make up a trace, fewer traces are kept.

    Args:
        kept: how many at most.
        export: is given each span that ends, where spans are sent somewhere.
    """

    def __init__(self, kept: int, *, export: Export | None = None) -> None:
        self._kept = kept
        self._export = export
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._spans = 0

    def begin(self, name: str, *, parent: Parent | None = None, trace_id: str | None = None) -> Span:
        """The first span of a request or of a piece of the hub's own work, whose caller ends it.

        Args:
            name: what is done.
            parent: the caller's span, where it named one.
            trace_id: 32 hexadecimal digits where the trace's id is given in another way; a new one where neither is.
        """
        sampled = parent is None or parent.sampled
        trace_id = parent.trace_id if parent else trace_id or new_id().hex
        trace = self._traces.get(trace_id) or Trace(trace_id, self._keep, self._export, sampled=sampled)
        return Span(name, trace, parent.span_id if parent else None, entry=True)

    def find(self, trace_id: str) -> Trace | None:
        """The trace with this id, as far as this process still has it."""
        return self._traces.get(trace_id)

    def newest(self, limit: int) -> Iterator[Trace]:
        """The traces that are kept, the newest first."""
        for trace_id in list(reversed(self._traces))[:limit]:
            yield self._traces[trace_id]

    def _keep(self, trace: Trace) -> None:
        known = self._traces.get(trace.trace_id)
        if len(trace.spans) == 2:
            self._spans += 2
            if known is None:
                self._traces[trace.trace_id] = trace
            else:  # another request of the same trace began at the same time
                known.spans += trace.spans
                for span in trace.spans:
                    span.trace = known
        elif known is trace:
            self._spans += 1
        while len(self._traces) > self._kept or (self._spans > self._kept * SPANS_EACH and len(self._traces) > 1):
            _, oldest = self._traces.popitem(last=False)
            self._spans -= len(oldest.spans)
