"""What a request that a provider failed may cost in time and tries."""

from pydantic import Field

from tidemill.settings.section import Section


class RecoverySettings(Section):
    """The times of the recovery tree, and when a provider is left alone. Seconds, where nothing else is said."""

    deadline: float = Field(600.0, gt=0, description="Seconds for an answer with all its tries, unless a request says.")
    longest_wait: float = Field(
        30.0, ge=0, description="Seconds that a request waits for one model at most while another could be asked."
    )
    tries: int = Field(3, ge=1, le=20, description="How often one model is asked for one request at most.")
    rate_limit_light_wait: float = Field(30.0, ge=0, description="Seconds until a light rate limit is tried again.")
    rate_limit_medium_rest: float = Field(120.0, ge=0, description="Seconds that a provider rests at a medium one.")
    rate_limit_heavy_rest: float = Field(600.0, ge=0, description="Seconds that a provider rests at a heavy one.")
    connection_wait: float = Field(5.0, ge=0, description="Seconds until a broken connection is tried again.")
    overload_wait: float = Field(10.0, ge=0, description="Seconds until a lightly loaded model is tried again.")
    timeout_growth: float = Field(
        2.0, gt=1, description="How much longer the second try of a model that took too long may take, as a factor."
    )
    breaker_failures: int = Field(5, ge=1, description="Failures in a row after which a model is left alone.")
    breaker_rest: float = Field(30.0, gt=0, description="Seconds for which it is then left alone.")
    max_cost_usd: float | None = Field(
        None, ge=0, description="US dollars that one request may cost at most, unless it says less; no bound if absent."
    )
