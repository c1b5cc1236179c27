"""Content-addressed files: the name of a blob is the SHA-256 of what it holds."""

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

from tidemill.core.errors import NotFound, TidemillError


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

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest[2:]

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).rename(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        return digest

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
