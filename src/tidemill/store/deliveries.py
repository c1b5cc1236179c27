"""The rows of what forges' webhooks delivered."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tidemill.store.database import Pool


class DeliveryState(StrEnum):
    """Whether a delivery was worked."""

    RECEIVED = "received"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery.

    Attributes:
        forge: the forge's name in the settings.
        delivery: the forge's id of it.
        event: the forge's name of the event.
        actor: the login of who did it.
        digest: of the payload, in hexadecimal.
        payload: the body as JSON; `None` once it was forgotten.
        attempt: how often its work broke off and began again.
    """

    id: UUID
    forge: str
    delivery: str
    event: str
    actor: str
    digest: str
    payload: bytes | None
    state: DeliveryState
    received_at: datetime
    ended_at: datetime | None = None
    attempt: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A delivery that nobody has worked yet."""

    id: UUID
    attempt: int

    @property
    def subject(self) -> str:
        """Of its workflow: each attempt has one of its own."""
        return f"{self.id}:{self.attempt}" if self.attempt else str(self.id)


class DeliveryRepository:
    """What was delivered."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, row: DeliveryRow) -> bool:
        """Adds a delivery; false where one of its id, or of its body, is there already."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "INSERT INTO deliveries (id, forge, delivery, event, actor, digest, payload, state, received_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    row.id,
                    row.forge,
                    row.delivery,
                    row.event,
                    row.actor,
                    row.digest,
                    row.payload,
                    row.state,
                    row.received_at,
                ),
            )
            return cursor.rowcount == 1

    async def get(self, delivery_id: UUID) -> DeliveryRow | None:
        """The delivery of an id of ours."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT * FROM deliveries WHERE id = %s", (delivery_id,))
            row = await cursor.fetchone()
        if row is None:
            return None
        values: dict[str, Any] = {**row, "state": DeliveryState(str(row["state"]))}
        return DeliveryRow(**values)

    async def end(self, delivery_id: UUID, state: DeliveryState, error: str | None, now: datetime) -> None:
        """Says how the work for a delivery ended."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE deliveries SET state = %s, error = %s, ended_at = %s WHERE id = %s",
                (state, error, now, delivery_id),
            )

    async def waiting(self, before: datetime) -> list[WaitingDelivery]:
        """Those received before a time that nobody has worked yet, oldest first."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, attempt FROM deliveries WHERE state = 'received' AND received_at < %s "
                "ORDER BY received_at LIMIT 1000",
                (before,),
            )
            return [WaitingDelivery(UUID(str(row["id"])), int(str(row["attempt"]))) for row in await cursor.fetchall()]

    async def begin_again(self, delivery: WaitingDelivery) -> WaitingDelivery:
        """Has the work for a delivery begin anew; again does nothing."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE deliveries SET attempt = %s WHERE id = %s AND attempt = %s AND state = 'received'",
                (delivery.attempt + 1, delivery.id, delivery.attempt),
            )
        return WaitingDelivery(delivery.id, delivery.attempt + 1)

    async def forget_payloads(self, before: datetime) -> int:
        """Takes the bodies out of those that were worked and are older; returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE deliveries SET payload = NULL, actor = '' "
                "WHERE payload IS NOT NULL AND state <> 'received' AND received_at < %s",
                (before,),
            )
            return cursor.rowcount

    async def forget(self, before: datetime) -> int:
        """Deletes those that are older; returns how many there were."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("DELETE FROM deliveries WHERE received_at < %s", (before,))
            return cursor.rowcount
