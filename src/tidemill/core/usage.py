"""What was used: sums over inferences."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID


class UsageGroup(StrEnum):
    """By what inferences are summed up. Days are those of UTC; a key counts with all that it was rotated into."""

    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    KEY = "key"
    USER = "user"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums over some inferences; what they were not grouped by is `None`.

    Attributes:
        errors: how many of the requests failed; who left before the answer is not among them.
        prompt_tokens: with the cached ones.
        cost_usd: of those whose cost is known.
        unknown_costs: how many of the requests may have cost something that nobody can say.
        cache_hits: how many were answered from a cache of the hub's.
    """

    requests: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float
    unknown_costs: int
    cache_hits: int
    day: date | None = None
    model: str | None = None
    provider: str | None = None
    task: str | None = None
    key_id: UUID | None = None
    key_name: str | None = None
    user_id: UUID | None = None
    user_name: str | None = None
