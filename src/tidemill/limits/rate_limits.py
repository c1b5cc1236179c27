"""Rate limits as people set them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from tidemill.core.accounts import Caller, Right
from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.ids import new_id
from tidemill.core.limits import LimitScope, RateLimit
from tidemill.limits.subjects import Subjects
from tidemill.store.audited import Audited
from tidemill.store.rate_limits import RateLimitRepository

SCOPES = (LimitScope.ALL, LimitScope.KEY, LimitScope.USER)
MOST = 2**31 - 1
KEPT = timedelta(hours=24)
"""A bucket that was not touched for so long is full, unless its owner had a day's debt."""


class RateLimits:
    """The service for rate limits.

    Args:
        rows: where they are stored.
        subjects: whom they can be for.
        audit: makes each change known.
        clock: gives times.
    """

    def __init__(self, rows: RateLimitRepository, subjects: Subjects, *, audit: Audited, clock: Clock) -> None:
        self._rows = rows
        self._subjects = subjects
        self._audit = audit
        self._clock = clock

    async def put(
        self,
        scope: LimitScope,
        subject: str | None,
        actor: Actor,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        burst: int | None = None,
    ) -> RateLimit:
        """Sets a limit, in the place of one for the same subject.

        Raises:
            InvalidInput: the numbers or the subject can't be used.
            NotFound: there is no such subject.
        """
        if scope not in SCOPES:
            raise InvalidInput(
                f"A rate limit is for {', '.join(SCOPES[:-1])} or {SCOPES[-1]}, not for a {scope}.", param="scope"
            )
        numbers = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "burst": burst,
        }
        for name, number in numbers.items():
            if number is not None and not 1 <= number <= MOST:
                raise InvalidInput(f"`{name}` is a number from 1 to {MOST:,}, not {number:,}.", param=name)
        if requests_per_minute is None and tokens_per_minute is None:
            raise InvalidInput(
                "A rate limit needs requests or tokens in a minute. To lift one, remove it.",
                param="requests_per_minute",
            )
        if burst is not None and requests_per_minute is None:
            raise InvalidInput("`burst` is the burst of `requests_per_minute`, which is missing.", param="burst")
        named = await self._subjects.named(scope, subject)
        wanted = RateLimit(new_id(), scope, named, requests_per_minute, tokens_per_minute, burst, self._clock())
        async with self._audit.change(actor) as change:
            limit = await self._rows.put(change.connection, wanted)
            change.note("rate_limit.set", "rate_limit", limit.id, scope=scope, subject=named, **numbers)
        return limit

    async def list(self) -> Sequence[RateLimit]:
        """Every limit that was set."""
        return await self._rows.list()

    async def list_for(self, caller: Caller) -> Sequence[RateLimit]:
        """The limits that a caller's requests count towards; all of them with the right `usage.read_all`."""
        found = await self._rows.list()
        if caller.may(Right.USAGE_READ_ALL):
            return found
        own = await self._subjects.of(caller)
        return [one for one in found if (one.scope, one.subject) in own]

    async def remove(self, limit_id: UUID, actor: Actor) -> RateLimit:
        """Deletes a limit; that of the settings is in force again.

        Raises:
            NotFound: there is none.
        """
        async with self._audit.change(actor) as change:
            limit = await self._rows.remove(change.connection, limit_id)
            if limit is None:
                raise NotFound(f"There is no rate limit {limit_id}.")
            change.note("rate_limit.removed", "rate_limit", limit.id, scope=limit.scope, subject=limit.subject)
        return limit

    async def find(self, scope: LimitScope, subject: str | None) -> RateLimit:
        """The limit for this subject, or `NotFound`."""
        named = await self._subjects.named(scope, subject)
        for limit in await self._rows.list():
            if (limit.scope, limit.subject) == (scope, named):
                return limit
        raise NotFound(f"There is no rate limit for {f'the {scope} {named}' if named else 'all'}.")

    async def forget_buckets(self) -> int:
        """Deletes the buckets of those who have not asked for a day."""
        return await self._rows.forget_buckets(self._clock() - KEPT)
