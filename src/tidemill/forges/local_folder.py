"""Reads the text files of a folder that is not trusted: what `.gitignore` files leave out is left out, links are not
followed, and nothing that the folder names is run."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.analysis.patterns import PathPatterns
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted

_NEVER = frozenset({".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__", ".mypy_cache", ".tox"})
_BINARY_PROBE = 8000
_LARGEST_IGNORE = 1_000_000
"""Bytes of a `.gitignore` that are read."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder's text files, by path from it, and what was not read, for a person."""

    files: dict[str, str]
    notes: tuple[str, ...]


def read_folder(root: Path, *, exclude: Sequence[str], max_file_bytes: int) -> Folder:
    """The text files under a folder, or one file.

    Args:
        root: the folder or file.
        exclude: patterns, as `.gitignore` has them, of what else is left out.
        max_file_bytes: a larger file is not read, and said so.

    Raises:
        InvalidInput: it is neither.
        NotFound: there is no such path.
        NotPermitted: it can't be opened.
    """
    try:
        mode = root.stat().st_mode
        if stat.S_ISREG(mode):
            return _read([(root.name, root)], max_file_bytes)
        if not stat.S_ISDIR(mode):
            raise InvalidInput(f"{root} is neither a folder nor a file.")
        return _read(_walk(root, "", (), exclude), max_file_bytes)
    except FileNotFoundError:
        raise NotFound(f"There is no {root}.") from None
    except PermissionError as error:
        raise NotPermitted(f"{error.filename} can't be read: {error.strerror}.") from error


def _walk(folder: Path, prefix: str, ignore: tuple[str, ...], exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Files, a folder's own before those below, each folder's in the order of their names.

    `ignore` holds the patterns of the folders above, as if they all stood in the root's file: a later one decides.
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    if any(entry.name == ".gitignore" and entry.is_file(follow_symlinks=False) for entry in entries):
        with (folder / ".gitignore").open("rb") as file:
            text = file.read(_LARGEST_IGNORE).decode("utf-8", "replace")
        ignore = (*ignore, *(_from_root(line.rstrip(), prefix) for line in text.splitlines() if _says(line)))
    patterns = PathPatterns([*ignore, *exclude])
    for entry in entries:
        if entry.is_file(follow_symlinks=False) and patterns.match(prefix + entry.name) is None:
            yield prefix + entry.name, Path(entry.path)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False) or entry.name in _NEVER:
            continue
        below = f"{prefix}{entry.name}/"
        if patterns.match(f"{below}.") is None:  # as what lies in it, so the folder
            yield from _walk(Path(entry.path), below, ignore, exclude)


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _from_root(pattern: str, prefix: str) -> str:
    """A pattern of a folder's `.gitignore` as it would stand in the root's."""
    sign, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    anchored = "/" in body.rstrip("/")
    return f"{sign}/{prefix}{body.lstrip('/')}" if anchored else f"{sign}/{prefix}**/{body}"


def _read(found: Iterator[tuple[str, Path]] | Sequence[tuple[str, Path]], most: int) -> Folder:
    files: dict[str, str] = {}
    large: list[str] = []
    for path, place in found:
        with place.open("rb") as file:
            data = file.read(most + 1)
        if b"\0" in data[:_BINARY_PROBE]:
            continue
        if len(data) > most:
            large.append(path)
            continue
        files[path] = data.decode("utf-8", "replace")
    if not large:
        return Folder(files, ())
    shown = ", ".join(large[:3]) + (f" and {len(large) - 3} more" if len(large) > 3 else "")
    return Folder(files, (f"Not read, for they have more than {most:,} bytes (`review.max_file_bytes`): {shown}.",))
