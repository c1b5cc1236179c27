"""All that is stored of a person, as a zip archive: a JSON file for each kind, files' contents, and a manifest."""

import asyncio
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import IO
from uuid import UUID

from tidemill import __version__
from tidemill.accounts.audit import Audit
from tidemill.accounts.people import People
from tidemill.core.accounts import RIGHTS, Caller, Right
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import NotFound
from tidemill.core.json import Json
from tidemill.store.blobs import BlobStore
from tidemill.store.personal_data import EXPORTS, Person, PersonalData

MANIFEST = "manifest.json"
PIECE = 1024 * 1024
READING = frozenset({Right.MODELS_USE, Right.REVIEWS_READ, Right.CONVERSATIONS, Right.FILES, Right.KNOWLEDGE_READ})
"""The rights without which a key does not get at texts that an export holds."""
AT_ONCE = 2
"""Exports of one process: each fills the disk with an archive, and holds a connection while it reads."""


@dataclass(frozen=True, slots=True)
class ExportParts:
    """What an export is made with: who there is, their rows, their files, the log that hears of it, and the time."""

    people: People
    data: PersonalData
    blobs: BlobStore
    audit: Audit
    clock: Clock


class _Member:
    """A member of the archive in the making; `count` of its rows where it has some."""

    def __init__(self, count: int | None = None) -> None:
        self.size = 0
        self.digest = sha256()
        self.count = count

    def told(self) -> dict[str, Json]:
        """As the manifest says it."""
        told: dict[str, Json] = {"bytes": self.size, "sha256": self.digest.hexdigest()}
        return told if self.count is None else {**told, "count": self.count}


class ExportFlow:
    """Hands people what is stored of them."""

    def __init__(self, parts: ExportParts) -> None:
        self._parts = parts
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def export_own(self, caller: Caller, target: IO[bytes]) -> None:
        """Writes the archive of whoever asks, as `export` does.

        Raises:
            NotFound: no person stands behind the key.
            NotPermitted: the key is narrowed so that it may not read all that the person may.
        """
        if caller.user_id is None:
            raise NotFound("This key is no person's, of whom anything could be exported. Ask with a person's key.")
        user = await self._parts.people.get(caller.user_id)
        for right in READING & RIGHTS[user.role]:
            caller.require(right)
        await self.export(user.id, target, Actor.of(caller))

    async def export(self, user_id: UUID, target: IO[bytes], actor: Actor) -> None:
        """Writes the archive of one person; `target` can be read from its beginning afterwards.

        Raises:
            NotFound: there is no such person.
        """
        parts = self._parts
        await parts.people.get(user_id)
        async with parts.audit.change(actor) as change:
            change.note("user.exported", "user", user_id)
        async with self._turns:
            await self._write(user_id, target)

    async def _write(self, user_id: UUID, target: IO[bytes]) -> None:
        parts = self._parts
        person = await parts.data.person(user_id)
        members: dict[str, _Member] = {}
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
            for kind in EXPORTS:
                members[f"{kind}.json"] = await self._rows(archive, person, kind)
            async for page in parts.data.rows(person, "files"):
                for row in page:
                    name = f"files/{row['id']}"
                    members[name] = await self._content(archive, name, str(row["digest"]), int(str(row["bytes"])))
            archive.writestr(MANIFEST, self._manifest(user_id, members))
        target.seek(0)

    async def _rows(self, archive: zipfile.ZipFile, person: Person, kind: str) -> _Member:
        member = _Member(count=0)
        with archive.open(f"{kind}.json", "w", force_zip64=True) as file:
            _write(file, member, b"[")
            async for page in self._parts.data.rows(person, kind):
                await asyncio.to_thread(_write_rows, file, member, page)
            _write(file, member, b"\n]\n")
        return member

    async def _content(self, archive: zipfile.ZipFile, name: str, digest: str, size: int) -> _Member:
        member = _Member()
        try:
            content = await self._parts.blobs.open(digest, size)
        except NotFound:
            content = None  # deleted since the rows were read
        with archive.open(name, "w", force_zip64=True) as file:
            if content is not None:
                await asyncio.to_thread(_copy, content, file, member)
        return member

    def _manifest(self, user_id: UUID, members: dict[str, _Member]) -> str:
        told: dict[str, Json] = {
            "tidemill": __version__,
            "user": str(user_id),
            "created_at": self._parts.clock().isoformat(),
            "members": {name: member.told() for name, member in members.items()},
        }
        return json.dumps(told, indent=1)


def _write_rows(file: IO[bytes], member: _Member, rows: Iterable[dict[str, object]]) -> None:
    for row in rows:
        data = json.dumps(row, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")
        _write(file, member, (b",\n" if member.count else b"\n") + data)
        member.count = (member.count or 0) + 1


def _copy(content: IO[bytes], file: IO[bytes], member: _Member) -> None:
    with content:
        while piece := content.read(PIECE):
            _write(file, member, piece)


def _write(file: IO[bytes], member: _Member, data: bytes) -> None:
    file.write(data)
    member.size += len(data)
    member.digest.update(data)
