"""Work that is done at once, all of it or none."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each gives, in their order. Where one raises, or the caller is cancelled, the others are stopped first."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            if not task.cancelling():  # one that is being stopped already may be in the midst of tidying up
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
