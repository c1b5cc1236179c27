"""Logs: one line for each thing that happened, naming its request, and without credentials."""

import io
import json
import logging
import re

import pytest

from tidemill.app.telemetry import mask_log
from tidemill.telemetry.logs import LONGEST, NOISY, TextLines, configure_logs, log_event
from tidemill.telemetry.request import on_behalf_of
from tidemill.telemetry.spans import Traces, span

OWN = "tm-" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7" * 2
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
log = logging.getLogger("tidemill.test")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def restored():
    """The loggers as they were, since they are the process's own."""
    named = [logging.getLogger(), *map(logging.getLogger, ["dbos", "opentelemetry", *NOISY])]
    before = [(one, one.level, list(one.handlers), one.propagate) for one in named]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def written(form="json", level="debug", stream=None):
    stream = stream or io.StringIO()
    configure_logs("hub", level=level, form=form, mask=mask_log, stream=stream)
    return lambda: stream.getvalue().removesuffix("\n").split("\n") if stream.getvalue() else []


def test_a_line_of_json_says_when_what_and_for_which_request():
    lines = written()
    with on_behalf_of("build-1"), Traces(1).begin("request") as root, span("part"):
        log_event(log, logging.INFO, "llm_call_completed", provider="openai", input_tokens=3, left_out=None)
    [line] = map(json.loads, lines())
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("pid") > 0
    assert line == {
        "level": "info",
        "logger": "tidemill.test",
        "message": "llm_call_completed",
        "request_id": "build-1",
        "trace_id": root.trace.trace_id,
        "process": "hub",
        "event": "llm_call_completed",
        "provider": "openai",
        "input_tokens": 3,
    }


def test_what_the_hub_does_of_its_own_accord_names_no_request():
    lines = written()
    log.warning("The database was gone.")
    [line] = map(json.loads, lines())
    assert (line["request_id"], line["trace_id"], line["level"]) == (None, None, "warning")
    assert "event" not in line


def test_a_text_of_several_lines_stays_one_line_of_json():
    lines = written()
    log.info("one\ntwo \u2028 three \x00")
    [line] = lines()
    assert json.loads(line)["message"] == "one\ntwo \u2028 three \x00"


@pytest.mark.parametrize("form", ["json", "text"])
def test_credentials_are_taken_out_wherever_they_stand(form):
    lines = written(form)
    log_event(log, logging.INFO, "something", said=f"the key is {GITHUB}", reached=OWN)
    log.warning("Refused %s and %s", GITHUB, OWN)
    try:
        raise ValueError(f"Bearer {OWN}, {GITHUB}")
    except ValueError:
        log.exception("It failed.")
    text = "\n".join(lines())
    assert GITHUB not in text
    assert OWN not in text
    assert "ValueError" in text
    assert text.replace("\\u2026", "…").count("tm-…") == 3


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_a_server_sends_does_not_fill_the_log(form):
    lines = written(form)
    log.info("x" * (LONGEST * 3))
    assert len(lines()[0]) < LONGEST + 500


def test_half_a_surrogate_pair_does_not_break_the_log():
    lines = written()
    log_event(log, logging.INFO, "generation_request_received", model="\ud83d")
    assert json.loads(lines()[0])["model"] == "\ud83d"


def test_an_exception_is_a_part_of_its_line():
    lines = written()
    try:
        raise KeyError("nothing")
    except KeyError:
        log.exception("It failed.")
    [line] = map(json.loads, lines())
    assert line["message"] == "It failed."
    assert line["exception"].splitlines()[-1] == "KeyError: 'nothing'"


@pytest.mark.parametrize("name", ["uvicorn.error", "dbos", "sqlalchemy.pool"])
def test_libraries_write_in_the_same_form(name):
    library = logging.getLogger(name)
    if name == "dbos":
        library.propagate = False
        library.addHandler(logging.StreamHandler(io.StringIO()))  # as it does itself
    lines = written()
    library.warning("Something.")
    assert [json.loads(line)["logger"] for line in lines()] == [name]


def test_libraries_that_tell_of_every_request_are_held_back():
    lines = written()
    for name in ("httpx", "openai", "uvicorn.access"):
        logging.getLogger(name).info("HTTP Request: POST https://example.org/?key=x")
    assert lines() == []


def test_a_terminal_gets_text_and_everything_else_json():
    terminal, file = Terminal(), io.StringIO()
    lines = written(None, stream=terminal)
    log.info("Hello.")
    assert lines()[0].endswith("INFO tidemill.test: Hello.")
    lines = written(None, stream=file)
    log.info("Hello.")
    assert json.loads(lines()[0])["message"] == "Hello."


def test_text_shows_the_fields_of_an_event_and_its_request():
    lines = written("text")
    with on_behalf_of("build-1"):
        log_event(log, logging.INFO, "provider_selected", provider="openai")
    assert lines()[0].endswith("INFO tidemill.test: provider_selected provider=openai request_id=build-1")


def test_what_is_under_the_level_is_not_written():
    lines = written(level="warning")
    log_event(log, logging.INFO, "provider_selected")
    log.info("no")
    assert lines() == []


def test_nobody_can_write_lines_of_their_own_into_a_text_log():
    record = logging.LogRecord("x", logging.INFO, "", 0, "The model %s failed.", ("a\n2026 ERROR x: fake",), None)
    record.fields = {"model": "b\r\n2026 ERROR x: fake\x1b[2J"}
    (line,) = TextLines(str).format(record).splitlines()
    assert line.endswith("The model a\\n2026 ERROR x: fake failed. model=b\\r\\n2026 ERROR x: fake\\x1b[2J")
