"""How an asker stands with the rate limits, in the headers that OpenAI's clients know.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

from tidemill.core.limits import RateStanding


def rate_headers(standing: RateStanding | None) -> dict[str, str]:
    """The headers; none where there is no limit."""
    if standing is None:
        return {}
    headers = {}
    for kind, left in (("requests", standing.requests), ("tokens", standing.tokens)):
        if left is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(left.limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(left.remaining)
            headers[f"x-ratelimit-reset-{kind}"] = f"{left.reset_seconds:.3f}s"
    return headers
