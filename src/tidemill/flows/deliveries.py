"""Deliveries of webhooks: taken in once, and handed to the workflow that works them.

delivery → its sender checked → read → a row, unless its id or its body is known → the workflow `forge.event`
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from pydantic_core import to_json

from tidemill.core.clock import Clock
from tidemill.core.errors import NotAuthenticated, NotFound
from tidemill.core.ids import new_id
from tidemill.core.pull_request import EventKind, ForgeEvent, ForgeKind
from tidemill.forges.webhooks import DeliveryHead, check_signed, read_event, read_head, read_payload, verify
from tidemill.jobs.port import Jobs
from tidemill.settings.forges import ForgeSettings
from tidemill.store.deliveries import DeliveryRepository, DeliveryRow, DeliveryState

WORKFLOW = "forge.event"
SETTLING = timedelta(seconds=30)
"""A delivery that waits for longer without a workflow lost it between two writes, and gets it again."""
MOST_ATTEMPTS = 5
"""How often the work for a delivery may begin."""
ARRIVING_AT_ONCE = 40
LARGE_AT_ONCE = 4
BESIDE_BYTES = 100_000
"""A larger body is read beside the event loop."""

log = logging.getLogger(__name__)


class Secrets(Protocol):
    """Gives the secrets that an operator stored."""

    async def reveal(self, name: str) -> str:
        """A secret's value. Raises `Configuration` where there is none of this name."""
        ...


class Taken(StrEnum):
    """What became of a delivery."""

    QUEUED = "queued"
    KNOWN = "known"
    """It came before: nothing is done."""
    IGNORED = "ignored"
    """It tells of nothing that Tidemill does anything about."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. `id` is its row's where work is still to be queued: see `Deliveries.queue`."""

    taken: Taken
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who is to have sent a delivery: a forge of the settings; `head` is what the delivery says of itself."""

    name: str
    settings: ForgeSettings
    head: DeliveryHead


class Deliveries:
    """Takes deliveries in.

    Args:
        jobs: runs the workflow, which another registers.
        rows: remembers them.
        forges: the settings, by name.
        secrets: gives the webhooks' secrets.
        clock: gives times.

    Attributes:
        arriving: is held while a large body comes in, to the disk: who sends it is known only when it has come.
        large: is held while a large body that has come is in memory, where its signature is checked.
    """

    def __init__(
        self,
        jobs: Jobs,
        rows: DeliveryRepository,
        forges: Mapping[str, ForgeSettings],
        secrets: Secrets,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._rows = rows
        self._forges = forges
        self._secrets = secrets
        self._clock = clock
        self.arriving = asyncio.Semaphore(ARRIVING_AT_ONCE)
        self.large = asyncio.Semaphore(LARGE_AT_ONCE)

    def sender(self, wanted: str | None, headers: Mapping[str, str]) -> Sender:
        """Whose delivery this is, by its headers alone; before anything of its body is read.

        Args:
            wanted: the name of a forge, or a kind of which there is one; `None` for the only one of the headers' kind.
            headers: by their names in lower case.

        Raises:
            InvalidInput: it is no delivery.
            NotAuthenticated: it is not signed, or its forge has no secret here.
            NotFound: there is no such forge.
        """
        head = read_head(headers)
        check_signed(head.kind, headers)
        name = self._name(wanted, head.kind)
        settings = self._forges[name]
        if settings.kind != head.kind:
            raise NotFound(f"The forge {name} is a {settings.kind}, and this is a delivery of a {head.kind}.")
        if settings.webhook_secret is None:
            raise NotAuthenticated(
                f"The forge {name} has no secret for webhooks, and without one no delivery is taken. Set "
                f"forges.{name}.webhook_secret."
            )
        return Sender(name, settings, head)

    async def take(self, sender: Sender, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Checks and remembers a delivery; a known one, or one of no interest, is let go.

        Raises:
            NotAuthenticated: its sender does not know the secret.
            InvalidInput: it can't be read.
            Configuration: the secret is not stored.
        """
        secret = await self._secrets.reveal(sender.settings.webhook_secret or "")
        arguments = (sender, headers, body, secret)
        large = len(body) > BESIDE_BYTES
        event, payload = await asyncio.to_thread(self._read, *arguments) if large else self._read(*arguments)
        if event.kind is EventKind.OTHER or event.key is None:
            return Receipt(Taken.IGNORED)
        if not sender.settings.allows(event.key.project.path):
            log.info("%s told of %s, which is none of its projects here.", sender.name, event.key.project.path)
            return Receipt(Taken.IGNORED)
        row = DeliveryRow(
            id=new_id(),
            forge=sender.name,
            delivery=sender.head.id,
            event=sender.head.event,
            actor=event.actor[:200],
            digest=sha256(payload).hexdigest(),
            payload=payload,
            state=DeliveryState.RECEIVED,
            received_at=self._clock(),
        )
        if not await self._rows.add(row):
            return Receipt(Taken.KNOWN)
        return Receipt(Taken.QUEUED, row.id)

    async def queue(self, delivery_id: UUID) -> None:
        """Queues the work for a delivery, once its forge has been answered. Where that fails, `settle` does it."""
        try:
            await self._jobs.submit(WORKFLOW, str(delivery_id))
        except Exception:
            log.exception("The work for the delivery %s was not queued yet.", delivery_id)

    async def settle(self) -> None:
        """Gives a workflow to deliveries that never got theirs, or whose workflow broke; not without end."""
        waiting = await self._rows.waiting(self._clock() - SETTLING)
        if not waiting:
            return
        strays = await self._jobs.strays(WORKFLOW, [delivery.subject for delivery in waiting])
        for delivery in waiting:
            if delivery.subject in strays.missing:
                await self._jobs.submit(WORKFLOW, delivery.subject)
            elif delivery.subject in strays.broken and delivery.attempt + 1 < MOST_ATTEMPTS:
                log.error("The work for the delivery %s broke off and begins again.", delivery.id)
                await self._jobs.submit(WORKFLOW, (await self._rows.begin_again(delivery)).subject)
            elif delivery.subject in strays.broken:
                said = f"Tidemill failed at this delivery {MOST_ATTEMPTS} times. The hub's log says more."
                await self._rows.end(delivery.id, DeliveryState.FAILED, said, self._clock())

    def _read(self, sender: Sender, headers: Mapping[str, str], body: bytes, secret: str) -> tuple[ForgeEvent, bytes]:
        verify(sender.head.kind, headers, body, secret, self._clock())
        payload = read_payload(body, headers.get("content-type", ""))
        return read_event(sender.head.kind, sender.name, sender.head.event, payload), to_json(payload)

    def _name(self, wanted: str | None, kind: ForgeKind) -> str:
        if wanted in self._forges:
            return str(wanted)
        of_kind = [name for name, one in self._forges.items() if one.kind == kind]
        if wanted in {None, kind.value} and len(of_kind) == 1:
            return of_kind[0]
        if wanted in {None, kind.value} and of_kind:
            raise NotFound(f"There are several forges of the kind {kind}: name one of them with ?forge=NAME.")
        raise NotFound("There is no such forge here. The setting `forges` names them.")


async def delivered_event(
    rows: DeliveryRepository, kinds: Mapping[str, ForgeSettings], delivery_id: UUID
) -> ForgeEvent:
    """What a delivery told of, read again from its row.

    Raises:
        NotFound: the row, its body or its forge is gone.
        InvalidInput: it can't be read.
    """
    row = await rows.get(delivery_id)
    if row is None or row.payload is None or row.forge not in kinds:
        raise NotFound(f"What was delivered under {delivery_id} is gone, or its forge is no more in the settings.")
    payload = read_payload(row.payload, "application/json")
    return read_event(ForgeKind(kinds[row.forge].kind), row.forge, row.event, payload)
