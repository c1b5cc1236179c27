"""Files: received in pieces, kept within limits, and shown to their owner alone."""

import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Literal
from uuid import UUID

from tidemill.analysis.classification import classify_all
from tidemill.core.accounts import Caller
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotFound, TooLarge
from tidemill.core.file import File, Purpose
from tidemill.core.ids import new_id
from tidemill.core.text import storable
from tidemill.llm.outside import Classify, classified
from tidemill.settings import FileSettings
from tidemill.store.blobs import BlobStore, IncomingBlob
from tidemill.store.files import FileRepository

LONGEST_NAME = 255
MOST_READ = 1_000_000
"""Bytes of the largest file whose level is found by its text: a tenth of a second's work."""
LEAST_SECONDS, MOST_SECONDS = 3600, 2_592_000
"""An hour and thirty days, as in OpenAI's API."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that the hub is to write for an owner, under an id that was chosen before."""

    id: UUID
    owner_id: UUID
    filename: str
    purpose: Purpose
    expires_at: datetime | None


class Upload:
    """A file that is being received, with the most bytes that it may have."""

    def __init__(self, incoming: IncomingBlob, limit: int, refusal: str) -> None:
        self.incoming = incoming
        self._limit = limit
        self._refusal = refusal

    async def write(self, data: bytes) -> None:
        """Takes a piece.

        Raises:
            TooLarge: the file is over a limit with it; the message says which.
            Configuration: the disk does not take it.
        """
        if self.incoming.size + len(data) > self._limit:
            raise TooLarge(self._refusal, param="file")
        await self.incoming.write(data)


class Files:
    """The service for files. Whatever a caller names that is another's does not exist for them."""

    def __init__(
        self,
        repository: FileRepository,
        blobs: BlobStore,
        settings: FileSettings,
        clock: Clock,
        classify: Classify = classify_all,
    ) -> None:
        self._repository = repository
        self._blobs = blobs
        self._settings = settings
        self._clock = clock
        self._classify = classify

    @asynccontextmanager
    async def receive(self, caller: Caller) -> AsyncIterator[Upload]:
        """Room for a file of the caller's; where `keep` is not reached, nothing of it is left.

        Raises:
            TooLarge: the caller's files have no room left.
            Configuration: the disk takes no file.
        """
        left = self._settings.owner_max_bytes - await self._repository.used(caller.owner_id, self._clock())
        if left <= 0:
            raise self._no_room_left()
        if left < self._settings.max_bytes:
            limit, refusal = left, self._no_room_left().message
        else:
            limit = self._settings.max_bytes
            refusal = f"The file has more than {limit:,} bytes, which are the most (setting `files.max_bytes`)."
        async with self._blobs.receive() as incoming:
            yield Upload(incoming, limit, refusal)

    async def keep(
        self, caller: Caller, upload: Upload, *, filename: str, purpose: Purpose, seconds: int | None
    ) -> File:
        """Keeps what was received; `seconds` from now it ends.

        Raises:
            InvalidInput: the name or the time can't be used.
            TooLarge: the caller's files have no room left.
        """
        name = shown_name(filename)
        if seconds is not None and not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise InvalidInput(
                f"`expires_after[seconds]` is between {LEAST_SECONDS} and {MOST_SECONDS}.", param="expires_after"
            )
        await upload.incoming.finish()
        text = await upload.incoming.text(MOST_READ)
        now = self._clock()
        file = File(
            id=new_id(),
            owner_id=caller.owner_id,
            filename=name,
            purpose=purpose,
            bytes=upload.incoming.size,
            digest=upload.incoming.digest,
            created_at=now,
            expires_at=None if seconds is None else now + timedelta(seconds=seconds),
            level=(await classified([text or ""], self._classify)).level,
        )
        if not await self._repository.add(file, upload.incoming, owner_max_bytes=self._settings.owner_max_bytes):
            raise self._no_room_left()
        return file

    async def write(self, new: NewFile, pieces: AsyncIterator[bytes]) -> None:
        """Writes a file that the hub made for an owner, once: nothing happens where it is there.

        It counts among the owner's files, and is written also where they have no room left: what was paid for is not
        lost.

        Raises:
            Configuration: the disk takes no file.
        """
        now = self._clock()
        if await self._repository.get(new.id, new.owner_id, now) is not None:
            return
        async with self._blobs.receive() as incoming:
            async for piece in pieces:
                await incoming.write(piece)
            await incoming.finish()
            text = await incoming.text(MOST_READ)
            file = File(
                id=new.id,
                owner_id=new.owner_id,
                filename=new.filename,
                purpose=new.purpose,
                bytes=incoming.size,
                digest=incoming.digest,
                created_at=now,
                expires_at=new.expires_at,
                level=(await classified([text or ""], self._classify)).level,
            )
            await self._repository.add(file, incoming, owner_max_bytes=sys.maxsize)

    async def get(self, caller: Caller, file_id: UUID) -> File:
        """One of the caller's files.

        Raises:
            NotFound: there is none, it is another's, or its time is over.
        """
        found = await self._repository.get(file_id, caller.owner_id, self._clock())
        if found is None:
            raise _unknown(file_id)
        return found

    async def list(
        self,
        caller: Caller,
        *,
        purpose: Purpose | None,
        limit: int,
        order: Literal["asc", "desc"],
        after: UUID | None,
    ) -> Sequence[File]:
        """The caller's files.

        Raises:
            NotFound: `after` is not one of them.
        """
        if after is not None:
            await self.get(caller, after)
        return await self._repository.list(
            caller.owner_id, self._clock(), purpose=purpose, limit=limit, order=order, after=after
        )

    async def open(self, caller: Caller, file_id: UUID) -> tuple[File, IO[bytes]]:
        """One of the caller's files with its content, to be closed.

        Raises:
            NotFound: as `get` does, or its content is gone from the disk.
            TidemillError: its content is damaged.
        """
        file = await self.get(caller, file_id)
        return file, await self._blobs.open(file.digest, file.bytes)

    async def delete(self, caller: Caller, file_id: UUID) -> None:
        """Deletes one of the caller's files.

        Raises:
            NotFound: there is none, or it is another's.
        """
        if not await self._repository.delete(file_id, caller.owner_id):
            raise _unknown(file_id)

    def _no_room_left(self) -> TooLarge:
        return TooLarge(
            f"Your files would have more than {self._settings.owner_max_bytes:,} bytes together, which are the most "
            "(setting `files.owner_max_bytes`). Delete some.",
            param="file",
        )


def shown_name(filename: str) -> str:
    """The last part of a name, as it may be stored and shown: no folder, no control character, at most 255 long.

    Raises:
        InvalidInput: nothing is left of it.
    """
    last = re.split(r"[/\\]", storable(filename))[-1]
    name = "".join(character for character in last if character.isprintable()).strip()
    if name.strip(".") == "":
        raise InvalidInput("The file needs a name.", param="file")
    stem, dot, suffix = name.rpartition(".")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{stem[: LONGEST_NAME - len(suffix) - 1]}.{suffix}" if dot and len(suffix) < 20 else name[:LONGEST_NAME]


def _unknown(file_id: UUID) -> NotFound:
    return NotFound(f"There is no file file-{file_id.hex}.")
