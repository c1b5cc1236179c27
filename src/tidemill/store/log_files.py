"""The log files in the data folder: what is old is emptied, and a word can be overwritten where it stands."""

import asyncio
import mmap
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

SHORTEST = 4
"""Bytes of a word that is overwritten: a shorter one stands in half of all lines, and names nobody."""


def overwrite_in_logs(folder: Path, words: Iterable[str]) -> int:
    """Overwrites each word, whatever its case, with asterisks of the same length, and returns how many there were.

    In place, since the programs that write these files hold them open.
    """
    needles = sorted({form for word in words for form in _forms(word)}, key=len, reverse=True)
    return sum(_overwrite(path, needles) for path in log_files(folder))


async def count_old_logs(folder: Path, before: datetime) -> int:
    """How many files there are to which nothing was written after this time."""
    return len(await asyncio.to_thread(_old_logs, folder, before))


async def empty_old_logs(folder: Path, before: datetime) -> int:
    """Empties them, since the programs that write them may hold them open; returns how many there were."""
    old = await asyncio.to_thread(_old_logs, folder, before)
    for path in old:
        os.truncate(path, 0)
    return len(old)


def log_files(folder: Path) -> Iterator[Path]:
    """Every file in the folder of logs, which may be missing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _old_logs(folder: Path, before: datetime) -> list[Path]:
    found = ((path, path.stat()) for path in log_files(folder))
    return [path for path, stat in found if stat.st_size and stat.st_mtime < before.timestamp()]


def _forms(word: str) -> set[bytes]:
    forms = {form.encode() for form in (word, word.lower(), word.upper(), word.title())}
    return {form for form in forms if len(form) >= SHORTEST}


def _overwrite(path: Path, needles: list[bytes]) -> int:
    if not needles or path.stat().st_size == 0:
        return 0
    count = 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        for needle in needles:
            at = content.find(needle)
            while at >= 0:
                content[at : at + len(needle)] = b"*" * len(needle)
                count += 1
                at = content.find(needle, at + len(needle))
    return count
