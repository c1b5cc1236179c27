"""How long the check of an API key takes once it was seen, beside a bare look into a dictionary."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tidemill.accounts.api_keys import Wanted
from tidemill.app.accounts import open_accounts
from tidemill.app.database import Database, open_database
from tidemill.core.audit import COMMAND
from tidemill.settings import Settings

KEYS = 200
CHECKS = 200_000
NOW = 1e9
LATER = 1e12


def run() -> None:
    """Prints percentiles of single checks, in microseconds, and the ratio of their medians."""
    with TemporaryDirectory(prefix="tidemill-benchmark-") as folder:
        Path(folder).chmod(0o711)
        with open_database(Settings(data_dir=Path(folder) / "data")) as database:
            asyncio.run(_measure(database))


async def _measure(database: Database) -> None:
    async with open_accounts(database) as accounts:
        keys = accounts.keys
        secrets = [(await keys.create(Wanted(f"key {number}"), COMMAND)).secret for number in range(KEYS)]
        known = dict.fromkeys(secrets, await keys.check(secrets[0], 0))

        async def look(secret: str, now: float) -> object:
            return known[secret]

        first = [await _timed(keys.check, secret, NOW) for secret in secrets]
        for secret in secrets:
            await keys.check(secret, LATER)
        seen = [await _timed(keys.check, secrets[number % KEYS], LATER) for number in range(CHECKS)]
        bare = [await _timed(look, secrets[number % KEYS], LATER) for number in range(CHECKS)]
    for name, samples in (("first seen", first), ("once seen", seen), ("bare look", bare)):
        print(f"check of a key, {name:<10}  " + "  ".join(f"p{at} {_at(samples, at):8.2f} µs" for at in (50, 95, 99)))
    print(f"once seen / bare look: {_at(seen, 50) / _at(bare, 50):.1f}\n")


async def _timed(check: Callable[[str, float], Awaitable[object]], secret: str, now: float) -> float:
    started = time.perf_counter()
    await check(secret, now)
    return (time.perf_counter() - started) * 1e6


def _at(samples: list[float], percent: int) -> float:
    return sorted(samples)[len(samples) * percent // 100]
