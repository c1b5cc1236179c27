"""The circuit breaker: who rests, who is out of the pool, and how fast each model answers.

Each process has all rows in memory and reads them anew every second, so that an answer that goes well costs no way to
the database; a failure is written at once. When a rest is over, one request of one process tries: it claims the row,
and all others rest on until that try is over.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tidemill.core.clock import Clock
from tidemill.core.errors import Unavailable
from tidemill.core.failure import Failure
from tidemill.core.provider import ModelFacts, ProviderState
from tidemill.settings.recovery import RecoverySettings
from tidemill.store.provider_states import Failed, ProviderStateRepository

log = logging.getLogger(__name__)

Spot = tuple[str, str]
"""A provider and a model of it, or the whole provider where the second is empty."""

TRIAL_SECONDS = 60.0
"""How long the others rest on while one request tries; a try that is cancelled frees the place after so long."""
LATENCY_WEIGHT = 0.3
"""Of the newest measurement in the moving mean."""
LATENCY_MEMORY = timedelta(minutes=5)
"""After which a measurement is made anew, so that a model that was slow once gets another chance."""
MOST_MODELS = 100
"""Of one provider, from which on a name that stands nowhere has no row: an asker may have made it up."""
REMEMBERED = timedelta(days=1)
"""How long the row of a model that nobody asks stays."""
FORGET_EVERY = timedelta(hours=1)
GRAVER = {
    Failure.RATE_LIMIT_LIGHT: Failure.RATE_LIMIT_MEDIUM,
    Failure.RATE_LIMIT_MEDIUM: Failure.RATE_LIMIT_HEAVY,
    Failure.RATE_LIMIT_HEAVY: Failure.RATE_LIMIT_HEAVY,
}


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a model is not asked now, and until when, where that is known."""

    reason: str
    until: datetime | None


def spot_of(facts: ModelFacts) -> Spot:
    """A model's own place."""
    return facts.provider, facts.model


class Breaker:
    """Knows whom to leave alone.

    Args:
        states: the rows.
        settings: how many failures open it, and for how long.
        clock: the present moment.
    """

    def __init__(self, states: ProviderStateRepository, settings: RecoverySettings, clock: Clock) -> None:
        self._rows = states
        self._settings = settings
        self._clock = clock
        self._states: dict[Spot, ProviderState] = {}
        self._touched: set[Spot] = set()
        self._trials: dict[Spot, datetime] = {}
        self._measured: dict[Spot, datetime] = {}
        self._unwritten: set[Spot] = set()
        self._forgot: datetime | None = None

    def blocked(self, facts: ModelFacts) -> Blocked | None:
        """Why this model is not asked now; `None` where it may be, if only for a try after a rest."""
        if not self._states:
            return None
        now = self._clock()
        for state in self._of(facts):
            if state.disabled_at is not None:
                return Blocked(f"disabled: {state.disabled_reason}", None)
            if state.rests_until is not None and state.rests_until > now:
                return Blocked(f"resting after {state.last_failure}", state.rests_until)
        return None

    async def admit(self, facts: ModelFacts) -> Blocked | None:
        """As `blocked`; after a rest it also takes the one try, where no other request has.

        Raises:
            Unavailable: the database does not answer.
        """
        blocked = self.blocked(facts)
        if blocked is not None or not self._states:
            return blocked
        now = self._clock()
        for state in list(self._of(facts)):
            if state.rests_until is None:
                continue
            until = now + timedelta(seconds=TRIAL_SECONDS)
            spot = (state.provider, state.model)
            self._set(replace(state, rests_until=until))
            if not await self._rows.claim(*spot, now=now, until=until):
                return Blocked(f"being tried again after {state.last_failure}", until)
            self._trials[spot] = until
        return None

    def graver(self, facts: ModelFacts, failure: Failure, began: datetime) -> Failure:
        """A light rate limit of which nobody says how long it lasts is graver each time it comes again.

        Requests that were under way together when it came count as one.
        """
        earlier = [
            state
            for state in self._of(facts)
            if state.failures and state.last_failed_at and (state.last_failure or "").startswith(failure.branch)
        ]
        if not earlier:
            return failure
        last = max(earlier, key=lambda state: state.last_failed_at or began)
        known = Failure(last.last_failure or failure)
        return GRAVER[known] if last.last_failed_at is not None and last.last_failed_at < began else known

    def has_room(self, spot: Spot) -> bool:
        """Whether a name of which nobody but an asker speaks may have a row."""
        if spot in self._states:
            return True
        return sum(1 for provider, model in self._states if provider == spot[0] and model) < MOST_MODELS

    async def failed(
        self, spot: Spot, failure: Failure, *, rests_until: datetime | None, disabled_reason: str | None
    ) -> None:
        """Counts a failure here and for all processes. Where the database does not answer, for this one alone."""
        now = self._clock()
        settings = self._settings
        noted = Failed(
            provider=spot[0],
            model=spot[1],
            failure=failure.value,
            at=now,
            rests_until=rests_until,
            opens_after=settings.breaker_failures,
            opens_until=now + timedelta(seconds=settings.breaker_rest),
            disabled_reason=disabled_reason,
        )
        self._set(_after(self._states.get(spot) or ProviderState(*spot), noted))
        try:
            written = await self._rows.add_failure(noted)
        except Unavailable as error:
            log.warning("That %s failed is known to this process alone: %s", "/".join(spot), error.message)
            return
        self._set(replace(written, latency_ms=self._latency_of(spot)))

    async def succeeded(self, facts: ModelFacts, began: datetime) -> None:
        """Ends the failures in a row, and the rest, of a model that answers, if they are older than what it answered.

        Raises:
            Unavailable: the database does not answer.
        """
        if not self._states:
            return
        for state in list(self._of(facts)):
            since = state.last_failed_at
            if (state.failures or state.rests_until) and (since is None or since <= began):
                self._set(replace(state, failures=0, rests_until=None))
                await self._rows.reset(state.provider, state.model, self._clock())

    async def released(self, facts: ModelFacts, began: datetime) -> None:
        """Gives the one try after a rest back, where nothing was sent in the end. A rest that began since stays.

        Raises:
            Unavailable: the database does not answer.
        """
        for state in list(self._of(facts)):
            spot = (state.provider, state.model)
            until = self._trials.pop(spot, None)
            if until is not None and state.rests_until == until:
                self._set(replace(state, rests_until=began))
                await self._rows.release(*spot, held_until=until, rests_until=began)

    def measured(self, facts: ModelFacts, latency_ms: float) -> None:
        """Takes in how long an answer took."""
        spot = spot_of(facts)
        state = self._states.get(spot) or ProviderState(*spot)
        earlier = state.latency_ms
        mean = latency_ms if earlier is None else earlier + LATENCY_WEIGHT * (latency_ms - earlier)
        self._states[spot] = replace(state, latency_ms=mean)
        self._measured[spot] = self._clock()
        self._unwritten.add(spot)

    def latency(self, facts: ModelFacts) -> float | None:
        """Milliseconds that its answers take in the mean; `None` where that is to be measured, infinite while it is."""
        spot = spot_of(facts)
        at = self._measured.get(spot)
        if at is None or self._clock() - at > LATENCY_MEMORY:
            return None
        known = self._latency_of(spot)
        return math.inf if known is None else known

    def measuring(self, facts: ModelFacts) -> None:
        """Notes that somebody is about to measure it, so that others don't do so, too."""
        self._measured[spot_of(facts)] = self._clock()

    async def tend(self) -> None:
        """Reads what other processes know, and writes what this one has measured. A chore of every second.

        Each hour it forgets the models that nobody has asked for a day.

        Raises:
            Unavailable: the database does not answer.
        """
        now = self._clock()
        if self._forgot is None or now - self._forgot >= FORGET_EVERY:
            await self._rows.forget_untouched(now - REMEMBERED)
            self._forgot = now
        self._touched.clear()
        rows = {(state.provider, state.model): state for state in await self._rows.all()}
        for spot in self._touched | self._unwritten:
            if spot in self._states:
                known = self._states[spot]
                rows[spot] = known if spot in self._touched else _with_latency(rows.get(spot), known)
        for spot, state in rows.items():
            if state.latency_ms is not None:
                self._measured.setdefault(spot, self._clock())
        self._states = rows
        measured = [(*spot, latency) for spot in sorted(self._unwritten) if (latency := self._latency_of(spot))]
        self._unwritten.clear()
        if measured:
            await self._rows.write_latencies(measured, self._clock())

    def soonest(self, models: Sequence[ModelFacts]) -> datetime | None:
        """When the first of these may be asked again, as far as that is known."""
        found = [blocked.until for facts in models if (blocked := self.blocked(facts)) and blocked.until]
        return min(found, default=None)

    def _of(self, facts: ModelFacts) -> Iterator[ProviderState]:
        for spot in ((facts.provider, ""), spot_of(facts)):
            state = self._states.get(spot)
            if state is not None:
                yield state

    def _latency_of(self, spot: Spot) -> float | None:
        state = self._states.get(spot)
        return None if state is None else state.latency_ms

    def _set(self, state: ProviderState) -> None:
        spot = (state.provider, state.model)
        self._states[spot] = state
        self._touched.add(spot)


def _after(state: ProviderState, failed: Failed) -> ProviderState:
    """The state after a failure, as the row will be."""
    failures = state.failures + 1
    rests = [state.rests_until, failed.rests_until, failed.opens_until if failures >= failed.opens_after else None]
    disabled = state.disabled_at or (failed.at if failed.disabled_reason else None)
    return replace(
        state,
        failures=failures,
        rests_until=max((rest for rest in rests if rest is not None), default=None),
        disabled_at=disabled,
        disabled_reason=state.disabled_reason or failed.disabled_reason,
        last_failure=failed.failure,
        last_failed_at=failed.at,
    )


def _with_latency(row: ProviderState | None, known: ProviderState) -> ProviderState:
    return replace(row or ProviderState(known.provider, known.model), latency_ms=known.latency_ms)


def next_day(now: datetime) -> datetime:
    """When the next day of UTC begins."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)
