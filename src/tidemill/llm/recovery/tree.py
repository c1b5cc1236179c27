"""The recovery tree: what follows from each way in which a provider can fail."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tidemill.core.failure import Failure
from tidemill.settings.recovery import RecoverySettings


class Retry(StrEnum):
    """How the same model is asked once more."""

    SAME = "same"
    LONGER = "longer"
    """With a longer timeout."""
    ENDPOINT = "endpoint"
    """At the provider's next address."""
    KEY = "key"
    """With the provider's key read anew."""
    SAFER = "safer"
    """With a system message that asks to keep within the provider's policy."""
    SHORTER = "shorter"
    """With the middle of what is too long left out."""


class Then(StrEnum):
    """What follows when nothing is retried, or the retry failed, too."""

    PROVIDER = "provider"
    """The next target of another provider."""
    MODEL = "model"
    """Another model of the same provider, and then of another."""
    FALLBACK = "fallback"
    """No other target: the route's fallbacks."""


class Blame(StrEnum):
    """Whose failure it is."""

    NOBODY = "nobody"
    """The provider is well; the request is not to its taste."""
    MODEL = "model"
    PROVIDER = "provider"


class Rest(StrEnum):
    """Rests that end at a point of time rather than after a number of seconds."""

    UNTIL_TOMORROW = "until tomorrow"
    """Until the next day of UTC begins, when daily quotas are renewed."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What follows from one failure: retry, rest, and go on.

    Attributes:
        then: what follows in the end.
        retry: how the same model is asked once more before.
        wait: seconds before that.
        rest: seconds, or until when, in which whoever is to blame is left alone.
        disable: whether the provider goes out of the pool until a person puts it back.
        blame: whom the failure counts against.

    `Retry-After` takes the place of `wait` and `rest` where the provider sends one.
    """

    then: Then
    retry: Retry | None = None
    wait: float = 0.0
    rest: float | Rest | None = None
    disable: bool = False
    blame: Blame = Blame.PROVIDER


def tree_of(times: RecoverySettings) -> Mapping[Failure, Recovery]:
    """The tree, with the times of the settings in it."""
    light, medium, heavy = times.rate_limit_light_wait, times.rate_limit_medium_rest, times.rate_limit_heavy_rest
    connection, load = times.connection_wait, times.overload_wait
    tomorrow = Rest.UNTIL_TOMORROW
    return {
        Failure.RATE_LIMIT_LIGHT: Recovery(Then.PROVIDER, retry=Retry.SAME, wait=light, blame=Blame.MODEL),
        Failure.RATE_LIMIT_MEDIUM: Recovery(Then.PROVIDER, rest=medium),
        Failure.RATE_LIMIT_HEAVY: Recovery(Then.PROVIDER, rest=heavy),
        Failure.QUOTA_DAILY: Recovery(Then.PROVIDER, rest=tomorrow),
        Failure.QUOTA_BILLING: Recovery(Then.PROVIDER, disable=True),
        Failure.QUOTA_MODEL: Recovery(Then.MODEL, rest=tomorrow, blame=Blame.MODEL),
        Failure.AUTH_INVALID: Recovery(Then.PROVIDER, disable=True),
        Failure.AUTH_EXPIRED: Recovery(Then.PROVIDER, retry=Retry.KEY, disable=True),
        Failure.AUTH_PERMISSION: Recovery(Then.PROVIDER, disable=True),
        Failure.NETWORK_TIMEOUT: Recovery(Then.PROVIDER, retry=Retry.LONGER, blame=Blame.MODEL),
        Failure.NETWORK_DNS: Recovery(Then.PROVIDER, retry=Retry.ENDPOINT),
        Failure.NETWORK_CONNECTION: Recovery(Then.PROVIDER, retry=Retry.SAME, wait=connection),
        Failure.OVERLOAD_LIGHT: Recovery(Then.MODEL, retry=Retry.SAME, wait=load, blame=Blame.MODEL),
        Failure.OVERLOAD_HIGH: Recovery(Then.MODEL, blame=Blame.MODEL),
        Failure.OVERLOAD_OVERLOADED: Recovery(Then.PROVIDER),
        Failure.CONTENT_SAFETY: Recovery(Then.FALLBACK, retry=Retry.SAFER, blame=Blame.NOBODY),
        Failure.CONTENT_LENGTH: Recovery(Then.FALLBACK, retry=Retry.SHORTER, blame=Blame.NOBODY),
        Failure.CONTENT_POLICY: Recovery(Then.FALLBACK, blame=Blame.NOBODY),
        Failure.UNKNOWN: Recovery(Then.PROVIDER, blame=Blame.MODEL),
    }
