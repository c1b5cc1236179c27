"""What of forges' deliveries is handed to a person, and what of them goes when the person is erased."""

import json

from tests.conftest import NOON
from tests.support.people import make_accounts, person
from tidemill.core.ids import new_id
from tidemill.store.database import Pool
from tidemill.store.deliveries import DeliveryRepository, DeliveryRow, DeliveryState
from tidemill.store.personal_data import TEXTS, PersonalData


async def test_a_person_gets_and_erases_what_names_them_and_no_text_of_others(pool: Pool) -> None:
    deliveries, data = DeliveryRepository(pool), PersonalData(pool)
    them = await person(make_accounts(pool, lambda: NOON), "an")
    said = {
        "own": "Signed-off-by: An <an@example.org>.",
        "line": "Signed-off-by:\nan@example.org",
        "waits": "an@example.org",
        "longer": "lan@example.org, x.an@example.org",
        "host": "an@example.org.vn",
        "dots": "an@exampleXorg",
    }
    for name, text in said.items():
        state = DeliveryState.RECEIVED if name == "waits" else DeliveryState.DONE
        payload = json.dumps({"body": text}).encode()
        await deliveries.add(DeliveryRow(new_id(), "hub", name, "push", "lan", name, payload, state, NOON))
    one = await data.person(them.id)
    found = [row async for page in data.rows(one, "deliveries") for row in page]
    assert [set(row) for row in found] == [{"id", "event", "received_at"}] * 3
    async with pool.connection() as connection:
        await data.erase(connection, one, TEXTS, NOON)
        rows = await (await connection.execute("SELECT delivery FROM deliveries WHERE payload IS NULL")).fetchall()
    assert {row["delivery"] for row in rows} == {"own", "line"}
