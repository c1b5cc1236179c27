"""Spans reach a collector over OTLP, decoded here by OpenTelemetry's own messages."""

import logging

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.hubs import free_port
from tests.support.receiver import receiver
from tidemill import __version__
from tidemill.core.errors import Unavailable
from tidemill.telemetry.otlp import MOST_WAITING, OtlpTraces
from tidemill.telemetry.spans import Traces, parse_traceparent, span

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def decoded(received):
    """The spans of a request, and the resource that they are of."""
    message = ExportTraceServiceRequest.FromString(received.body)
    [resource] = message.resource_spans
    spans = [one for scope in resource.scope_spans for one in scope.spans]
    return spans, attributes(resource.resource)


def attributes(of):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}


def work(traces, sampled=True):
    """A request with two parts, one of which fails."""
    parent = parse_traceparent(f"00-{TRACE}-{PARENT}-0{int(sampled)}")
    with traces.begin("POST /v1/chat/completions", parent=parent) as request:
        request.set({"http.response.status_code": 200})
        with span("inference") as part:
            part.set({"gen_ai.request.model": "tiny", "tidemill.recovery": ("a", "b"), "tidemill.cost_usd": 0.5})
            part.event("first_token")
        with pytest.raises(Unavailable), span("dispatch"):
            raise Unavailable("away")
    return request


async def test_a_collector_gets_the_spans_of_a_request():
    with receiver() as collector:
        otlp = OtlpTraces(collector.url + "/", "hub-0")
        request = work(Traces(5, export=otlp.add))
        await otlp.aclose()
    [received] = collector.received
    assert received.path == "/v1/traces"
    assert received.headers["content-type"] == "application/x-protobuf"
    spans, resource = decoded(received)
    assert {name: resource[name] for name in ("service.name", "service.version", "service.instance.id")} == {
        "service.name": "tidemill", "service.version": __version__, "service.instance.id": "hub-0"}  # fmt: skip
    inference, dispatch, root = spans
    assert {one.trace_id.hex() for one in spans} == {TRACE}
    assert (root.parent_span_id.hex(), inference.parent_span_id, dispatch.parent_span_id) == (
        PARENT, root.span_id, root.span_id)  # fmt: skip
    assert (root.kind, inference.kind) == (WireSpan.SPAN_KIND_SERVER, WireSpan.SPAN_KIND_INTERNAL)
    assert root.name == "POST /v1/chat/completions"
    assert attributes(root) == {"http.response.status_code": 200}
    said = attributes(inference)
    assert [one.string_value for one in said.pop("tidemill.recovery").values] == ["a", "b"]
    assert said == {"gen_ai.request.model": "tiny", "tidemill.cost_usd": 0.5}
    assert [event.name for event in inference.events] == ["first_token"]
    assert inference.start_time_unix_nano <= inference.events[0].time_unix_nano <= inference.end_time_unix_nano
    assert (dispatch.status.code, attributes(dispatch)) == (Status.STATUS_CODE_ERROR, {"error.type": "unavailable"})
    assert root.start_time_unix_nano == request.started + request.trace.anchor


async def test_a_trace_that_its_caller_does_not_sample_is_kept_here_and_not_sent():
    with receiver() as collector:
        otlp = OtlpTraces(collector.url, "hub-0")
        traces = Traces(5, export=otlp.add)
        work(traces, sampled=False)
        await otlp.aclose()
    assert collector.received == []
    assert len(traces.find(TRACE).spans) == 3


async def test_a_collector_that_is_away_is_told_of_once_and_again_when_it_is_back(caplog):
    caplog.set_level(logging.INFO, logger="tidemill.telemetry.otlp")
    with receiver(lambda request: (400, b"")) as collector:
        otlp = OtlpTraces(collector.url, "hub-0")
        traces = Traces(5, export=otlp.add)
        for _ in range(2):
            work(traces)
            await otlp.send()
        collector.answer = lambda request: (200, b"")
        work(traces)
        await otlp.aclose()
    told = [record.getMessage() for record in caplog.records if record.name == "tidemill.telemetry.otlp"]
    assert len(told) == 2
    assert "takes no spans" in told[0]
    assert "takes spans again" in told[1]
    assert len(decoded(collector.received[-1])[0]) == 3


async def test_spans_that_wait_are_bounded():
    otlp = OtlpTraces(f"http://127.0.0.1:{free_port()}", "hub-0")
    traces = Traces(5, export=otlp.add)
    with traces.begin("request"):
        for _ in range(MOST_WAITING + 10):
            with span("part"):
                pass
    assert len(otlp._waiting) == MOST_WAITING


async def test_the_collectors_headers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20key-1")
    with receiver() as collector:
        otlp = OtlpTraces(collector.url, "hub-0")
        work(Traces(5, export=otlp.add))
        await otlp.aclose()
    assert collector.received[0].headers["authorization"] == "Bearer key-1"
