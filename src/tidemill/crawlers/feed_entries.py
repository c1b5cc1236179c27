"""The entries of a feed, read in a process apart: `python -m tidemill.crawlers.feed_entries`.

A feed is not trusted, and the time that its parser takes grows with the square of what is broken in it: some hundred
kilobytes can keep it busy for hours. The process has bounds of time and memory, no environment, and reads one feed.
"""

import asyncio
import hashlib
import html
import json
import resource
import sys
from calendar import timegm
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from tidemill.core.errors import InvalidInput, Unavailable
from tidemill.core.text import storable
from tidemill.crawlers.urls import canonical_url

SECONDS = 60
"""Of the clock and of the CPU. A feed of the largest size that is fetched takes a few."""
MEMORY_BYTES = 1_500_000_000
LONGEST_PATH = 1000
"""Bytes of an entry's identifier; a longer one is known by its digest, for two may begin alike."""
LONGEST_FIELD = 500
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
_NOT_A_FEED = (
    "{url} is no RSS or Atom feed. Give the feed's own address; a page often names it in its head, as an alternate "
    "link."
)


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry. `path` is its own identifier, `content` its longest form, as HTML."""

    path: str
    url: str | None
    title: str | None
    author: str | None
    licence: str | None
    platform: str
    published_at: datetime | None
    modified_at: datetime | None
    content: str


async def read_entries(data: bytes, url: str, media_type: str, most: int) -> list[FeedEntry]:
    """The first entries of a feed, `most` of them.

    Raises:
        InvalidInput: it is no feed, or one that can't be read within the bounds.
        Unavailable: no process could be started to read it.
    """
    head = json.dumps({"url": url, "media_type": media_type, "most": most}).encode()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "tidemill.crawlers.feed_entries"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"No process could be started to read the feed {url}: {error.strerror}.") from error
    try:
        async with asyncio.timeout(SECONDS):
            answer, _ = await process.communicate(head + b"\n" + data)
    except TimeoutError:
        answer = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise InvalidInput(
            f"The feed {url} can't be read within {SECONDS} s and {MEMORY_BYTES:,} bytes of memory: it is damaged, or "
            "made to take long.",
            param="location",
        )
    found = json.loads(answer)
    if found is None:
        raise InvalidInput(_NOT_A_FEED.format(url=url), param="location")
    return [_entry(fields) for fields in found]


def platform_of(url: str, generator: str) -> str:
    """Who publishes a feed: `medium`, `substack` or `web`."""
    host, made_by = urlsplit(url).hostname or "", generator.strip().lower()
    if host == "medium.com" or host.endswith(".medium.com") or made_by == "medium":
        return "medium"
    if host.endswith(".substack.com") or made_by == "substack":
        return "substack"
    return "web"


def _entry(fields: dict[str, Any]) -> FeedEntry:
    dates = {name: fields[name] and datetime.fromisoformat(fields[name]) for name in ("published_at", "modified_at")}
    return FeedEntry(**{**fields, **dates})


def _main() -> None:
    """Reads what stands at the standard input, a line that says what it is before it, and writes its entries."""
    bounds = {resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        bounds[resource.RLIMIT_AS] = MEMORY_BYTES
    for which, most in bounds.items():
        _, hard = resource.getrlimit(which)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (least, least))
    asked = json.loads(sys.stdin.buffer.readline())
    found = entries_in(sys.stdin.buffer.read(), asked["url"], asked["media_type"], asked["most"])
    told = None if found is None else [asdict(one) for one in found]
    sys.stdout.write(json.dumps(told, default=datetime.isoformat))


def entries_in(data: bytes, url: str, media_type: str, most: int) -> list[FeedEntry] | None:
    """The first entries of a feed; `None` of what is none. Takes as long as it likes."""
    import feedparser  # noqa: PLC0415 - takes a while to load, and the hub itself never needs it

    headers = {"content-location": url, "content-type": media_type}
    parsed = feedparser.parse(BytesIO(data), response_headers=headers)
    if not parsed.get("version"):
        return None
    platform = platform_of(url, str(parsed.feed.get("generator", "")))
    return list(_of(parsed, url, platform, most))


def _of(parsed: Any, url: str, platform: str, most: int) -> Iterator[FeedEntry]:
    for entry in parsed.entries[:most]:
        link = canonical_url(str(entry.link), url) if entry.get("link") else None
        content = _content(entry)
        path = storable(str(entry.get("id") or link or ""))
        if not 0 < len(path.encode()) <= LONGEST_PATH:
            said = path or f"{entry.get('title', '')}\n{content}"
            path = "entry-" + hashlib.sha256(said.encode(errors="replace")).hexdigest()
        yield FeedEntry(
            path,
            link,
            _field(entry.get("title")),
            _field(entry.get("author") or parsed.feed.get("author")),
            _field(entry.get("license") or parsed.feed.get("license") or parsed.feed.get("rights")),
            platform,
            _moment(entry.get("published_parsed")),
            _moment(dict.get(entry, "updated_parsed")),  # its own `get` gives the other date where there is none
            content,
        )


def _content(entry: Any) -> str:
    """The entry's own text as HTML: its longest form."""
    forms = [(part.get("value", ""), part.get("type", "")) for part in entry.get("content", [])]
    if "summary" in entry:
        forms.append((entry.summary, entry.get("summary_detail", {}).get("type", "")))
    text, kind = max(forms, key=lambda form: len(form[0]), default=("", ""))
    return f"<p>{html.escape(text)}</p>" if kind == "text/plain" else str(text)


def _field(value: object) -> str | None:
    text = " ".join(storable(str(value or "")).split())
    return text[:LONGEST_FIELD] or None


def _moment(parsed: Any) -> datetime | None:
    if parsed is None:
        return None
    try:
        return datetime.fromtimestamp(timegm(parsed), UTC)
    except (ValueError, OverflowError, OSError):
        return None


if __name__ == "__main__":
    _main()
