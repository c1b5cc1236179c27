"""Who is at a local model's door: admitted requests, the bound on those that wait, and when a place may be free."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidemill.core.context import Priority
from tidemill.core.errors import TooManyRequests

REMEMBERED = 32
LONGEST_ADVICE = 60
"""Seconds; a longer wait is not worth a forecast from the last few answers."""


class Traffic:
    """Counts one model's requests from their arrival to the end of their answers.

    Args:
        name: the model's, for messages.
        slots: requests that it decodes at once.
        max_queue: requests that may wait beyond those.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, name: str, slots: int, max_queue: int, now: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._slots = slots
        self._max_queue = max_queue
        self._now = now
        self._arrivals: dict[int, float] = {}
        self._patient: set[int] = set()
        self._count = 0
        self._service: deque[float] = deque(maxlen=REMEMBERED)
        self._last_use = now()

    @property
    def admitted(self) -> int:
        """Requests that were let in and are not answered in full."""
        return len(self._arrivals)

    @property
    def busy(self) -> int:
        """Slots that these requests fill."""
        return min(self.admitted, self._slots)

    @property
    def waiting(self) -> int:
        """Requests beyond the slots."""
        return self.admitted - self.busy

    @property
    def idle_seconds(self) -> float:
        """Since the last request ended; 0 while there is one."""
        return 0.0 if self._arrivals else self._now() - self._last_use

    def touch(self) -> None:
        """Counts this moment as a use: it was loaded, or another process asked it."""
        self._last_use = self._now()

    @contextmanager
    def admit(self, priority: Priority = Priority.INTERACTIVE) -> Iterator[None]:
        """One request, as long as the block runs.

        Reviews, jobs and batches together fill half of the queue at most: the rest is for whoever waits for an answer.

        Raises:
            TooManyRequests: the slots are busy and the queue is full; says when a place may be free.
        """
        ahead = self.admitted
        patient = priority is not Priority.INTERACTIVE
        if ahead >= self._slots + self._max_queue:
            raise TooManyRequests(
                f"The model {self._name} answers {self.busy} requests, and {self.waiting} wait, which is all that may "
                "(setting `models.max_queue`). Try again later.",
                retry_after=self.retry_after(),
            )
        if patient and len(self._patient) >= self._slots + self._max_queue // 2:
            raise TooManyRequests(
                f"Reviews, jobs and batches fill the slots of the model {self._name} and their half of its queue "
                "(setting `models.max_queue`). Try again later.",
                retry_after=self.retry_after(),
            )
        self._count += 1
        number, arrived = self._count, self._now()
        self._arrivals[number] = arrived
        if patient:
            self._patient.add(number)
        served = False
        try:
            yield
            served = True
        finally:
            del self._arrivals[number]
            self._patient.discard(number)
            self._last_use = self._now()
            if served:
                self._service.append((self._last_use - arrived) / (1 + max(0, ahead - self._slots + 1) / self._slots))

    def retry_after(self) -> int:
        """Seconds, 1 to 60, until those who wait now should be in a slot.

        A request that came with others ahead of it took as many turns as they fill the slots, and its own. Without an
        answer to learn from, the oldest request's age is the least that an answer takes.
        """
        if self._service:
            seconds = sum(self._service) / len(self._service) * (self.waiting + 1) / self._slots
        else:
            seconds = self._now() - min(self._arrivals.values(), default=self._now())
        return max(1, min(LONGEST_ADVICE, math.ceil(seconds)))
