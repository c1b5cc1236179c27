"""What the headers of a forge's answer say: where the next page is, and how long to wait."""

import re
from collections.abc import Mapping
from datetime import datetime

SECONDARY_WAIT = 60.0
"""Seconds to wait where a forge refuses for its limits and does not say how long (GitHub asks for a minute)."""
_NEXT = re.compile(r'<([^<>]{1,4000})>\s*;[^,]{0,200}\brel="?next"?')


def next_page(headers: Mapping[str, str]) -> str | None:
    """The address of the next page, from `Link` (RFC 8288); `None` on the last one."""
    match = _NEXT.search(headers.get("link", ""))
    return None if match is None else match[1]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait for; `None` where it gives none in seconds."""
    text = headers.get("retry-after", "").strip()
    return float(text[:9]) if text.isascii() and text.isdigit() else None


def limited_for(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> float | None:
    """Seconds to wait where a forge refuses for its limits; `None` where it does not refuse for them."""
    if status not in {403, 429, 503}:
        return None
    wait = retry_after(headers)
    if wait is not None:
        return wait
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    if (headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining")) == "0":
        return _until(reset, now) or SECONDARY_WAIT
    if status == 429 or (status == 403 and b"rate limit" in body.lower()):
        return SECONDARY_WAIT
    return None


def _until(moment: str, now: datetime) -> float | None:
    """Seconds until a time in Unix seconds; `None` where it is none."""
    if not moment.isascii() or not moment.isdigit():
        return None
    return max(0.0, int(moment[:15]) - now.timestamp()) + 1
