"""Content-addressed files: the name of a blob is the SHA-256 of what it holds."""

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

from tidemill.core.errors import Configuration, NotFound, TidemillError
from tidemill.store.data_folder import inherit_owner, make_private_folder


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
        """Deletes a blob; nothing happens where it is gone already."""
        await asyncio.to_thread(self._path(digest).unlink, missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest[2:]

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        make_private_folder(make_private_folder(self._folder) / digest[:2])
        try:
            self._write(path, data)
        except OSError as error:
            raise Configuration(
                f"The data folder {self._folder} does not take a file of {len(data):,} bytes: {error.strerror}. "
                "Make room, then try again."
            ) from error
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                inherit_owner(Path(file.name))
                Path(file.name).rename(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _get(self, digest: str) -> bytes:
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"The stored data {digest[:12]}… is gone from {self._folder}. Restore it from a backup."
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise TidemillError(
                f"The file {self._path(digest)} is damaged: it no longer matches its name. Restore a backup."
            )
        return data
