"""The input of a batch: JSON lines of `{custom_id, method, url, body}`, as OpenAI's API has them.

The envelope is checked here, and all faults are told with their lines; what is wrong with a body is told of that line
alone when it is its turn, by the code that the endpoint's route has.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO, Any

from tidemill.core.generation import BatchLine, LineFault
from tidemill.core.text import storable

MOST_LINES = 50_000
MOST_TEXTS = 50_000
"""Texts to be embedded, in all lines together. Both are OpenAI's limits."""
MOST_FAULTS = 100
"""How many are told."""
LONGEST_ID = 512
PAGE = 100
FIELDS = frozenset({"custom_id", "method", "url", "body"})


class Faulty(Exception):
    """The file can't be used; `faults` says why, line by line."""

    def __init__(self, faults: Sequence[LineFault]) -> None:
        super().__init__(faults[0].message)
        self.faults = tuple(faults)


class BatchInput:
    """Reads a batch's file.

    Args:
        file: the open file; whoever opened it closes it.
        endpoint: the one that every line must name.
        max_line_bytes: a longer line can't be a request.
    """

    def __init__(self, file: IO[bytes], endpoint: str, max_line_bytes: int) -> None:
        self._file = file
        self._endpoint = endpoint
        self._max_line_bytes = max_line_bytes
        self._seen: set[str] = set()
        self._faults: list[LineFault] = []
        self._number = 0
        self._texts = 0

    async def pages(self) -> AsyncIterator[Sequence[BatchLine]]:
        """The lines, some at a time, read beside the event loop; empty ones are passed over.

        Raises:
            Faulty: at the end, where any line can't be used.
        """
        while page := await asyncio.to_thread(self._page):
            if not self._faults and page.lines:
                yield page.lines
        if not self._seen and not self._faults:
            self._faults.append(LineFault("empty_file", "The file holds no request."))
        if self._faults:
            raise Faulty(self._faults)

    def _page(self) -> "_Page | None":
        """The next lines; `None` at the end of the file, or of what is worth reading of it."""
        lines: list[BatchLine] = []
        for _ in range(PAGE):
            if len(self._faults) >= MOST_FAULTS or not (data := self._file.readline(self._max_line_bytes + 1)):
                return _Page(lines) if lines else None
            self._number += 1
            try:
                if data.strip():
                    lines.append(self._line(data))
            except _Unusable as error:
                self._faults.append(error.fault)
            except _TooMany as error:
                self._faults = [error.fault]
                return None
        return _Page(lines)

    def _line(self, data: bytes) -> BatchLine:
        if len(data) > self._max_line_bytes:
            while data and not data.endswith(b"\n"):
                data = self._file.readline(self._max_line_bytes)
            raise self._unusable("line_too_long", f"This line has more than {self._max_line_bytes:,} bytes.")
        try:
            said = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._unusable("invalid_json_line", "This line is not JSON.") from error
        if not isinstance(said, dict):
            raise self._unusable("invalid_json_line", "This line is not a JSON object.")
        if missing := sorted(FIELDS - said.keys()):
            raise self._unusable("missing_required_parameter", f"`{missing[0]}` is missing.", missing[0])
        if unknown := sorted(said.keys() - FIELDS):
            raise self._unusable("unknown_parameter", f"There is no field {unknown[0][:100]!r}.")
        self._check_envelope(said)
        try:
            body = json.dumps(said["body"], allow_nan=False)
        except ValueError as error:
            fault = "`body` holds a number that JSON has not, or that is too large."
            raise self._unusable("invalid_body", fault, "body") from error
        self._count(said["custom_id"], said["body"])
        return BatchLine(len(self._seen) - 1, said["custom_id"], body)

    def _check_envelope(self, said: Mapping[str, Any]) -> None:
        name = said["custom_id"]
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or storable(name) != name:
            fault = f"`custom_id` is a text of 1 to {LONGEST_ID} characters."
            raise self._unusable("invalid_custom_id", fault, "custom_id")
        if name in self._seen:
            fault = f"The custom_id {name!r} stands in an earlier line, too."
            raise self._unusable("duplicate_custom_id", fault, "custom_id")
        if said["method"] != "POST":
            raise self._unusable("invalid_method", "`method` is `POST`.", "method")
        if said["url"] != self._endpoint:
            fault = f"`url` is not the batch's endpoint, which is {self._endpoint}."
            raise self._unusable("mismatched_endpoint", fault, "url")
        if not isinstance(said["body"], dict):
            raise self._unusable("invalid_body", "`body` is a JSON object: the request.", "body")

    def _count(self, name: str, body: Mapping[str, Any]) -> None:
        self._seen.add(name)
        if len(self._seen) > MOST_LINES:
            raise _TooMany(f"A batch has {MOST_LINES:,} requests at most; this file has more.")
        texts = body.get("input")
        self._texts += len(texts) if isinstance(texts, list) else 1
        if self._endpoint == "/v1/embeddings" and self._texts > MOST_TEXTS:
            raise _TooMany(f"A batch embeds {MOST_TEXTS:,} texts at most; this file has more.")

    def _unusable(self, code: str, message: str, param: str | None = None) -> "_Unusable":
        return _Unusable(LineFault(code, message, self._number, param))


class _Unusable(Exception):
    """A line can't be used."""

    def __init__(self, fault: LineFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _TooMany(Exception):
    """The file holds more than a batch may."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fault = LineFault("too_many_tasks", message)


class _Page:
    """Some lines; true also where none of them can be used."""

    def __init__(self, lines: Sequence[BatchLine]) -> None:
        self.lines = lines
