"""What a provider's failure means: one leaf of the recovery tree, how long to wait, and the error for the person.

Sources: https://platform.openai.com/docs/guides/error-codes, https://docs.anthropic.com/en/api/errors,
https://ai.google.dev/gemini-api/docs/troubleshooting and RFC 9110 §10.2.3 (`Retry-After`). A message that a provider
wrote is passed on only where the request itself is at fault, and without what looks like a key or a text that was sent.
"""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tidemill.core.errors import (
    Configuration,
    ContentRefused,
    ContextTooLong,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    TidemillError,
    Unavailable,
)
from tidemill.core.failure import Failure

LIGHT_SECONDS = 30.0
MEDIUM_SECONDS = 120.0
LONGEST_WAIT = 7 * 86_400.0
MAX_SAID = 300
EPOCH_SECONDS = 10**9
"""A reset time of more is a point in time, not a span; in milliseconds it has three digits more."""
BUSY = (408, 429, 503, 529)


@dataclass(frozen=True, slots=True)
class Said:
    """What a provider's error says, whichever wire it came over.

    Attributes:
        status: of HTTP, or the one in the error where the answer had 200.
        names: its types, codes and reasons, in small letters.
        message: its sentence.
        headers: of the answer, by names in small letters.
        quotas: the quotas that it names as broken, as Google does.
        delay: seconds to wait that stand in its body.
        param: the field at fault.
        tokens: of the prompt, and of the context, where it says both in fields.
    """

    status: int
    names: frozenset[str] = frozenset()
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    quotas: Sequence[str] = ()
    delay: float | None = None
    param: str | None = None
    tokens: tuple[int, int] | None = None


def leaf_of(said: Said, wait: float | None) -> Failure | None:
    """The leaf; `None` where the request itself is at fault and no provider failed."""
    for judge in (_length, _quota, _key, _content, _load):
        if (leaf := judge(said)) is not None:
            return leaf
    if said.status == 429 or said.names & LIMITED:
        return limit_leaf(wait)
    return None if 400 <= said.status < 500 and said.status not in (404, 408) else Failure.UNKNOWN


def limit_leaf(wait: float | None) -> Failure:
    """How grave a rate limit is, by the seconds that it asks for."""
    if wait is None or wait <= LIGHT_SECONDS:
        return Failure.RATE_LIMIT_LIGHT
    return Failure.RATE_LIMIT_MEDIUM if wait <= MEDIUM_SECONDS else Failure.RATE_LIMIT_HEAVY


def error_of(said: Said, name: str) -> TidemillError:
    """The error for whoever asked the model `name`."""
    wait = retry_after_of(said) if said.status in BUSY or said.delay is not None else None
    leaf = leaf_of(said, wait)
    whose = f"The server of the model {name}"
    if leaf is Failure.CONTENT_LENGTH:
        return _too_long(said, name)
    if leaf in (Failure.CONTENT_SAFETY, Failure.CONTENT_POLICY):
        return refused(leaf, name)
    if leaf is not None and leaf.branch == "authentication":
        return Configuration(f"{whose} {KEYS[leaf]} ({said.status}). Mend the key it is given.", failure=leaf)
    if leaf is not None and leaf.branch == "quota":
        return Unavailable(f"{whose} says that {QUOTAS[leaf]} ({said.status}).", failure=leaf, retry_after=wait)
    if leaf is not None and leaf.branch == "rate_limit":
        return Unavailable(
            f"{whose} lets us ask no more for now ({said.status}). Try again later.", failure=leaf, retry_after=wait
        )
    if leaf is not None and (leaf.branch == "overload" or said.status in BUSY):
        return Unavailable(
            f"{whose} is busy or still starting ({said.status}). Try again later.", failure=leaf, retry_after=wait
        )
    if said.status == 404 or said.names & {"model_not_found"}:
        message = f"{whose} does not know it, or does not serve this."
        return ModelNotFound(message, param="model", failure=Failure.UNKNOWN)
    if leaf is None:
        detail = f": {told(said.message)}" if said.message else "."
        return InvalidInput(f"The model {name} can't take this request{detail}", param=said.param)
    return ModelFailed(f"{whose} failed ({said.status}). Its log may say why.", failure=leaf, retry_after=wait)


def refused(leaf: Failure, name: str) -> ContentRefused:
    """For what a provider's filter does not let pass."""
    what = "safety filter" if leaf is Failure.CONTENT_SAFETY else "usage policy"
    return ContentRefused(
        f"The {what} of the provider of {name} does not let this request or its answer pass. Word it otherwise, or ask "
        "another model.",
        param="messages",
        failure=leaf,
    )


def unusable(name: str, what: str) -> ModelFailed:
    """For an answer that can't be read."""
    return ModelFailed(f"The server of the model {name} {what}.", failure=Failure.UNKNOWN)


def broken_off(name: str) -> ModelFailed:
    """For an answer that ended before its end."""
    return ModelFailed(f"The answer of the model {name} broke off before its end.", failure=Failure.NETWORK_CONNECTION)


def told(message: str) -> str:
    """A provider's sentence without what may be a key, a file, or a text that was sent; cut short."""
    short = re.sub(r"(['\"`])(?:(?!\1).){48,}\1", "'…'", message)
    short = re.sub(r"\b(sk|key|pk|xai|gsk|AIza)[-_A-Za-z0-9*]{8,}", "…", short)
    return re.sub(r"\S{64,}", "…", short)[:MAX_SAID]


def transport_failure(error: BaseException) -> tuple[Failure, bool] | None:
    """The leaf of what failed below HTTP, and whether it was while connecting; `None` where it is no such thing.

    The clients wrap each other's errors, so whatever lies beneath is looked at, too. httpx and httpx2 name their
    errors alike.
    """
    chain = _beneath(error)
    kinds = {kind.__name__ for one in chain for kind in type(one).__mro__}
    if any(isinstance(one, socket.gaierror) for one in chain):
        return Failure.NETWORK_DNS, True
    if kinds & {"ConnectTimeout", "ConnectError", "ProxyError"}:
        return Failure.NETWORK_CONNECTION, True
    if kinds & {"TimeoutException", "TimeoutError", "APITimeoutError"}:
        return Failure.NETWORK_TIMEOUT, False
    if kinds & {"TransportError", "APIConnectionError", "ConnectionError"}:
        return Failure.NETWORK_CONNECTION, False
    return None


def transport_error_of(error: BaseException, name: str) -> TidemillError | None:
    """The error for what failed below HTTP; `None` where it is no such thing."""
    found = transport_failure(error)
    if found is None:
        return None
    leaf, connecting = found
    if leaf is Failure.NETWORK_DNS:
        message = f"The host of the model {name} can't be found. Check its address, and this machine's DNS."
    elif connecting:
        message = f"The server of the model {name} can't be reached. Is it up? Try again later."
    elif leaf is Failure.NETWORK_TIMEOUT:
        message = f"The model {name} did not answer in time. Ask for fewer tokens, or give it a longer timeout."
    else:
        message = f"The connection to the server of the model {name} broke. Try again."
    return Unavailable(message, failure=leaf)


def retry_after_of(said: Said, now: datetime | None = None) -> float | None:
    """Seconds that the provider wants to be left alone for; `None` where it does not say."""
    headers = said.headers
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return _bounded(milliseconds / 1000)
    now = now or datetime.now(UTC)
    if (value := headers.get("retry-after")) is not None and (seconds := _seconds_or_date(value, now)) is not None:
        return _bounded(seconds)
    if said.delay is not None:
        return _bounded(said.delay)
    resets = [
        seconds
        for name, value in headers.items()
        if (reset := re.fullmatch(r"(.*ratelimit-)(?:reset(-\w+)?|(.*)-reset)", name))
        and _used_up(headers, reset)
        and (seconds := _reset_seconds(value, now)) is not None
    ]
    if resets:
        return _bounded(max(resets))
    stated = re.search(r"(?:try again|retry) in ((?:[\d.]+(?:ms|[hms]))+)", said.message, re.IGNORECASE)
    return _bounded(duration_seconds(stated[1])) if stated else None


def duration_seconds(text: str | None) -> float | None:
    """Seconds of a duration such as `6m0s`, `1.5s`, `20ms`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text or "")
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * UNITS[unit] for number, unit in parts))


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LIMITED = frozenset({"rate_limit_error", "rate_limit_exceeded", "resource_exhausted"})
KEYS = {
    Failure.AUTH_INVALID: "refuses our key",
    Failure.AUTH_EXPIRED: "says that our key has expired",
    Failure.AUTH_PERMISSION: "says that our key may not do this",
}
QUOTAS = {
    Failure.QUOTA_DAILY: "our quota of the day is used up",
    Failure.QUOTA_BILLING: "our account has no credit left, or its billing is not in order",
    Failure.QUOTA_MODEL: "our quota for this model is used up",
}
_TOO_LONG = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "request_too_large", "string_above_max_length"}
)
_BILLING = frozenset(
    {
        "insufficient_quota",
        "insufficient_credits",
        "billing_error",
        "billing_disabled",
        "billing_not_active",
        "billing_hard_limit_reached",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    }
)
_KEYS = frozenset({"invalid_api_key", "authentication_error", "unauthenticated", "api_key_invalid", "token_expired"})
_FORBIDDEN = frozenset({"permission_error", "permission_denied", "insufficient_permissions"})
_UNSAFE = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "responsibleaipolicyviolation"}
)
_AGAINST_POLICY = frozenset({"invalid_prompt", "policy_violation", "usage_policy_violation"})


def _length(said: Said) -> Failure | None:
    worded = re.search(
        r"maximum context length|prompt is too long|token count.{0,40}exceeds|input is too long|exceeds? the context|"
        r"[Rr]equest too large",
        said.message,
    )
    return Failure.CONTENT_LENGTH if said.names & _TOO_LONG or worded or said.status == 413 else None


def _quota(said: Said) -> Failure | None:
    if said.quotas:
        if any(name.endswith("=0") for name in said.quotas):
            return Failure.QUOTA_MODEL
        return Failure.QUOTA_DAILY if any("perday" in name.lower() for name in said.quotas) else None
    message = said.message.lower()
    if "model_quota_exceeded" in said.names or re.search(r"quota (of|for) (the|this) model", message):
        return Failure.QUOTA_MODEL
    if said.names & _BILLING or said.status == 402:
        return Failure.QUOTA_BILLING
    if said.status not in (400, 403, 429):
        return None
    if re.search(r"credit balance|insufficient (credit|balance|fund)|used all available credits", message):
        return Failure.QUOTA_BILLING
    limited = said.status == 429 and re.search(r"per[ -]day|\bdaily\b|\((RPD|TPD)\)", message)
    return Failure.QUOTA_DAILY if limited else None


def _key(said: Said) -> Failure | None:
    message = said.message.lower()
    unsafe = said.names & _UNSAFE or "flagged" in message
    worded = said.status == 400 and re.search(r"api key (not valid|expired|not found)|incorrect api key", message)
    if said.status == 401 or said.names & _KEYS or worded:
        if re.search(r"insufficient permission|missing scope", message):
            return Failure.AUTH_PERMISSION
        expired = "expired" in message or any("expired" in name for name in said.names)
        return Failure.AUTH_EXPIRED if expired else Failure.AUTH_INVALID
    return Failure.AUTH_PERMISSION if (said.status == 403 or said.names & _FORBIDDEN) and not unsafe else None


def _content(said: Said) -> Failure | None:
    if said.status not in (400, 403, 422, 500):
        return None
    message = said.message.lower()
    if said.names & _AGAINST_POLICY or re.search(r"usage polic|acceptable use|content filtering policy", message):
        return Failure.CONTENT_POLICY
    worded = re.search(r"content management policy|safety system|content filter|was flagged|flagged as", message)
    return Failure.CONTENT_SAFETY if said.names & _UNSAFE or worded else None


def _load(said: Said) -> Failure | None:
    if said.status == 529 or "overloaded_error" in said.names:
        return Failure.OVERLOAD_OVERLOADED
    if said.status not in (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524):
        return None
    if "model_overloaded" in said.names or re.search(r"overloaded|high demand", said.message.lower()):
        return Failure.OVERLOAD_HIGH
    if said.status in (408, 504, 524) or said.names & {"timeout_error", "deadline_exceeded"}:
        return Failure.NETWORK_TIMEOUT
    if said.status in (502, 520, 521, 522, 523):
        return Failure.NETWORK_CONNECTION
    return Failure.OVERLOAD_LIGHT if said.status == 503 else None


def _too_long(said: Said, name: str) -> TidemillError:
    """With both numbers where they are said, in fields or in the sentence."""
    if said.tokens is not None:
        return ContextTooLong(prompt_tokens=said.tokens[0], context_tokens=said.tokens[1])
    message = said.message
    limit = re.search(r"maximum context length is (\d{1,9})|> (\d{1,9}) maximum|allowed \((\d{1,9})\)", message)
    asked = (
        re.search(r"\((\d{1,9}) in the messages", message)
        or re.search(r"(?:resulted in|requested|contains at least|prompt contains) (\d{1,9})", message)
        or re.search(r"(\d{1,9}) input tokens", message)
        or re.search(r"too long: (\d{1,9}) tokens|token count \((\d{1,9})\)", message)
    )
    if limit and asked:
        most, came = (int(next(filter(None, found.groups()))) for found in (limit, asked))
        return ContextTooLong(prompt_tokens=came, context_tokens=most)
    return InvalidInput(
        f"The messages are longer than the context of the model {name}.",
        param="messages",
        failure=Failure.CONTENT_LENGTH,
    )


def _beneath(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain


def _used_up(headers: Mapping[str, str], reset: "re.Match[str]") -> bool:
    """Whether nothing remains of what this header says when it begins anew."""
    start, after, before = reset.groups()
    name = f"{start}{before}-remaining" if before else f"{start}remaining{after or ''}"
    return (_number(headers.get(name)) or 0.0) <= 0


def _reset_seconds(value: str, now: datetime) -> float | None:
    if (number := _number(value)) is not None:
        if number < EPOCH_SECONDS:
            return number
        return (number / 1000 if number > EPOCH_SECONDS * 1000 else number) - now.timestamp()
    if (seconds := duration_seconds(value)) is not None:
        return seconds
    try:
        return (_aware(datetime.fromisoformat(value)) - now).total_seconds()
    except ValueError:
        return None


def _seconds_or_date(value: str, now: datetime) -> float | None:
    if (number := _number(value)) is not None:
        return number
    try:
        return (_aware(parsedate_to_datetime(value)) - now).total_seconds()
    except ValueError:
        return duration_seconds(value)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text.strip()) else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)
