"""A person's data across all domains: erased with a receipt, step by step, so that what was killed goes on.

close access ─ texts ─ reviews and files ─ logs ─ tombstone → receipt

Each step can run again without harm, and is counted in the commit that does it. The person's address and name go
last, so that an erasure that was killed still knows whom to erase; `resume` finishes it.
"""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from uuid import UUID

from tidemill.accounts.audit import Audit, Change
from tidemill.accounts.people import People
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import NotFound
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.flows.review import WORKFLOW
from tidemill.jobs.durable import forget_workflows
from tidemill.store.blobs import BlobStore
from tidemill.store.erasures import Erasure, ErasureRepository
from tidemill.store.files import FileRepository
from tidemill.store.log_files import overwrite_in_logs
from tidemill.store.personal_data import CLOSE, TEXTS, TOMBSTONE, Person, PersonalData

AGAIN = timedelta(days=1)
"""After an erasure, for so long, what a request that was still in flight then has stored is erased as well."""

log = logging.getLogger(__name__)


class KeptAnswers(Protocol):
    """Where models' answers are kept to be given again."""

    async def erase(self, owners: Collection[UUID]) -> int:
        """Deletes what these owners asked first; returns how many answers that were."""
        ...


@dataclass(frozen=True, slots=True)
class ErasureParts:
    """What an erasure is made with.

    Attributes:
        people: knows the person, and who the last admin is.
        audit: hears of the beginning and the end.
        data: the person's rows.
        erasures: the rows of erasures.
        files: uploaded files, with their blobs.
        blobs: the changes that reviews read.
        answers: kept answers of models.
        logs: the folder of log files.
        clock: gives times.
    """

    people: People
    audit: Audit
    data: PersonalData
    erasures: ErasureRepository
    files: FileRepository
    blobs: BlobStore
    answers: KeptAnswers
    logs: Path
    clock: Clock


class ErasureFlow:
    """Erases people, and keeps the receipts."""

    def __init__(self, parts: ErasureParts) -> None:
        self._parts = parts

    async def erase(self, user_id: UUID, actor: Actor) -> Mapping[str, Json]:
        """Erases a person and returns the receipt; the one that is there where it was done before.

        Raises:
            NotFound: there is no such person.
            Conflict: it is the last admin.
        """
        async with self._parts.erasures.alone(user_id):
            found = await self._parts.erasures.of_user(user_id)
            if found is not None and found.receipt is not None:
                return found.receipt
            if found is None:
                await self._parts.people.get(user_id)
            await self._begin(user_id, actor)
            found = await self._parts.erasures.of_user(user_id)
            assert found is not None  # noqa: S101 - begun just now
            return await self._go_on(found)

    async def latest(self, *, limit: int) -> list[Erasure]:
        """The newest erasures."""
        return await self._parts.erasures.latest(limit=limit)

    async def resume(self) -> None:
        """Finishes what was killed, and erases what requests in flight have stored after an erasure."""
        for seen in await self._parts.erasures.since(self._parts.clock() - AGAIN):
            async with self._parts.erasures.alone(seen.user_id):
                erasure = await self._parts.erasures.of_user(seen.user_id)
                if erasure is not None and erasure.finished_at is None:
                    await self._go_on(erasure)
                elif erasure is not None:
                    await self._erase_stored(erasure, await self._parts.data.person(erasure.user_id), counted=False)

    async def _begin(self, user_id: UUID, actor: Actor) -> None:
        """Notes the erasure and closes the person's access, in one commit."""
        parts = self._parts
        if (await parts.erasures.of_user(user_id)) is None:
            await parts.people.change(user_id, {"disabled": True}, actor)
        person = await parts.data.person(user_id)
        now = parts.clock()
        async with parts.audit.change(actor) as change:
            await parts.people.keep_an_admin_beside(change, user_id)
            erasure = Erasure(new_id(), user_id, actor.kind, actor.id, {}, now)
            await parts.erasures.begin(change.connection, erasure)
            counts = await parts.data.erase(change.connection, person, CLOSE, now)
            await self._count(change, user_id, {name: counts[name] for name in counts if name != "disabled"})
            change.note("user.erasure_begun", "user", user_id)

    async def _count(self, change: Change, user_id: UUID, counts: Mapping[str, int]) -> None:
        cursor = await change.connection.execute("SELECT id FROM erasures WHERE user_id = %s", (user_id,))
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no erasure of the person {user_id}.")
        await self._parts.erasures.count(change.connection, UUID(str(row["id"])), counts)

    async def _go_on(self, erasure: Erasure) -> Mapping[str, Json]:
        parts = self._parts
        person = await parts.data.person(erasure.user_id)
        await self._erase_stored(erasure, person, counted=True)
        user = await parts.people.get(erasure.user_id)
        words = [word for word in (user.email, user.name) if word]
        overwritten = await asyncio.to_thread(overwrite_in_logs, parts.logs, words)
        actor = Actor(erasure.actor, erasure.actor_id)
        async with parts.audit.change(actor) as change:
            counts = await parts.data.erase(change.connection, person, TOMBSTONE, parts.clock())
            await self._count(change, erasure.user_id, {**counts, "words_in_logs": overwritten})
            receipt = await self._receipt(change, erasure)
            change.note("user.erased", "user", erasure.user_id, receipt=receipt["sha256"])
        await parts.data.clean()
        log.info("The person %s is erased; the receipt is %s.", erasure.user_id, receipt["sha256"])
        return receipt

    async def _erase_stored(self, erasure: Erasure, person: Person, *, counted: bool) -> None:
        """Texts first, then what durable work has recorded, then reviews and files with their blobs."""
        parts = self._parts
        async with parts.audit.change(Actor(erasure.actor, erasure.actor_id)) as change:
            counts = await parts.data.erase(change.connection, person, TEXTS, parts.clock())
            reviews = await parts.data.review_ids(person)
            counts["workflows"] = await forget_workflows(change.connection, WORKFLOW, reviews) if reviews else 0
            if counted:
                await parts.erasures.count(change.connection, erasure.id, counts)
        counts = {
            "reviews": await parts.data.delete_reviews(person, parts.blobs),
            "files": await parts.files.erase_owner([person.user_id, *person.key_ids]),
            "cached_answers": await parts.answers.erase([person.user_id, *person.key_ids]),
        }
        if counted:
            async with parts.audit.change(Actor(erasure.actor, erasure.actor_id)) as change:
                await parts.erasures.count(change.connection, erasure.id, counts)

    async def _receipt(self, change: Change, erasure: Erasure) -> Mapping[str, Json]:
        """What was done, when and by whom, without personal data; `sha256` is of the rest as sorted, compact JSON."""
        cursor = await change.connection.execute("SELECT counts FROM erasures WHERE id = %s", (erasure.id,))
        row = await cursor.fetchone()
        now = self._parts.clock()
        told: dict[str, Json] = {
            "erasure": str(erasure.id),
            "user": str(erasure.user_id),
            "by": {"kind": erasure.actor, "id": str(erasure.actor_id) if erasure.actor_id else None},
            "started_at": erasure.started_at.isoformat(),
            "finished_at": now.isoformat(),
            "counts": dict(row["counts"]) if row else {},  # type: ignore[call-overload]
        }
        told["sha256"] = receipt_digest(told)
        await self._parts.erasures.finish(change.connection, erasure.id, told, now)
        return told


def receipt_digest(receipt: Mapping[str, Json]) -> str:
    """The SHA-256 of a receipt without its `sha256`, as JSON with sorted names and no spaces."""
    rest = {name: value for name, value in receipt.items() if name != "sha256"}
    return sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
