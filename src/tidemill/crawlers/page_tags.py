"""What an answer's headers say of a page: its type, its date, and how to ask next time whether it has changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_TAG = 500


@dataclass(frozen=True, slots=True)
class PageTag:
    """What is kept of a page to ask for it next time: its validators, and how many links it is from the start."""

    depth: int
    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, text: str | None) -> "PageTag":
        """The tag that `text` made."""
        if not text:
            return cls(0)
        fields = json.loads(text)
        return cls(fields["depth"], fields.get("etag"), fields.get("modified"))

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], depth: int = 0) -> "PageTag":
        """The tag of a page that was answered with these headers."""
        etag, modified = headers.get("etag"), headers.get("last-modified")
        return cls(depth, etag if _sendable(etag) else None, modified if _sendable(modified) else None)

    def text(self) -> str:
        """The tag as it is stored."""
        fields = {"depth": self.depth, "etag": self.etag, "modified": self.modified}
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    def conditions(self) -> dict[str, str]:
        """The headers that make a request conditional."""
        sent = {"if-none-match": self.etag, "if-modified-since": self.modified}
        return {name: value for name, value in sent.items() if value}


def media_type_of(headers: Mapping[str, str]) -> str:
    """The media type without its parameters, in lower case; empty where there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def last_modified(headers: Mapping[str, str]) -> datetime | None:
    """When the page was changed last; `None` where that is not said, or not in a way that can be read."""
    try:
        found = parsedate_to_datetime(headers.get("last-modified", ""))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _sendable(value: str | None) -> bool:
    return value is not None and 0 < len(value) <= LONGEST_TAG and value.isascii() and value.isprintable()
