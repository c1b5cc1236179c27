"""The hidden marks by which Tidemill finds what it has written: a step that was killed does not write it twice.

A mark is the last line of a comment. What a repository says can stand only before it, so nobody can forge one by a
quoted line of code; and it counts in comments of Tidemill's own account alone.
"""

import re
from collections.abc import Iterable

from tidemill.core.pull_request import ForgeComment

SUMMARY = "summary"
FINDING = "finding"
REPLY = "reply"
_MARK = re.compile(r"<!-- tidemill:(\w+) ([\w.:/-]{1,200}) -->")


def mark(kind: str, name: str) -> str:
    """The mark of this kind and name, to be put at the end of a comment."""
    return f"<!-- tidemill:{kind} {name} -->"


def marked(body: str) -> tuple[str, str] | None:
    """The kind and name of a comment's mark, or `None`."""
    last = body.rstrip().rpartition("\n")[2].strip()
    found = _MARK.fullmatch(last)
    return (found[1], found[2]) if found else None


def own_marked(comments: Iterable[ForgeComment], kind: str) -> dict[str, ForgeComment]:
    """Tidemill's own comments with a mark of this kind, by its name; of two the first one."""
    found: dict[str, ForgeComment] = {}
    for comment in comments:
        seen = marked(comment.body) if comment.own else None
        if seen is not None and seen[0] == kind:
            found.setdefault(seen[1], comment)
    return found


def with_mark(text: str, kind: str, name: str, *, limit: int, note: str) -> str:
    """A text with its mark, cut at a paragraph, with a note that says so, where both are over `limit` characters."""
    end = f"\n\n{mark(kind, name)}"
    if len(text) + len(end) <= limit:
        return text + end
    room = limit - len(end) - len(note) - 2
    kept = text[:room]
    at = max(kept.rfind("\n\n"), kept.rfind("\n") if "\n\n" not in kept else -1)
    return f"{(kept[:at] if at > 0 else kept).rstrip()}\n\n{note}{end}"
