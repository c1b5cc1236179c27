"""When budgets are renewed, and what is remembered of a look-up."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tidemill.core.limits import Period
from tidemill.llm.remembered import Remembered
from tidemill.settings import Settings
from tidemill.settings.limits import LimitSettings


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "now", "start", "renews"),
    [
        (Period.DAY, "2026-03-01T00:00", "2026-03-01", "2026-03-02"),
        (Period.DAY, "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
        (Period.MONTH, "2026-01-31T12:00", "2026-01-01", "2026-02-01"),
        (Period.MONTH, "2024-02-29T12:00", "2024-02-01", "2024-03-01"),
        (Period.MONTH, "2026-12-01T00:00", "2026-12-01", "2027-01-01"),
        (Period.TOTAL, "2026-12-01T00:00", "1970-01-01", None),
    ],
)
def test_a_budget_is_renewed_when_its_period_ends(period: Period, now: str, start: str, renews: str | None) -> None:
    assert period.start(at(now)).isoformat() == start
    assert period.renews_at(at(now)) == (None if renews is None else at(renews))


def test_days_are_those_of_utc_wherever_the_clock_is() -> None:
    hanoi = timezone(timedelta(hours=7))
    assert Period.DAY.start(datetime(2026, 3, 2, 3, 0, tzinfo=hanoi)).isoformat() == "2026-03-01"


def test_a_burst_needs_requests_a_minute() -> None:
    with pytest.raises(ValueError, match="`burst` is the burst of `requests_per_minute`, which is not set"):
        LimitSettings(burst=5)
    assert Settings().limits == LimitSettings()


class Counted:
    def __init__(self) -> None:
        self.looks = 0
        self.now = 0.0
        self.go = asyncio.Event()

    async def look_up(self, key: str) -> str:
        self.looks += 1
        await self.go.wait()
        if key == "bad":
            raise LookupError(key)
        return f"{key} {self.looks}"


async def test_what_is_wanted_at_once_is_looked_up_once_and_anew_after_a_second() -> None:
    counted = Counted()
    remembered = Remembered(counted.look_up, timer=lambda: counted.now)
    first = [asyncio.create_task(remembered.get("a")) for _ in range(10)]
    await asyncio.sleep(0)
    first[0].cancel()  # the one that began leaves; the others still get it
    counted.go.set()
    assert {await one for one in first[1:]} == {"a 1"}
    counted.now = 0.9
    assert await remembered.get("a") == "a 1"
    counted.now = 1.0
    assert await remembered.get("a") == "a 2"


async def test_a_look_up_that_failed_is_tried_again() -> None:
    counted = Counted()
    counted.go.set()
    remembered = Remembered(counted.look_up, timer=lambda: counted.now)
    for _ in range(2):
        with pytest.raises(LookupError):
            await remembered.get("bad")
    assert counted.looks == 2
