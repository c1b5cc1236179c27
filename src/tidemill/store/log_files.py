"""The log files in the data folder: what is old is emptied, and a word can be overwritten where it stands."""

import asyncio
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tidemill.core.errors import Configuration

SHORTEST = 4
"""Bytes of a word that is overwritten: a shorter one stands in half of all lines, and names nobody."""
PIECE = 1024 * 1024


def overwrite_in_logs(folder: Path, words: Iterable[str]) -> int:
    """Overwrites each word, whatever its case, with asterisks of the same length, and returns how many there were.

    In place, since the programs that write these files hold them open.

    Raises:
        Configuration: a file can't be written to.
    """
    needles = sorted({form for word in words for form in _forms(word)}, key=len, reverse=True)
    return sum(_overwrite(path, needles) for path in log_files(folder)) if needles else 0


async def count_old_logs(folder: Path, before: datetime) -> int:
    """How many files there are to which nothing was written after this time."""
    return len(await asyncio.to_thread(_old_logs, folder, before))


async def empty_old_logs(folder: Path, before: datetime) -> int:
    """Empties them, since the programs that write them may hold them open; returns how many there were.

    Raises:
        Configuration: a file can't be written to.
    """
    old = await asyncio.to_thread(_old_logs, folder, before)
    for path in old:
        with _moved_or_refused(path):
            os.truncate(path, 0)
    return len(old)


def log_files(folder: Path) -> Iterator[Path]:
    """Every file in the folder of logs, which may be missing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _old_logs(folder: Path, before: datetime) -> list[Path]:
    old = []
    for path in log_files(folder):
        with _moved_or_refused(path):
            stat = path.stat()
            if stat.st_size and stat.st_mtime < before.timestamp():
                old.append(path)
    return old


@contextmanager
def _moved_or_refused(path: Path) -> Iterator[None]:
    """Goes on where a program has moved its log aside meanwhile."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise Configuration(
            f"The log file {path} can't be changed: {error.strerror}. Make its folder the hub's user's own."
        ) from error


def _forms(word: str) -> set[bytes]:
    forms = {form.encode() for form in (word, word.lower(), word.upper(), word.title())}
    return {form for form in forms if len(form) >= SHORTEST}


def _overwrite(path: Path, needles: list[bytes]) -> int:
    """Reads in pieces rather than through a map: a file that a program empties meanwhile would end the process."""
    pattern, longest = re.compile(b"|".join(map(re.escape, needles)), re.IGNORECASE), len(needles[0])
    count, place, window = 0, 0, b""
    with _moved_or_refused(path), path.open("r+b", buffering=0) as file:
        while True:
            piece = os.pread(file.fileno(), PIECE, place + len(window))
            window += piece
            sure = len(window) - longest if piece else len(window)
            done = max(0, sure + 1)
            for match in pattern.finditer(window):
                if match.start() > sure:
                    break
                os.pwrite(file.fileno(), b"*" * len(match[0]), place + match.start())
                count, done = count + 1, max(done, match.end())
            if not piece:
                return count
            place, window = place + done, window[done:]
    return count
