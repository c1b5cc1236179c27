import socket
from datetime import UTC, datetime

import httpx
import pytest

from tidemill.core.errors import (
    Configuration,
    ContentRefused,
    ContextTooLong,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    Unavailable,
)
from tidemill.core.failure import Failure
from tidemill.llm.openai_wire import classify_error
from tidemill.llm.providers.anthropic_wire import anthropic_error
from tidemill.llm.providers.failures import (
    Said,
    duration_seconds,
    error_of,
    leaf_of,
    retry_after_of,
    told,
    transport_error_of,
    transport_failure,
)
from tidemill.llm.providers.gemini_wire import gemini_error

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def openai(status, message="", **fields):
    return classify_error({"error": {"message": message, **fields}}, status, "p/m", {})


def anthropic(status, kind, message="", code=None, headers=None):
    error = {"type": kind, "message": message, "details": {"error_code": code} if code else None}
    return anthropic_error({"type": "error", "error": error}, status, "p/m", headers)


def gemini(code, status, message="", *details):
    return gemini_error(
        {"error": {"code": code, "status": status, "message": message, "details": list(details)}}, code, "p/m"
    )


def quota(name, value="10"):
    violation = {"quotaId": name, "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


@pytest.mark.parametrize(
    ("error", "leaf"),
    [
        (openai(429, "You exceeded your current quota.", code="insufficient_quota"), Failure.QUOTA_BILLING),
        (openai(402, "Insufficient credits"), Failure.QUOTA_BILLING),
        (openai(403, "Your team has used all available credits or reached its limit."), Failure.QUOTA_BILLING),
        (openai(429, "Rate limit exceeded: free-models-per-day"), Failure.QUOTA_DAILY),
        (openai(429, "Rate limit reached for m on tokens per min (TPM)."), Failure.RATE_LIMIT_LIGHT),
        (openai(429, "Rate limit reached. Please try again in 1m30s."), Failure.RATE_LIMIT_MEDIUM),
        (openai(401, "Incorrect API key provided: sk-abc", code="invalid_api_key"), Failure.AUTH_INVALID),
        (openai(400, "Incorrect API key provided: xa***."), Failure.AUTH_INVALID),
        (openai(401, "Your token has expired"), Failure.AUTH_EXPIRED),
        (openai(401, "You have insufficient permissions for this operation. Missing scopes."), Failure.AUTH_PERMISSION),
        (openai(403, "Country, region, or territory not supported"), Failure.AUTH_PERMISSION),
        (openai(403, "Input was flagged", code="content_policy_violation"), Failure.CONTENT_SAFETY),
        (openai(400, "Invalid prompt: against our usage policy", code="invalid_prompt"), Failure.CONTENT_POLICY),
        (openai(400, "This model's maximum context length is 10 tokens."), Failure.CONTENT_LENGTH),
        (openai(413), Failure.CONTENT_LENGTH),
        (openai(429, "Request too large for m on tokens per min (TPM): Limit 3, Requested 4."), Failure.CONTENT_LENGTH),
        (openai(503, "The engine is currently overloaded, please try again later"), Failure.OVERLOAD_HIGH),
        (openai(503, "upstream"), Failure.OVERLOAD_LIGHT),
        (openai(408), Failure.NETWORK_TIMEOUT),
        (openai(504), Failure.NETWORK_TIMEOUT),
        (openai(502), Failure.NETWORK_CONNECTION),
        (openai(500), Failure.UNKNOWN),
        (openai(404), Failure.UNKNOWN),
        (openai(400, "Unknown parameter: foo"), None),
        (openai(422, "temperature must be a number"), None),
        (anthropic(400, "invalid_request_error", "Your credit balance is too low"), Failure.QUOTA_BILLING),
        (anthropic(403, "billing_error"), Failure.QUOTA_BILLING),
        (anthropic(400, "invalid_request_error", code="enforced_spend_limit_reached"), Failure.QUOTA_BILLING),
        (anthropic(429, "rate_limit_error", "too many tokens per minute"), Failure.RATE_LIMIT_LIGHT),
        (anthropic(529, "overloaded_error"), Failure.OVERLOAD_OVERLOADED),
        (anthropic(200, "overloaded_error"), Failure.OVERLOAD_OVERLOADED),
        (anthropic(200, "rate_limit_error"), Failure.RATE_LIMIT_LIGHT),
        (anthropic(200, "api_error"), Failure.UNKNOWN),
        (anthropic(504, "timeout_error"), Failure.NETWORK_TIMEOUT),
        (anthropic(413, "request_too_large"), Failure.CONTENT_LENGTH),
        (anthropic(400, "invalid_request_error", "messages: at least one"), None),
        (gemini(429, "RESOURCE_EXHAUSTED", "plan and billing", quota("RequestsPerMinute")), Failure.RATE_LIMIT_LIGHT),
        (gemini(429, "RESOURCE_EXHAUSTED", "plan and billing", quota("RequestsPerDay")), Failure.QUOTA_DAILY),
        (gemini(429, "RESOURCE_EXHAUSTED", "plan and billing", quota("RequestsPerDay", "0")), Failure.QUOTA_MODEL),
        (gemini(429, "RESOURCE_EXHAUSTED", "x", {"retryDelay": "300s"}), Failure.RATE_LIMIT_HEAVY),
        (gemini(503, "UNAVAILABLE", "This model is currently experiencing high demand."), Failure.OVERLOAD_HIGH),
        (gemini(504, "DEADLINE_EXCEEDED", "Deadline expired"), Failure.NETWORK_TIMEOUT),
        (gemini(403, "PERMISSION_DENIED", "x", {"reason": "BILLING_DISABLED"}), Failure.QUOTA_BILLING),
        (gemini(403, "PERMISSION_DENIED", "x", {"reason": "SERVICE_DISABLED"}), Failure.AUTH_PERMISSION),
        (gemini(400, "INVALID_ARGUMENT", "API key expired. Please renew.", {"reason": "API_KEY_INVALID"}),
         Failure.AUTH_EXPIRED),
        (gemini(400, "INVALID_ARGUMENT", "Unknown name foo"), None),
        (gemini(500, "INTERNAL"), Failure.UNKNOWN),
    ],
)  # fmt: skip
def test_a_providers_error_is_one_leaf(error, leaf):
    assert error.failure == leaf
    if leaf is None:
        assert type(error) is InvalidInput


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said(429), Unavailable),
        (Said(402), Unavailable),
        (Said(401), Configuration),
        (Said(529), Unavailable),
        (Said(400, frozenset({"content_filter"})), ContentRefused),
        (Said(400, tokens=(9, 8), names=frozenset({"context_length_exceeded"})), ContextTooLong),
        (Said(404), ModelNotFound),
        (Said(500), ModelFailed),
        (Said(599), ModelFailed),
    ],
)
def test_each_kind_of_failure_has_its_own_status(said, kind):
    assert type(error_of(said, "p/m")) is kind


@pytest.mark.parametrize(
    ("wait", "leaf"),
    [
        (None, Failure.RATE_LIMIT_LIGHT),
        ("30", Failure.RATE_LIMIT_LIGHT),
        ("31", Failure.RATE_LIMIT_MEDIUM),
        ("120", Failure.RATE_LIMIT_MEDIUM),
        ("121", Failure.RATE_LIMIT_HEAVY),
    ],
)
def test_a_rate_limit_is_as_grave_as_the_wait_that_it_asks_for(wait, leaf):
    error = error_of(Said(429, headers={} if wait is None else {"retry-after": wait}), "p/m")
    assert (error.failure, error.retry_after) == (leaf, None if wait is None else float(wait))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:45 GMT"}, 45),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "9" * 15}, 7 * 86_400),
        ({"retry-after": "60", "retry-after-ms": "1200"}, 1.2),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "2s"}, 2),
        (
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "3s",
            },
            3,
        ),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() * 1000) + 9000)}, 9),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 8)}, 8),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-03-01T12:01:00Z",
            },
            60,
        ),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "5s"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_from_whatever_says_it(headers, seconds):
    found = retry_after_of(Said(429, headers=headers), NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_googles_retry_delay_and_a_sentence_say_it_too():
    assert retry_after_of(Said(429, delay=34.5), NOW) == 34.5
    assert retry_after_of(Said(429, message="Please try again in 6m0.5s."), NOW) == 360.5
    assert retry_after_of(Said(429, message="Please retry in 34.07s."), NOW) == pytest.approx(34.07)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("1h2m", 3720), ("", None), ("5", None), ("5s later", None)],
)
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


def test_no_message_repeats_a_key_or_a_text_that_was_sent():
    secret = "sk-proj-0123456789abcdef0123"
    text = "the quarterly figures of the company are so and so and nobody may know"
    said = told(f"Invalid value: '{text}'. Incorrect API key provided: {secret}. " + "x" * 500)
    assert secret not in said
    assert text not in said
    assert len(said) <= 300
    for status in (400, 401, 403, 404, 429, 500, 503):
        error = openai(status, f"Incorrect API key provided: {secret}, and '{text}'")
        assert secret not in error.message
        assert text not in error.message


def test_an_error_with_anything_in_its_fields_is_still_one_error():
    odd = {"error": {"message": 5, "type": ["x"], "code": {}, "details": "y", "status": 7}}
    for answer in (odd, {"error": "text"}, {"error": None}, {}, {"error": {"details": [1, {"violations": [2]}]}}):
        assert classify_error(answer, 500, "m", {}).failure is Failure.UNKNOWN
        assert anthropic_error(answer, 500, "m", {}).failure is Failure.UNKNOWN
        assert gemini_error(answer, 500, "m", {}).failure is Failure.UNKNOWN
    assert gemini_error([{"error": {"code": 503}}], 503, "m").failure is Failure.OVERLOAD_LIGHT
    assert gemini_error("text", 503, "m").failure is Failure.OVERLOAD_LIGHT


@pytest.mark.parametrize(
    ("error", "leaf"),
    [
        (httpx.ReadTimeout(""), Failure.NETWORK_TIMEOUT),
        (TimeoutError(), Failure.NETWORK_TIMEOUT),
        (httpx.ConnectTimeout(""), Failure.NETWORK_CONNECTION),
        (httpx.ConnectError(""), Failure.NETWORK_CONNECTION),
        (httpx.RemoteProtocolError(""), Failure.NETWORK_CONNECTION),
        (httpx.ReadError(""), Failure.NETWORK_CONNECTION),
    ],
)
def test_what_fails_below_http_is_a_leaf_of_the_network(error, leaf):
    found = transport_error_of(error, "p/m")
    assert isinstance(found, Unavailable)
    assert found.failure is leaf


def test_a_host_that_is_not_found_is_told_from_one_that_does_not_answer():
    wrapped = httpx.ConnectError("failed")
    wrapped.__cause__ = socket.gaierror(socket.EAI_NONAME, "unknown")
    assert transport_failure(wrapped) == (Failure.NETWORK_DNS, True)
    assert transport_failure(ValueError()) is None


def test_a_request_at_fault_is_no_failure_of_the_provider():
    assert leaf_of(Said(400, message="bad"), None) is None
    assert leaf_of(Said(409, message="bad"), None) is None
