"""How often files were changed in the year before a commit, and how often to mend something.

The first commit of all is not counted: it changes nothing, and in a shallow repository is none.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, FileHistory
from tidemill.core.errors import TooLarge
from tidemill.forges.git_process import Git

YEAR = timedelta(days=365)
MOST_COMMITS = 5000
"""The newest; what came before them is not counted."""
MOST_BYTES = 32_000_000
"""Of a list of commits, or of what they changed: some 400,000 changes of files. A small repository can say more."""
_LISTED = ("--encoding=UTF-8", "--format=%x00%H%x00%s%x00")
_CHANGED = ("-r", "-z", "--raw", "--abbrev=4", "--no-renames")
_DIGITS = 15
_EARLIEST, _LATEST = int(2 * YEAR.total_seconds()), 250_000_000_000
_MENDS = re.compile(
    r"\b(?:bugs?|(?:hot|bug)?fix(?:e[ds]|ing)?|mend(?:s|ed|ing)?|repair(?:s|ed|ing)?|regressions?|revert(?:s|ed|ing)?"
    r"|crash(?:es|ed|ing)?|cve-\d+)\b|(?<!\w)(?:sửa lỗi|khắc phục|vá lỗi)(?!\w)",
    re.IGNORECASE,
)


async def committed_at(git: Git, commit: str) -> datetime:
    """When a commit was made, as it says; whatever it says, within the years that git and `datetime` know."""
    shown = await git.run("rev-list", "--max-count=1", "--format=%x00%ct", commit, "--")
    said = shown.rpartition(b"\0")[2].strip()
    seconds = int(said[:_DIGITS]) if said.isdigit() else 0
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST), _LATEST), UTC)


async def file_histories(git: Git, commit: str, at: datetime) -> Mapping[str, FileHistory]:
    """What became of files in the year up to a commit, by their paths; of merges and renames nothing is counted.

    Args:
        git: the repository, which has the trees of that year. Their files may be absent.
        commit: the whole id of the last commit that counts.
        at: when that was made.

    Raises:
        TooLarge: the year has too many changes.
        Unavailable: git took too long.
    """
    since = int((at - YEAR).timestamp())
    which = ("--no-merges", f"--max-count={MOST_COMMITS}", f"--max-age={since}")
    try:
        listed = await git.run("rev-list", *which, *_LISTED, commit, "--", limit=MOST_BYTES)
        fields = listed.split(b"\0")
        subjects = zip(fields[1::3], fields[2::3], strict=True)
        mends = {sha: bool(_MENDS.search(subject.decode("utf-8", "replace"))) for sha, subject in subjects}
        asked = b"".join(sha + b"\n" for sha in mends)
        raw = await git.run("diff-tree", "--stdin", *_CHANGED, stdin=asked, limit=MOST_BYTES)
    except TooLarge:
        raise TooLarge(f"What a year's commits changed takes over {MOST_BYTES:,} bytes to list.") from None
    return await asyncio.to_thread(_counted, raw, mends)


def with_histories(change: ChangeSet, histories: Mapping[str, FileHistory]) -> ChangeSet:
    """The change with the histories of its files, by the paths that they had before it."""
    names = {file.path: file.old_path or "" for file in parse_diff(change.diff).files}
    return replace(change, history={path: histories[old] for path, old in names.items() if old in histories})


def _counted(raw: bytes, commits: Mapping[bytes, bool]) -> Mapping[str, FileHistory]:
    """How many of the commits changed each file, and how many of those that mend something did."""
    changes: Counter[bytes] = Counter()
    mended: Counter[bytes] = Counter()
    mends = False
    fields = iter(raw.split(b"\0"))
    for field in fields:
        if field.startswith(b":"):
            path = next(fields)
            changes[path] += 1
            mended[path] += mends
        else:
            mends = commits.get(field, False)
    return {path.decode("utf-8", "replace"): FileHistory(count, mended[path]) for path, count in changes.items()}
