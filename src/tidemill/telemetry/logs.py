"""Logs: one line for each thing that happened, as JSON or as text, with the request that it happened for.

What goes into a line is chosen where it is written: lengths and codes, never texts. The mask that the formatters are
given is the last line behind that, for what an exception or a library says.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from textwrap import indent
from typing import Literal, TextIO

from tidemill.telemetry.request import current_request_id
from tidemill.telemetry.spans import current_span

Mask = Callable[[str], str]
NOISY = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "alembic",
    "uvicorn",
    "dbos",
    "mcp",
    "openai",
    "anthropic",
    "google_genai",
    "urllib3",
)
"""Loggers that tell of every request, some of them with its URL."""
ENCODER = json.JSONEncoder(default=str)
"""Escapes what is not ASCII: half a surrogate pair, which a client can send, could not be written otherwise."""
LONGEST = 8_000
"""Characters of a message or a traceback; what a server sends us must not fill the log."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What could end a line, or steer a terminal."""

HARMLESS = re.compile(r"[\w./-]{0,12}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""A short name or an id, which most fields are: no credential is so short, and none looks like a UUID."""


def log_event(logger: logging.Logger, level: int, event: str, **fields: object) -> None:
    """Logs an event with its fields; those that are `None` are left out."""
    if logger.isEnabledFor(level):
        # The logger's own method would look for the calling frame, which takes as long as all the rest.
        record = logging.LogRecord(logger.name, level, "", 0, event, None, None)
        record.event = event
        record.fields = {name: value for name, value in fields.items() if value is not None}
        logger.handle(record)


class JsonLines(logging.Formatter):
    """One JSON object a line.

    Args:
        process: `hub` or `worker`.
        mask: takes out credentials.
    """

    def __init__(self, process: str, mask: Mask) -> None:
        super().__init__()
        self._process = process
        self._pid = os.getpid()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        event = getattr(record, "event", None)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": event or masked(record.getMessage(), self._mask),
            "request_id": current_request_id(),
            "trace_id": _trace_id(),
            "process": self._process,
            "pid": self._pid,
        }
        if event is not None:
            line["event"] = event
            line |= _clean(fields_of(record), self._mask)
        if record.exc_info:
            line["exception"] = masked(self.formatException(record.exc_info), self._mask, tail=True)
        return ENCODER.encode(line)


class TextLines(logging.Formatter):
    """A line for a person's eyes, with the fields of an event after it.

    Whatever is told of stays on its line, so that nobody can write lines of their own; tracebacks are indented.
    """

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record, and the lines of its traceback where it has one."""
        said = {**fields_of(record)}
        if (request_id := current_request_id()) is not None:
            said["request_id"] = request_id
        told = "".join([record.getMessage(), *(f" {name}={value}" for name, value in said.items())])
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {CONTROL.sub(_escaped, told)}"
        if record.exc_info:
            line += "\n" + indent(self.formatException(record.exc_info), "  ")
        return masked(line, self._mask)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """What an event says beside its name."""
    found = getattr(record, "fields", None)
    return found if isinstance(found, Mapping) else {}


def masked(text: str, mask: Mask, *, tail: bool = False) -> str:
    """The text without credentials, cut to what a line holds; of a traceback the end tells more than the start."""
    if len(text) > LONGEST:
        text = f"… {text[-LONGEST:]}" if tail else f"{text[:LONGEST]} …"
    return mask(text)


def configure_logs(
    process: str, *, level: str, form: Literal["json", "text"] | None, mask: Mask, stream: TextIO = sys.stderr
) -> None:
    """Writes what this process logs to a stream; also what its libraries log, uvicorn and DBOS among them.

    Args:
        process: `hub` or `worker`.
        level: the lowest that is written.
        form: text on a terminal and JSON elsewhere where `None`.
        mask: takes out credentials.
        stream: where to.
    """
    chosen = form or ("text" if stream.isatty() else "json")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(process, mask) if chosen == "json" else TextLines(mask))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `otlp` says once what it says at every try
    adopt("dbos")


def adopt(name: str) -> None:
    """Makes a library's logger write through ours, where it brought a handler of its own."""
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.NullHandler())  # DBOS adds its own where there is none
    logger.propagate = True


def _trace_id() -> str | None:
    span = current_span()
    return None if span is None else span.trace.trace_id


def _clean(fields: Mapping[str, object], mask: Mask) -> Mapping[str, object]:
    """The fields without credentials: looked through all at once, since there are hardly ever any."""
    said = "\n".join(one for one in fields.values() if isinstance(one, str) and not HARMLESS.fullmatch(one))
    if not said or (len(said) <= LONGEST and mask(said) == said):
        return fields
    return {name: masked(value, mask) if isinstance(value, str) else value for name, value in fields.items()}
