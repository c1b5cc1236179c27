"""What passes between the hub and the process that reads: a request with the document's bytes, and a clean text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from tidemill.core.document import CleanDocument, DocumentKind, Heading, Page, Span
from tidemill.readers.formats import Format
from tidemill.settings.knowledge import ReadingSettings

_LENGTH = 8
LONGEST_HEAD = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read, and what that may cost."""

    format: Format
    path: str
    limits: ReadingSettings
    data: bytes


def send_request(stream: BinaryIO, request: Request) -> None:
    """Writes a request."""
    head = {"format": request.format, "path": request.path, "limits": request.limits.model_dump()}
    send(stream, json.dumps(head).encode())
    send(stream, request.data)


def receive_request(stream: BinaryIO) -> Request | None:
    """The next request; `None` at the end."""
    head = receive(stream, LONGEST_HEAD)
    if head is None:
        return None
    fields = json.loads(head)
    limits = ReadingSettings(**fields["limits"])
    data = receive(stream, limits.max_bytes)
    return None if data is None else Request(Format(fields["format"]), fields["path"], limits, data)


def send(stream: BinaryIO, data: bytes) -> None:
    """Writes bytes with their number before them."""
    stream.write(len(data).to_bytes(_LENGTH, "big"))
    stream.write(data)
    stream.flush()


def receive(stream: BinaryIO, most: int) -> bytes | None:
    """The next bytes that were sent; `None` where the stream ends before all of them, or there are more than `most`."""
    length = int.from_bytes(stream.read(_LENGTH), "big")
    data = stream.read(length) if 0 <= length <= most else b""
    return data if len(data) == length and length else None


def longest_answer(limits: ReadingSettings) -> int:
    """The most bytes of an answer within the bounds: four a character, and what its headings and pages take."""
    return limits.max_characters * 5 + limits.max_pages * 100 + 10_000_000


def document_to_json(document: CleanDocument) -> dict[str, Any]:
    """A clean document as JSON."""
    return {
        "text": document.text,
        "kind": document.kind,
        "markup": document.markup,
        "headings": [[one.depth, one.title, one.span.start, one.span.end] for one in document.headings],
        "pages": [[one.number, one.span.start, one.span.end] for one in document.pages],
        "title": document.title,
        "author": document.author,
        "licence": document.licence,
        "published_at": document.published_at.isoformat() if document.published_at else None,
    }


def document_of_json(fields: Mapping[str, Any]) -> CleanDocument:
    """The clean document that the JSON is of."""
    published = fields["published_at"]
    return CleanDocument(
        text=fields["text"],
        kind=DocumentKind(fields["kind"]),
        markup=fields["markup"],
        headings=[Heading(depth, title, Span(start, end)) for depth, title, start, end in fields["headings"]],
        pages=[Page(number, Span(start, end)) for number, start, end in fields["pages"]],
        title=fields["title"],
        author=fields["author"],
        licence=fields["licence"],
        published_at=datetime.fromisoformat(published) if published else None,
    )
