"""Content-addressed files: the name of a blob is the SHA-256 of what it holds."""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from tidemill.core.errors import Configuration, NotFound, TidemillError
from tidemill.store.data_folder import inherit_owner, make_private_folder

INCOMING = "incoming-"
"""What is being received lies in the folder itself, where no blob and no backup looks."""
LEFT_SECONDS = 86_400.0
PIECE = 1024 * 1024


class BlobStore:
    """Blobs in a folder, `ab/cdef…` for the digest `abcdef…`. Written once, never changed.

    Args:
        folder: made (0700) at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, data: bytes) -> str:
        """Stores the bytes durably and returns their digest; storing the same bytes again is cheap."""
        return await asyncio.to_thread(self._put, data)

    async def get(self, digest: str) -> bytes:
        """The bytes of a digest.

        Raises:
            NotFound: no such blob.
            TidemillError: the file no longer matches its digest.
        """
        return await asyncio.to_thread(self._get, digest)

    async def delete(self, digest: str) -> None:
        """Deletes a blob; nothing happens where it is gone already.

        Raises:
            Configuration: the disk does not let it go.
        """
        try:
            await asyncio.to_thread(self._path(digest).unlink, missing_ok=True)
        except OSError as error:
            raise Configuration(f"{self._path(digest)} can't be deleted: {error.strerror}. Mend the folder.") from error

    @asynccontextmanager
    async def receive(self) -> AsyncIterator["IncomingBlob"]:
        """A blob that comes in pieces, and is gone at the end of the block where `place` has not kept it.

        Raises:
            Configuration: the folder can't be written to.
        """
        incoming = IncomingBlob(await asyncio.to_thread(self._open_incoming))
        try:
            yield incoming
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.discard))

    async def place(self, incoming: "IncomingBlob") -> None:
        """Keeps a finished blob under its digest; one that is there already stays."""
        await asyncio.to_thread(self._place, incoming)

    async def open(self, digest: str, size: int) -> IO[bytes]:
        """The blob, to be read in pieces and closed.

        Raises:
            NotFound: no such blob.
            TidemillError: the file does not have so many bytes any more.
        """
        return await asyncio.to_thread(self._open, digest, size)

    def _open_incoming(self) -> IO[bytes]:
        make_private_folder(self._folder)
        for left in self._folder.glob(f"{INCOMING}*"):
            with suppress(FileNotFoundError):  # what another receives has come to its end
                if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()
        try:
            return tempfile.NamedTemporaryFile(dir=self._folder, prefix=INCOMING, delete=False)
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def _place(self, incoming: "IncomingBlob") -> None:
        path = self._path(incoming.digest)
        if path.exists():
            return
        make_private_folder(path.parent)
        try:
            inherit_owner(incoming.path)
            incoming.path.rename(path)
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def _open(self, digest: str, size: int) -> IO[bytes]:
        path = self._path(digest)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise _gone(digest, self._folder) from error
        if os.fstat(file.fileno()).st_size != size:
            file.close()
            raise TidemillError(f"The file {path} is damaged: it does not have {size:,} bytes. Restore a backup.")
        return file

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest[2:]

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        incoming = IncomingBlob(self._open_incoming())
        try:
            incoming.put(data)
            self._place(incoming)
        finally:
            incoming.discard()
        return digest

    def _get(self, digest: str) -> bytes:
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise _gone(digest, self._folder) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise TidemillError(
                f"The file {self._path(digest)} is damaged: it no longer matches its name. Restore a backup."
            )
        return data


class IncomingBlob:
    """A blob on its way in: what has come so far is in a file of its own, and hashed.

    Attributes:
        size: bytes so far.
        digest: the SHA-256 in hexadecimal, once it is finished.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._held = bytearray()
        self.path = Path(file.name)
        self.size = 0
        self.digest = ""

    async def write(self, data: bytes) -> None:
        """Takes a piece.

        Raises:
            Configuration: the disk is full, or does not take it for another reason.
        """
        self.size += len(data)
        self._held += data
        if len(self._held) >= PIECE:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> None:
        """Makes it durable; nothing is written after this. Raises as `write` does."""
        await asyncio.to_thread(self._finish)

    def put(self, data: bytes) -> None:
        """Takes a whole blob, and makes it durable. Raises as `write` does."""
        self.size, self._held = len(data), bytearray(data)
        self._finish()

    async def text(self, limit: int) -> str | None:
        """What was finished, where it is UTF-8 text of at most so many bytes; `None` for anything else."""
        return await asyncio.to_thread(self._text) if self.size <= limit else None

    def discard(self) -> None:
        """Closes and removes the file; nothing happens where it was placed."""
        with suppress(OSError):  # a full disk does not take what is still to be written, and need not
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        try:
            self._file.write(self._held)
        except OSError as error:
            raise _no_room(self.path.parent, error) from error
        self._hash.update(self._held)
        self._held.clear()

    def _text(self) -> str | None:
        data = self.path.read_bytes()
        try:
            return None if b"\0" in data else data.decode()
        except UnicodeDecodeError:
            return None

    def _finish(self) -> None:
        self._flush()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _no_room(self.path.parent, error) from error
        self.digest = self._hash.hexdigest()


def _no_room(folder: Path, error: OSError) -> Configuration:
    return Configuration(f"The folder {folder} does not take a file: {error.strerror}. Make room, then try again.")


def _gone(digest: str, folder: Path) -> NotFound:
    return NotFound(f"The stored data {digest[:12]}… is gone from {folder}. Restore it from a backup.")
