"""The files of a git repository, as a commit has them: one on this machine, or one behind a URL."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol
from uuid import UUID

from tidemill.core.document import RawDocument, Source
from tidemill.core.repository import LastChange, TreeFile
from tidemill.crawlers.folder import collected
from tidemill.crawlers.options import GitOptions, options_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged


class Tree(Protocol):
    """The files of one commit."""

    @property
    def files(self) -> Sequence[TreeFile]:
        """Its regular files."""
        ...

    def read(self, files: Sequence[TreeFile]) -> AsyncGenerator[tuple[TreeFile, bytes], None]:
        """The contents of some of them, a bounded number of bytes at a time."""
        ...

    async def last_changes(self) -> Mapping[str, LastChange]:
        """Who changed each file last; of those alone where that is near enough in the history."""
        ...


class Repositories(Protocol):
    """Opens repositories that are not trusted."""

    def check(self, location: str, branch: str | None) -> None:
        """Goes on with a place and a branch that can be opened; raises `InvalidInput` for any other."""
        ...

    async def open(self, source_id: UUID, location: str, branch: str | None) -> Tree:
        """The newest commit of a branch, of the repository's own where none is named."""
        ...


class GitCrawler:
    """Collects the files of a repository, save hidden ones and those in folders that programs fill.

    Args:
        max_bytes: a larger file is not read.
    """

    def __init__(self, repositories: Repositories, max_bytes: int) -> None:
        self._repositories = repositories
        self._max_bytes = max_bytes

    def check(self, source: Source) -> None:
        """As the port says."""
        self._repositories.check(source.location, options_of(source, GitOptions).branch)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """As the port says. A document's tag is the name that git gives its content."""
        options = options_of(source, GitOptions)
        tree = await self._repositories.open(source.id, source.location, options.branch)
        taken = options.patterns
        fresh: list[TreeFile] = []
        for file in tree.files:
            if not collected(file.path.split("/"), taken):
                continue
            before = known.get(file.path)
            if before is not None and before.etag == file.blob:
                yield Unchanged(file.path)
            elif file.bytes > self._max_bytes:
                yield Failed(file.path, "too_large", self._too_large(file))
            else:
                fresh.append(file)
        changes = await tree.last_changes() if fresh else {}
        async with aclosing(tree.read(fresh)) as contents:
            async for file, data in contents:
                change = changes.get(file.path)
                yield RawDocument(
                    file.path,
                    data,
                    platform="git",
                    author=change.author if change else None,
                    modified_at=change.at if change else None,
                    etag=file.blob,
                )

    def _too_large(self, file: TreeFile) -> str:
        return (
            f"{file.path} has {file.bytes:,} bytes, and at most {self._max_bytes:,} are read (the setting "
            "knowledge.reading.max_bytes)."
        )
