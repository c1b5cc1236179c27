"""Sources and what is known of them, for the tests of crawlers."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from tidemill.core.document import RawDocument, Source, SourceKind
from tidemill.core.json import Json
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.outbound import Outbound

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOCAL = Outbound(["127.0.0.1"])
"""Connections that may go to the tests' own servers."""


def source_of(kind: SourceKind, location: str, **options: Json) -> Source:
    """A source that nobody stored."""
    return Source(UUID(int=1), "test", kind, location, UUID(int=2), NOON, options=options)


def documents(found: Iterable[Found]) -> dict[str, RawDocument]:
    """The documents of a crawl, by path."""
    return {one.path: one for one in found if isinstance(one, RawDocument)}


def unchanged(found: Iterable[Found]) -> set[str]:
    """The paths that had not changed."""
    return {one.path for one in found if isinstance(one, Unchanged)}


def failures(found: Iterable[Found]) -> dict[str, str]:
    """The codes of what failed, by path."""
    return {one.path: one.code for one in found if isinstance(one, Failed)}


def known_of(found: Iterable[Found]) -> dict[str, Known]:
    """What would be stored of a crawl's documents."""
    return {path: Known(hashlib.sha256(one.data).hexdigest(), one.etag) for path, one in documents(found).items()}
