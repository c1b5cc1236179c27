"""The headers that say who answered a request, or failed at it."""

import re

from tidemill.api.rate_headers import rate_headers
from tidemill.core.served import Served

NOT_PLAIN = re.compile(r"[^ -~]")
"""What a header can't hold, ends of lines among it: a client may write them behind a provider's name."""


def served_headers(served: Served | None, model: str) -> dict[str, str]:
    """Who answered, and how it came to that; the `model` that was asked where that is not known."""
    headers = {"x-tidemill-model": served.model if served else model}
    if served is not None:
        headers |= {
            "x-tidemill-provider": served.provider,
            "x-tidemill-model-version": served.version,
            "x-tidemill-attempts": str(served.attempts),
        }
        if served.cache_tier is not None:
            headers["x-tidemill-cache"] = served.cache_tier
        if served.cost_usd is not None:
            headers["x-tidemill-cost-usd"] = f"{served.cost_usd:.9f}"
        if served.recovery:
            headers["x-tidemill-recovery"] = ", ".join(served.recovery)
        if served.fallback is not None:
            headers["x-tidemill-fallback"] = served.fallback
        headers |= rate_headers(served.rate)
    if NOT_PLAIN.search("".join(headers.values())):
        headers = {name: NOT_PLAIN.sub("?", value) for name, value in headers.items()}
    return {name: value.strip() for name, value in headers.items()}
