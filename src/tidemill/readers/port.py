"""The port through which a document's text is read."""

from typing import Protocol

from tidemill.core.document import CleanDocument, RawDocument
from tidemill.core.errors import InvalidInput


class Unreadable(InvalidInput):
    """A document that has no text to be had; the message says why. `reason_code` is one word for machines."""

    def __init__(self, message: str, reason_code: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Reader(Protocol):
    """Reads the text of documents."""

    async def read(self, document: RawDocument) -> CleanDocument:
        """Its clean text.

        Raises:
            Unreadable: encrypted, corrupt, empty, larger than the bounds, or of a format that nobody reads.
        """
        ...
