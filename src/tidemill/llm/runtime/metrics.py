"""What a local model's child says of its work: llama-server's own counters, read over its HTTP.

Format: Prometheus' text, as described under `GET /metrics` at
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md.
"""

from dataclasses import dataclass

import httpx

from tidemill.llm.runtime.lease import Endpoint

PREFIX = "llamacpp:"


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the child's start: tokens, and the seconds that they took. `active`: requests in it now."""

    prompt_tokens: float
    prompt_seconds: float
    answer_tokens: float
    answer_seconds: float
    active: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens a second, of prompts and of answers; `None` before the first."""

    prefill: float | None = None
    decode: float | None = None

    def after(self, before: Counters | None, now: Counters) -> "Pace":
        """The pace between two readings; what did not move keeps its last one."""
        start = before or Counters(0, 0, 0, 0, 0)
        prefill = _rate(now.prompt_tokens - start.prompt_tokens, now.prompt_seconds - start.prompt_seconds)
        decode = _rate(now.answer_tokens - start.answer_tokens, now.answer_seconds - start.answer_seconds)
        return Pace(prefill or self.prefill, decode or self.decode)


async def read_counters(http: httpx.AsyncClient, endpoint: Endpoint) -> Counters | None:
    """The child's counters; `None` where it does not answer with them, as while it dies."""
    headers = {"authorization": f"Bearer {endpoint.api_key}"}
    try:
        answer = await http.get(f"{endpoint.base_url.removesuffix('/v1')}/metrics", headers=headers)
    except httpx.TransportError:
        return None
    if answer.status_code != httpx.codes.OK:
        return None
    return parse(answer.text)


def parse(text: str) -> Counters | None:
    """Counters from Prometheus' text; `None` where one of them is missing."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(PREFIX):
            try:
                found[name.removeprefix(PREFIX)] = float(value)
            except ValueError:
                return None
    try:
        return Counters(
            prompt_tokens=found["prompt_tokens_total"],
            prompt_seconds=found["prompt_seconds_total"],
            answer_tokens=found["tokens_predicted_total"],
            answer_seconds=found["tokens_predicted_seconds_total"],
            active=int(found["requests_processing"] + found["requests_deferred"]),
        )
    except KeyError:
        return None


def _rate(tokens: float, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > 0 else None
