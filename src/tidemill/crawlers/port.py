"""The one port through which documents are collected."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from tidemill.core.document import RawDocument, Source


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a document: the SHA-256 of its bytes, and the tag that its origin gave that version."""

    digest: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document that the origin says has not changed."""

    path: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A document that could not be fetched, why, and what to do. `code` is a word for machines, such as `too_large`.

    What is stored of that path stays.
    """

    path: str
    code: str
    reason: str


Found = RawDocument | Unchanged | Failed


def failed_part(known: Mapping[str, Known], prefix: str, code: str, reason: str) -> list[Failed]:
    """The failure of all the paths that begin with `prefix`: of each that is known, so that it stays, else of it."""
    return [Failed(path, code, reason) for path in known if path.startswith(prefix)] or [Failed(prefix, code, reason)]


class Crawler(Protocol):
    """Collects the documents of one kind of source."""

    def check(self, source: Source) -> None:
        """Goes on where the source's location and options make sense, before anything is stored.

        Raises:
            InvalidInput: they don't; names the option.
        """
        ...

    def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """Every document that is there now, in any order, each path once.

        What is known and does not come is gone from the source. So a crawl that can't see all of the source raises,
        and what it had yielded before stands. One document that fails is a `Failed`, and the crawl goes on.

        Args:
            source: what to collect.
            known: by path, what is stored already, for conditional requests.

        Raises:
            NotFound, NotPermitted, InvalidInput, Configuration, Unavailable: the source as a whole can't be read.
        """
        ...
