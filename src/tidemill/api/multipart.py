"""A form with one file (RFC 7578), read as it comes: the file goes on piece by piece and is never held whole."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from tidemill.core.errors import InvalidInput

LONGEST_FIELD = 1000
MOST_PARTS = 20

Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Form:
    """What a form held beside the file's content: the values of its fields, and the name of its file."""

    values: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def read_form(request: Request, *, fields: frozenset[str], file: str, write: Write) -> Form:
    """Reads the request's form, and gives the content of its file to `write`.

    Args:
        request: of which nothing was read yet.
        fields: the names of fields that it may hold.
        file: the name of the field that holds the file.
        write: is given the content in pieces, at most as large as they came.

    Raises:
        InvalidInput: it is no such form, or ends before its end.
        ClientDisconnect: the client went away in the middle.
        TidemillError: what `write` raises.
    """
    reader = _Reader(_boundary(request), fields, file)
    async for chunk in request.stream():
        for piece in reader.read(chunk):
            await write(piece)
    if not reader.ended:
        raise InvalidInput("The form breaks off before its end. Send it once more.")
    if reader.form.filename is None:
        raise InvalidInput(f"`{file}` is missing: the form holds no file of this name.", param=file)
    return reader.form


class _Reader:
    """Turns chunks of a body into fields and pieces of the file."""

    def __init__(self, boundary: bytes, fields: frozenset[str], file: str) -> None:
        self.form = Form()
        self.ended = False
        self._fields = fields
        self._file = file
        self._parts = 0
        self._name = ""
        self._value = bytearray()
        self._header_name, self._header_value = bytearray(), bytearray()
        self._headers = Message()
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": self._opened,
                "on_end": self._finished,
            },
        )

    def read(self, chunk: bytes) -> list[bytes]:
        """The pieces of the file in a chunk."""
        try:
            if chunk:
                self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidInput(f"The body is no form that can be read: {error}.") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidInput(f"The form has more than {MOST_PARTS} parts.")
        self._headers = Message()
        self._value = bytearray()

    def _header(self) -> None:
        self._headers[self._header_name.decode("latin-1")] = self._header_value.decode("latin-1")
        self._header_name.clear()
        self._header_value.clear()

    def _opened(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        known = self._name == self._file or self._name in self._fields
        if not known or (self._name != self._file and filename is not None):
            raise InvalidInput(f"The form has a part {self._name[:100]!r}, which is not known here.")
        if self._name == self._file:
            if filename is None:
                raise InvalidInput(f"`{self._file}` is not a file: its part has no `filename`.", param=self._file)
            if self.form.filename is not None:
                raise InvalidInput("The form holds more than one file.", param=self._file)
            self.form.filename = filename.decode("utf-8", "replace")
        elif self._name in self.form.values:
            raise InvalidInput(f"The form has the field `{self._name}` twice.", param=self._name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > LONGEST_FIELD:
            raise InvalidInput(f"`{self._name}` has more than {LONGEST_FIELD} bytes.", param=self._name)

    def _end(self) -> None:
        if self._name == self._file:
            return
        try:
            self.form.values[self._name] = self._value.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"`{self._name}` is not valid Unicode.", param=self._name) from error

    def _finished(self) -> None:
        self.ended = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise InvalidInput("A file comes as a form: `Content-Type: multipart/form-data` with a boundary.")
    return boundary
