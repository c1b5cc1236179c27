"""Hits without a search before them."""

from collections.abc import Sequence
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.document import DocumentKind, Span
from tidemill.core.search import Hit, Scores


def hits(*texts: str, heading: str = "", level: Level = Level.INTERNAL) -> Sequence[Hit]:
    """A hit for each text."""
    return [
        Hit(number, UUID(int=1), "s", "a.md", "", text, heading, Span(0, 1), Scores(0.5), level, DocumentKind.DOCUMENT)
        for number, text in enumerate(texts)
    ]
