"""Traces: what a span holds, whose child it is, and what a process keeps of them."""

import asyncio

import pytest

from tidemill.core.errors import InvalidInput, Unavailable
from tidemill.telemetry.request import current_request_id, on_behalf_of, outgoing_headers, request_id_of
from tidemill.telemetry.spans import MOST_SPANS, NO_SPAN, SPANS_EACH, Traces, current_span, parse_traceparent, span
from tidemill.telemetry.trace_tree import shown, tree

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def names(trace):
    return [one.name for one in trace.spans]


def test_what_is_done_within_a_span_is_its_child():
    traces = Traces(10)
    with traces.begin("request") as request, span("outer") as outer, span("inner") as inner:
        assert current_span() is inner
    assert (inner.parent_id, outer.parent_id, request.parent_id) == (outer.span_id, request.span_id, None)
    assert current_span() is None
    assert names(traces.find(request.trace.trace_id)) == ["request", "outer", "inner"]


def test_where_no_trace_is_made_a_span_does_nothing():
    with span("alone") as here:
        here.set({"a": 1})
        here.event("x")
        here.rename("b")
    assert here is NO_SPAN
    assert outgoing_headers() == {}


def test_tasks_that_a_request_starts_belong_to_its_trace_even_after_its_end():
    traces = Traces(10)

    async def later():
        await asyncio.sleep(0)
        with span("later"):
            pass

    async def run():
        with traces.begin("request") as request:
            task = asyncio.create_task(later())
        await task
        return request

    request = asyncio.run(run())
    assert names(traces.find(request.trace.trace_id)) == ["request", "later"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("The text 'marker' can't be used."), "invalid_request"),
        (Unavailable("away"), "unavailable"),
        (ValueError("marker"), "ValueError"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
)
def test_a_failed_span_names_the_errors_code_and_not_its_message(error, code):
    traces = Traces(1)
    with pytest.raises(type(error)), traces.begin("request") as request, span("part") as part:
        raise error
    assert (part.error, request.error) == (code, code)
    assert "marker" not in tree(shown(request.trace, content=True))


def test_a_span_ends_once():
    ended = []
    traces = Traces(1, export=ended.append)
    with traces.begin("request") as request:
        pass
    first = request.ended
    request.end()
    assert (request.ended, ended) == (first, [request])


def test_only_traces_in_which_something_was_done_are_kept_and_of_those_the_last():
    traces = Traces(2)
    kept = []
    for number in range(4):
        with traces.begin("nothing"):
            pass
        with traces.begin(f"request {number}") as request, span("part"):
            kept.append(request.trace.trace_id)
    assert [trace.trace_id for trace in traces.newest(10)] == kept[:1:-1]
    assert traces.find(kept[0]) is None


def test_requests_of_one_trace_stand_together():
    traces = Traces(5)
    for _ in range(2):
        with traces.begin("request", parent=parse_traceparent(f"00-{TRACE}-{PARENT}-01")), span("part"):
            pass
    assert names(traces.find(TRACE)) == ["request", "part"] * 2


def test_a_client_that_sends_everything_in_one_trace_does_not_fill_the_memory():
    traces = Traces(5)
    for _ in range(MOST_SPANS):
        with traces.begin("request", trace_id=TRACE), span("part"):
            pass
    trace = traces.find(TRACE)
    assert (len(trace.spans), trace.dropped) == (MOST_SPANS, MOST_SPANS)
    assert f"{MOST_SPANS} more spans" in tree(shown(trace, content=False))


def test_the_callers_span_is_the_parent_and_is_named_to_who_is_asked_next():
    traces = Traces(5)
    with on_behalf_of("build-1"), traces.begin("request", parent=parse_traceparent(f"00-{TRACE}-{PARENT}-00")) as one:
        assert one.parent_id == PARENT
        assert outgoing_headers() == {"x-request-id": "build-1", "traceparent": f"00-{TRACE}-{one.span_id}-00"}
    assert current_request_id() is None


@pytest.mark.parametrize(
    ("header", "sampled"),
    [(f"00-{TRACE}-{PARENT}-01", True), (f"00-{TRACE}-{PARENT}-00", False), (f"cc-{TRACE}-{PARENT}-01-later", True)],
)
def test_a_traceparent_is_read(header, sampled):
    parent = parse_traceparent(header)
    assert (parent.trace_id, parent.span_id, parent.sampled) == (TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "header",
    [None, "", "x", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
     f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE}-{PARENT}",
     f"00-{TRACE}-{PARENT}-1",
     f"00-{TRACE[:-1]}-{PARENT}0-01", f"00-{TRACE}-{PARENT[:-1]}é-01"],
)  # fmt: skip
def test_a_traceparent_that_cant_be_read_begins_a_trace_of_our_own(header):
    assert parse_traceparent(header) is None


@pytest.mark.parametrize("sent", ["a", "build-1734.2_x", "A" * 128])
def test_a_client_names_its_request(sent):
    assert request_id_of(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "a\nb", "ü", "A" * 129, "a,b", '"', "a\r\nx-evil: 1"])
def test_a_name_that_could_break_a_line_is_replaced(sent):
    made = request_id_of(sent)
    assert made != sent
    assert request_id_of(made) == made


def test_a_trace_reads_as_a_tree_with_times():
    traces = Traces(1)
    with traces.begin("POST /v1/chat/completions") as request:
        with span("inference") as inference:
            inference.set({"gen_ai.request.model": "tiny", "tidemill.recovery": ("a.b", "c.d"), "said": "two words"})
            inference.event("first_token")
            with span("dispatch"):
                pass
        with span("record"):
            text = tree(shown(request.trace, content=False))
    head, columns, *rows = text.splitlines()
    assert head.startswith(f"trace {request.trace.trace_id}  20")
    assert columns.split() == ["start", "ms"]
    assert [len(row) - len(row.lstrip()) for row in rows] == [0, 2, 4, 4, 2]
    assert [row.split()[0] for row in rows] == ["POST", "inference", "·", "dispatch", "record"]
    assert rows[1].endswith('gen_ai.request.model=tiny tidemill.recovery=a.b,c.d said="two words"')
    assert "running" in rows[0]
    assert "running" in rows[4]


def test_what_was_said_is_shown_to_who_may_see_it_alone():
    traces = Traces(1)
    with traces.begin("request") as request, span("inference") as inference:
        inference.set(
            {"gen_ai.input.messages": "marker", "gen_ai.output.messages": "marker", "gen_ai.request.model": "m"}
        )
    assert "marker" not in str(shown(request.trace, content=False))
    assert "marker" in str(shown(request.trace, content=True))


def test_requests_of_one_trace_at_the_same_time_are_kept_together():
    traces = Traces(10)
    parent = parse_traceparent(f"00-{TRACE}-{PARENT}-01")
    with traces.begin("one", parent=parent) as one, traces.begin("two", parent=parent) as two:
        for request in (one, two):
            request.child("first").child("second").end()
    assert sorted(names(traces.find(TRACE))) == ["first", "first", "one", "second", "second", "two"]


def test_a_client_that_makes_large_traces_does_not_fill_the_memory():
    traces = Traces(5)
    for number in range(1, 6):
        for _ in range(20):
            with traces.begin("r", parent=parse_traceparent(f"00-{number:032x}-{PARENT}-01")) as request:
                for _ in range(3):
                    request.child("x").end()
    kept = list(traces.newest(10))
    assert len(kept) == 2
    assert sum(len(trace.spans) for trace in kept) <= 5 * SPANS_EACH
    assert kept[0].trace_id == f"{5:032x}"
