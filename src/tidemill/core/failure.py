"""How a provider can fail: the leaves of the recovery tree, and what one failure says of itself."""

from enum import StrEnum


class Failure(StrEnum):
    """One leaf of the recovery tree: its branch, a dot, and how bad it is or what it is about."""

    RATE_LIMIT_LIGHT = "rate_limit.light"
    RATE_LIMIT_MEDIUM = "rate_limit.medium"
    RATE_LIMIT_HEAVY = "rate_limit.heavy"
    QUOTA_DAILY = "quota.daily"
    QUOTA_BILLING = "quota.billing"
    QUOTA_MODEL = "quota.model"
    AUTH_INVALID = "authentication.invalid"
    AUTH_EXPIRED = "authentication.expired"
    AUTH_PERMISSION = "authentication.permission"
    NETWORK_TIMEOUT = "network.timeout"
    NETWORK_DNS = "network.dns"
    NETWORK_CONNECTION = "network.connection"
    OVERLOAD_LIGHT = "overload.light"
    OVERLOAD_HIGH = "overload.high"
    OVERLOAD_OVERLOADED = "overload.overloaded"
    CONTENT_SAFETY = "content.safety"
    CONTENT_LENGTH = "content.length"
    CONTENT_POLICY = "content.policy"
    UNKNOWN = "unknown"

    @property
    def branch(self) -> str:
        """What it hangs from, such as `rate_limit`."""
        return self.partition(".")[0]
