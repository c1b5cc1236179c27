"""What the cache of answers holds, and emptying it."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from tidemill.api.gate import caller_of
from tidemill.api.rights import needs
from tidemill.api.services import services_of
from tidemill.core.accounts import Right
from tidemill.core.audit import Actor

router = APIRouter(tags=["cache"])


class TierShown(BaseModel):
    """One tier: how many answers it holds, their bytes, and the bytes that it may hold."""

    entries: int
    bytes: int
    max_bytes: int


class CacheShown(BaseModel):
    """The tiers. `hits`, `misses` and `hit_rate` are of this process, since it started.

    `l1` is this process's memory, `l2` the database, `l3` files; `redis` is null where none is configured.
    """

    object: Literal["cache"] = "cache"
    enabled: bool
    l1: TierShown
    l2: TierShown
    l3: TierShown
    redis: Literal["up", "down"] | None
    hits: dict[str, int]
    misses: int
    hit_rate: float | None


class CacheCleared(BaseModel):
    """How many answers were deleted below memory."""

    object: Literal["cache.cleared"] = "cache.cleared"
    deleted: int


@router.get("/cache", summary="What the cache holds", dependencies=[needs(Right.METRICS_READ)])
async def show_cache(request: Request) -> CacheShown:
    """How many answers each tier holds, and how often each had one."""
    services = services_of(request)
    chosen, status = services.settings.cache, await services.answers.status()
    return CacheShown(
        enabled=chosen.enabled,
        l1=TierShown(entries=status.l1_entries, bytes=status.l1_bytes, max_bytes=chosen.memory_bytes),
        l2=TierShown(entries=status.l2_entries, bytes=status.l2_bytes, max_bytes=chosen.shared_bytes),
        l3=TierShown(entries=status.l3_entries, bytes=status.l3_bytes, max_bytes=chosen.file_bytes),
        redis=status.redis,
        hits=status.hits,
        misses=status.misses,
        hit_rate=status.hit_rate,
    )


@router.delete("/cache", summary="Empty the cache", dependencies=[needs(Right.MODELS_MANAGE)])
async def clear_cache(request: Request) -> CacheCleared:
    """Deletes every kept answer. In the memory of other processes they stay until their time is over."""
    services, actor = services_of(request), Actor.of(caller_of(request.scope))
    deleted = await services.answers.clear()
    await services.accounts.audit.record(actor, "cache.cleared", "cache", deleted=deleted)
    return CacheCleared(deleted=deleted)
