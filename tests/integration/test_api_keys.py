"""API keys: made, checked, revoked."""

import pytest

from tests.conftest import NOON
from tidemill.accounts.api_keys import MEMORY_SECONDS, ApiKeys
from tidemill.core.accounts import Role
from tidemill.core.errors import InvalidInput, NotAuthenticated, NotFound
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.database import Pool
from tidemill.store.secret_key import SecretKey

SECRET = SecretKey("5" * 64)


@pytest.fixture
def keys(pool: Pool) -> ApiKeys:
    return ApiKeys(ApiKeyRepository(pool), derive=SECRET.derive, clock=lambda: NOON)


async def test_a_new_key_is_accepted_and_its_use_is_noted(keys: ApiKeys) -> None:
    made = await keys.create("laptop", Role.MEMBER)
    caller = await keys.check(made.secret, now=0)
    assert (caller.key_id, caller.role) == (made.key.id, Role.MEMBER)
    assert [key.last_used_at for key in await keys.list()] == [NOON]


async def test_the_secret_is_in_no_row(keys: ApiKeys, pool: Pool) -> None:
    made = await keys.create("laptop", Role.MEMBER)
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT api_keys::text AS text, hash FROM api_keys")).fetchone()
    assert row is not None
    assert made.secret not in str(row["text"])
    assert made.secret.encode() not in bytes(row["hash"])


@pytest.mark.parametrize("wrong", ["", "tm-", "tm-" + "a" * 43, "x" * 10_000, "ổ", "\ud800"])
async def test_unknown_and_malformed_keys_get_the_same_answer_as_revoked_ones(keys: ApiKeys, wrong: str) -> None:
    made = await keys.create("laptop", Role.MEMBER)
    await keys.revoke("laptop")
    with pytest.raises(NotAuthenticated) as revoked:
        await keys.check(made.secret, now=0)
    with pytest.raises(NotAuthenticated) as unknown:
        await keys.check(wrong, now=0)
    assert revoked.value.message == unknown.value.message


async def test_a_key_revoked_elsewhere_stops_working_within_seconds(keys: ApiKeys, pool: Pool) -> None:
    made = await keys.create("laptop", Role.MEMBER)
    await keys.check(made.secret, now=0)
    elsewhere = ApiKeys(ApiKeyRepository(pool), derive=SECRET.derive, clock=lambda: NOON)
    await elsewhere.revoke(made.key.prefix)
    assert await keys.check(made.secret, now=MEMORY_SECONDS - 0.1)
    with pytest.raises(NotAuthenticated):
        await keys.check(made.secret, now=MEMORY_SECONDS + 0.1)


async def test_a_dump_of_the_rows_is_no_use_without_the_key_file(keys: ApiKeys, pool: Pool) -> None:
    made = await keys.create("laptop", Role.MEMBER)
    thief = ApiKeys(ApiKeyRepository(pool), derive=SecretKey("6" * 64).derive, clock=lambda: NOON)
    with pytest.raises(NotAuthenticated):
        await thief.check(made.secret, now=0)


async def test_revoking_by_a_name_that_two_keys_have_revokes_neither(keys: ApiKeys) -> None:
    await keys.create("ci", Role.MEMBER)
    await keys.create("ci", Role.MEMBER)
    with pytest.raises(NotFound, match="2 unrevoked keys"):
        await keys.revoke("ci")
    assert all(key.revoked_at is None for key in await keys.list())


@pytest.mark.parametrize("name", ["", "  ", "a" * 101, "two\nlines", "nul\x00"])
async def test_a_name_that_a_table_cannot_show_is_refused(keys: ApiKeys, name: str) -> None:
    with pytest.raises(InvalidInput):
        await keys.create(name, Role.MEMBER)
