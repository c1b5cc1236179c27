"""Who really answered, and how it came to that."""

from dataclasses import dataclass

from tidemill.core.limits import RateStanding


@dataclass(frozen=True, slots=True)
class Served:
    """What the response's `X-Tidemill-*` headers and the inference's row say of an answer.

    Attributes:
        provider: `local`, an endpoint's name, or a provider's.
        model: the name that was asked in the end, as requests have it.
        version: which exact model that is.
        cost_usd: of all attempts together; `None` where a price is not known.
        attempts: how often a model was asked, the one that answered included.
        recovery: the failures before it, oldest first (see `Failure`).
        fallback: which fallback strategy answered, where one did: `local`, `template` or `search`.
        cache_tier: where the answer came from, where no model was asked: `l1`, `l2`, `l3`, `redis`, `semantic`,
            `committed`; `flight` for one that an equal request was waiting for.
        rate: how the asker stands with the rate limits; `None` where there are none.
    """

    provider: str
    model: str
    version: str
    cost_usd: float | None = None
    attempts: int = 1
    recovery: tuple[str, ...] = ()
    fallback: str | None = None
    cache_tier: str | None = None
    rate: RateStanding | None = None
