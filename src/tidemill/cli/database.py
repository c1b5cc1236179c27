"""How a command works on the database itself, whether or not a hub is running."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from tidemill.app.database import Database, open_database
from tidemill.settings import Settings, load_settings

S = TypeVar("S")
T = TypeVar("T")


def on_database(
    open_services: Callable[[Settings, Database], AbstractAsyncContextManager[S]], work: Callable[[S], Awaitable[T]]
) -> T:
    """The result of some work with the services that `open_services` opens, which end with it."""
    settings = load_settings()

    async def run() -> T:
        async with open_services(settings, database) as services:
            return await work(services)

    with open_database(settings) as database:
        return asyncio.run(run())
