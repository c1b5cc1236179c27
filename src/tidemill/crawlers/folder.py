"""The files of a folder on this machine.

Nothing outside of it is read: symbolic links are passed over, and a file is opened step by step, so that a folder which
turns into a link between two looks leads nowhere.
"""

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidemill.core.document import RawDocument, Source
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted
from tidemill.core.text import storable
from tidemill.crawlers.options import PASSED_OVER, FileOptions, options_of
from tidemill.crawlers.patterns import NOT_TEXT, Patterns, suffix_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged

_STEP: int | None = getattr(os, "O_PATH", None)
SETTLED_SECONDS = 2.0
"""A file that was written later than this before it was looked at could change again without a new time."""


@dataclass(frozen=True, slots=True)
class _File:
    parts: tuple[str, ...]
    size: int
    modified_ns: int

    @property
    def path(self) -> str:
        return storable("/".join(self.parts))

    def etag(self, now: float) -> str | None:
        """What changes when the file does; `None` as long as that is not certain."""
        if now - self.modified_ns / 1e9 < SETTLED_SECONDS:
            return None
        return f"{self.modified_ns:x}-{self.size:x}"


class FolderCrawler:
    """Collects the files of a folder and of those in it, save hidden ones, links, and folders that programs fill.

    Args:
        max_bytes: a larger file is not read.
        private: folders that are never collected: Tidemill's own data.
    """

    def __init__(self, max_bytes: int, private: Sequence[Path]) -> None:
        self._max_bytes = max_bytes
        self._private = [path.resolve() for path in private]

    def check(self, source: Source) -> None:
        """As the port says."""
        options_of(source, FileOptions)
        self._root(source)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """As the port says."""
        root = await asyncio.to_thread(self._root, source)
        options, now = options_of(source, FileOptions), time.time()
        files = await asyncio.to_thread(lambda: list(self._files(root, options)))
        if known and not files and await asyncio.to_thread(_is_empty, root):
            raise NotFound(
                f"The folder {str(root)!r} is empty, and {len(known):,} of its documents are stored. If a disk is to "
                "be mounted there, mount it and sync again. To be rid of the documents, remove the source."
            )
        for file in files:
            etag, before = file.etag(now), known.get(file.path)
            if before is not None and etag is not None and before.etag == etag:
                yield Unchanged(file.path)
            elif file.size > self._max_bytes:
                yield Failed(file.path, "too_large", self._too_large(file))
            else:
                try:
                    data = await asyncio.to_thread(_read, root, file.parts, self._max_bytes)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    yield Failed(file.path, "not_permitted", f"{file.path} can't be read: {error.strerror}.")
                else:
                    modified = datetime.fromtimestamp(file.modified_ns / 1e9, UTC)
                    yield RawDocument(file.path, data, modified_at=modified, platform="folder", etag=etag)

    def _root(self, source: Source) -> Path:
        path = Path(source.location)
        try:
            if not path.is_absolute() or path.resolve() != path:
                raise InvalidInput(
                    f"{source.location[:300]!r} is not the whole path of a folder, without links and `..` in it.",
                    param="location",
                )
            is_folder = path.is_dir()
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidInput(f"{source.location[:300]!r} can't be a folder's path.", param="location") from error
        if any(path == own or own in path.parents for own in self._private):
            raise NotPermitted(f"{path} holds Tidemill's own data, which is no source.", param="location")
        if not is_folder:
            raise NotFound(f"There is no folder {str(path)!r} on the hub's machine.", param="location")
        return path

    def _files(self, root: Path, options: FileOptions) -> Iterator[_File]:
        def failed(error: OSError) -> None:
            raise NotPermitted(
                f"The folder {error.filename} can't be listed: {error.strerror}. Let the hub's user read it, or leave "
                "it out with the option `exclude`."
            ) from error

        taken, left_out = options.patterns, options.left_out
        for folder, folders, names in os.walk(root, onerror=failed):
            here = Path(folder)
            parts = here.relative_to(root).parts
            folders[:] = sorted(name for name in folders if self._enters(here / name, (*parts, name), left_out))
            for name in sorted(names):
                if not collected((*parts, name), taken):
                    continue
                try:
                    found = (here / name).lstat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield _File((*parts, name), found.st_size, found.st_mtime_ns)

    def _enters(self, folder: Path, parts: tuple[str, ...], left_out: Patterns) -> bool:
        if folder.name.startswith(".") or folder.name in PASSED_OVER or folder.is_symlink():
            return False
        return folder not in self._private and left_out.take("/".join(parts) + "/")

    def _too_large(self, file: _File) -> str:
        return (
            f"{file.path} has {file.size:,} bytes, and at most {self._max_bytes:,} are read (the setting "
            "knowledge.reading.max_bytes)."
        )


def collected(parts: Sequence[str], taken: Patterns) -> bool:
    """Whether a file is a document: one that is not hidden, holds text for people by its name, and is wanted."""
    if any(part.startswith(".") or part in PASSED_OVER for part in parts):
        return False
    return suffix_of(parts[-1]) not in NOT_TEXT and taken.take(storable("/".join(parts)))


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in it, not even what is passed over."""
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _read(root: Path, parts: Sequence[str], most: int) -> bytes:
    """A file's bytes, opened step by step without following a link; at most one more than are read.

    From `/` on where a folder above the root need not be readable for that, as on Linux; else from the root on.
    """
    start, steps = (root, parts[:-1]) if _STEP is None else (root.anchor, (*root.parts[1:], *parts[:-1]))
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | (os.O_RDONLY if _STEP is None else _STEP)
    folder = os.open(start, flags)
    try:
        for part in steps:
            below = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = below
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(file, "rb") as opened:
            return opened.read(most + 1)
    finally:
        os.close(folder)
