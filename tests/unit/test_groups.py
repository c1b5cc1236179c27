"""What is written in groups: one bad item does not take its neighbours with it, and nobody waits for ever."""

import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from tidemill.core.errors import Unavailable
from tidemill.store.groups import Grouped


class Written:
    def __init__(self) -> None:
        self.groups: list[Sequence[str]] = []

    async def write(self, items: Sequence[str]) -> Sequence[str]:
        self.groups.append(items)
        await asyncio.sleep(0)
        if "away" in items:
            raise Unavailable("The database does not answer.")
        if "bad" in items:
            raise psycopg.errors.NumericValueOutOfRange("too much")
        return [item.upper() for item in items]


async def test_what_comes_while_a_group_is_written_makes_up_the_next() -> None:
    written = Written()
    grouped = Grouped(written.write, most=3)
    assert await asyncio.gather(*map(grouped.add, "abcde")) == list("ABCDE")
    assert [len(group) for group in written.groups] == [3, 2]
    assert await grouped.add("f") == "F"


async def test_one_bad_item_fails_alone() -> None:
    found = await asyncio.gather(*map(Grouped(Written().write).add, ["a", "bad", "c"]), return_exceptions=True)
    assert (found[0], found[2]) == ("A", "C")
    assert isinstance(found[1], psycopg.errors.NumericValueOutOfRange)


async def test_a_server_that_is_away_is_said_to_everyone() -> None:
    written = Written()
    found = await asyncio.gather(*map(Grouped(written.write).add, ["a", "away", "c"]), return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)
    assert len(written.groups) == 1


async def test_an_item_is_written_though_nobody_waits_for_it_any_more() -> None:
    written = Written()
    grouped = Grouped(written.write)
    first, second = [asyncio.create_task(grouped.add(one)) for one in "ab"]
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "B"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert written.groups == [["a", "b"]]
