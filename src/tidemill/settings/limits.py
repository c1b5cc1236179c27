"""How fast a key may ask where nothing else was set for it."""

from pydantic import Field, model_validator

from tidemill.settings.section import Section


class LimitSettings(Section):
    """The rate limits of each key, and of each person who comes without one. None by default."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests to models in a minute; any when absent.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Tokens in a minute; any when absent.")
    burst: int | None = Field(None, ge=1, description="Requests that may come at once; a minute's when absent.")

    @model_validator(mode="after")
    def burst_of_something(self) -> "LimitSettings":
        """A burst says something of requests alone."""
        if self.burst is not None and self.requests_per_minute is None:
            raise ValueError("`burst` is the burst of `requests_per_minute`, which is not set")
        return self
