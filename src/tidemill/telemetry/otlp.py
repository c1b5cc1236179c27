"""Sends spans to a collector, by OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/.

OpenTelemetry's SDK is imported here alone, and only where a collector is named.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tidemill import __version__
from tidemill.telemetry.spans import CANCELLED, Span

log = logging.getLogger(__name__)

SEND_SECONDS = 2.0
MOST_WAITING = 20_000
"""Spans that wait to be sent while the collector is away; the oldest are dropped, since memory must not grow."""
BATCH = 1_000
TIMEOUT_SECONDS = 5.0
"""For a batch, all tries of the exporter included; also the longest that a stop waits for a collector that is away."""
PATH = "/v1/traces"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SCOPE = InstrumentationScope("tidemill", __version__)


class OtlpTraces:
    """Gathers spans that ended and sends them on, off the path of requests.

    Args:
        endpoint: the collector's address, without `/v1/traces`. Headers for it, such as a key, stand in the
            environment variable `OTEL_EXPORTER_OTLP_HEADERS`, as OpenTelemetry has it.
        process: this process's name.
    """

    def __init__(self, endpoint: str, process: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._exporter = OTLPSpanExporter(endpoint=self._endpoint + PATH, timeout=TIMEOUT_SECONDS)
        self._resource = Resource.create(
            {"service.name": "tidemill", "service.version": __version__, "service.instance.id": process}
        )
        self._waiting: deque[Span] = deque(maxlen=MOST_WAITING)
        self._away = False

    def add(self, span: Span) -> None:
        """Takes a span that has ended."""
        self._waiting.append(span)

    async def run(self) -> None:
        """Sends, again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(SEND_SECONDS)
            await self.send()

    async def send(self) -> None:
        """Sends what has gathered. What the collector does not take is dropped, and told of once."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            sent = await asyncio.to_thread(self._export, batch)
            if not sent and not self._away:
                log.warning("The collector of traces at %s takes no spans; they are dropped meanwhile.", self._endpoint)
            elif sent and self._away:
                log.info("The collector of traces at %s takes spans again.", self._endpoint)
            self._away = not sent
            if not sent:
                return

    async def aclose(self) -> None:
        """Sends what is left and closes the connection."""
        await self.send()
        await asyncio.to_thread(self._exporter.shutdown)

    def _export(self, spans: Sequence[Span]) -> bool:
        return self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def _readable(self, span: Span) -> ReadableSpan:
        trace = span.trace
        trace_id = int(trace.trace_id, 16)
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(trace_id, int(span.parent_id, 16), is_remote=span.entry, trace_flags=SAMPLED)
        failed = span.error is not None and span.error != CANCELLED
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes={**span.attributes, **({"error.type": span.error} if span.error else {})},
            events=[Event(name, timestamp=at + trace.anchor) for at, name in span.events],
            kind=SpanKind.SERVER if span.entry else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=span.started + trace.anchor,
            end_time=(span.ended or span.started) + trace.anchor,
            instrumentation_scope=SCOPE,
        )
