"""The metrics of one process, and those of the whole installation; docs/observability.md lists them.

Times are in seconds, as Prometheus' conventions ask.
A label's value is never a word that a client chose: a model that nobody configured counts as `other`.
"""

import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from tidemill.core.deployment import Task
from tidemill.core.guardrail import GuardrailEvent
from tidemill.core.inference import Inference, InferenceStatus
from tidemill.core.provider import LOCAL
from tidemill.telemetry.exposition import Family, families_of

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OTHER = "other"
NONE = "none"
MOST_NAMES = 500
"""Names of models that become labels in one process, whatever the settings hold."""
LOOKUPS = 1000
"""Of the cache, over which its hit rate is reckoned."""
STATUSES = {InferenceStatus.OK: "success", InferenceStatus.ERROR: "error"}
"""The words of `generation_requests_total`, which others' dashboards know; each other status is its own word."""


class ModelNames:
    """Which names become labels: those that the installation knows, and of those a bounded number.

    Args:
        known: whether a name is one of the installation's own, or of a provider's that the settings list.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._labels: set[str] = set()

    def label(self, name: str) -> str:
        """The name, or `other`."""
        if name in self._labels:
            return name
        if len(self._labels) >= MOST_NAMES or not self._known(name):
            return OTHER
        self._labels.add(name)
        return name


class Metrics:
    """Counts what happens in this process, in a registry of its own.

    Args:
        known: whether a name is that of a model which may become a label.
        provider_of: who serves a model, by the name that requests have for it.
    """

    def __init__(self, *, known: Callable[[str], bool], provider_of: Callable[[str], str] = lambda name: LOCAL) -> None:
        self.registry = CollectorRegistry()
        self._names = ModelNames(known)
        self._provider_of = provider_of
        self._lookups: deque[bool] = deque(maxlen=LOOKUPS)
        self._hits = 0
        ProcessCollector(registry=self.registry)
        self._declare_generation()
        self._declare_inferences()
        self._declare_work()

    def _declare_generation(self) -> None:
        """Those that dashboards for generation services know by these names."""
        who = ["provider", "model"]
        self._generations = self._counter("generation_requests", "Requests for an answer that ended.", [*who, "status"])
        self._generation_seconds = self._histogram(
            "generation_duration_seconds", "Time of a whole answer, all tries included.", who
        )
        self._generation_tokens = self._counter("generation_tokens", "Tokens of requests and answers.", [*who, "type"])
        self._generation_cost = self._counter("generation_cost", "US dollars that answers cost, where known.", who)
        self._cost_unknown = self._counter(
            "tidemill_generation_cost_unknown", "Answers of a model whose price is not known.", who
        )
        self._hit_rate = self._gauge("cache_hit_rate", f"Share of hits among the last {LOOKUPS} lookups of the cache.")

    def _declare_inferences(self) -> None:
        task = ["task", "model"]
        self._inferences = self._counter("tidemill_inferences", "Inferences that ended.", [*task, "status", "cache"])
        self._inference_seconds = self._histogram(
            "tidemill_inference_duration_seconds", "Time of a whole inference.", task
        )
        self._first_token_seconds = self._histogram(
            "tidemill_inference_first_token_seconds", "Time until the first token of a streamed inference.", task
        )
        self._tokens = self._counter("tidemill_tokens", "Tokens of inferences.", [*task, "kind"])
        self._refusals = self._counter("tidemill_refusals", "Inferences that the hub itself refused.", ["reason"])
        self._attempts = self._counter(
            "tidemill_attempts", "Tries at a model, by how they ended.", ["provider", "model", "outcome"]
        )
        self._attempt_seconds = self._histogram(
            "tidemill_attempt_duration_seconds", "Time of one try at a model that succeeded.", ["provider", "model"]
        )
        self._recoveries = self._counter(
            "tidemill_recoveries", "Failures that an answer came in spite of.", ["failure"]
        )
        self._fallbacks = self._counter("tidemill_fallbacks", "Answers that a fallback gave.", ["fallback"])
        self._guardrails = self._counter(
            "tidemill_guardrail_hits",
            "What guardrails found in requests and answers.",
            ["guardrail", "direction", "action"],
        )
        self._cache = self._counter("tidemill_cache_lookups", "Lookups of the cache.", ["tier", "result"])

    def _declare_work(self) -> None:
        self._requests = self._counter("tidemill_http_requests", "HTTP requests.", ["method", "route", "status"])
        self._request_seconds = self._histogram(
            "tidemill_http_request_duration_seconds", "Time until the response's last byte.", ["route"]
        )
        self._reviews = self._counter("tidemill_reviews", "Reviews that ended.", ["state"])
        self._engine_failures = self._counter(
            "tidemill_engine_failures", "Engines that failed at a review.", ["engine"]
        )
        self._pull_requests = self._counter(
            "tidemill_pull_request_runs", "Work on pull requests that ended.", ["kind", "state"]
        )
        self._comments = self._counter(
            "tidemill_review_comments", "Inline comments, by what became of them.", ["result"]
        )
        self._syncs = self._counter("tidemill_syncs", "Syncs of sources that ended.", ["state"])
        self._models = self._gauge("tidemill_model_memory_bytes", "Resident memory of a loaded model.", ["model"])
        self._queue = self._gauge("tidemill_queue_depth", "Requests that wait for a local model.", ["model"])
        self._info = self._gauge("tidemill_process_info", "What a process is.", ["role", "pid", "host"])

    def label(self, model: str) -> str:
        """What a model is called in a label."""
        return self._names.label(model)

    def describe(self, role: str) -> None:
        """Says whether this process is a hub or a worker."""
        self._info.labels(role, str(os.getpid()), platform.node()).set(1)

    def observe_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """One HTTP request that ended. `route` is the route's template, never the path as sent."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def observe_inference(self, inference: Inference) -> None:
        """One inference whose row is committed."""
        deployment, usage = inference.context.deployment, inference.usage
        labels = (deployment.task, self._names.label(deployment.model))
        self._inferences.labels(*labels, inference.status, inference.cache_tier or NONE).inc()
        self._inference_seconds.labels(*labels).observe(inference.latency_ms / 1000)
        if inference.streamed and inference.first_token_ms is not None:
            self._first_token_seconds.labels(*labels).observe(inference.first_token_ms / 1000)
        self._tokens.labels(*labels, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(*labels, "completion").inc(usage.completion_tokens)
        if inference.error_code in REFUSALS:
            self._refusals.labels(REFUSALS[inference.error_code]).inc()
        if deployment.task is not Task.EMBED:
            self._observe_generation(inference)

    def _observe_generation(self, inference: Inference) -> None:
        served, usage, deployment = inference.served, inference.usage, inference.context.deployment
        if served is not None:
            who = (served.provider, self._names.label(served.model))
        else:
            provider = NONE if deployment.route else self._provider_of(deployment.model)
            who = (provider, self._names.label(deployment.model))
        self._generations.labels(*who, STATUSES.get(inference.status, inference.status)).inc()
        self._generation_seconds.labels(*who).observe(inference.latency_ms / 1000)
        self._generation_tokens.labels(*who, "input").inc(usage.prompt_tokens)
        self._generation_tokens.labels(*who, "output").inc(usage.completion_tokens)
        if inference.cost_usd is not None:
            self._generation_cost.labels(*who).inc(inference.cost_usd)
        elif served is not None:
            self._cost_unknown.labels(*who).inc()
        for failure in served.recovery if served else ():
            self._recoveries.labels(failure).inc()
        if served is not None and served.fallback is not None:
            self._fallbacks.labels(served.fallback).inc()

    def observe_attempt(self, *, provider: str, model: str, outcome: str, seconds: float) -> None:
        """One try at a model that ended: `ok`, `cancelled`, a leaf of the recovery tree, or an error's code."""
        who = (provider, self._names.label(model))
        self._attempts.labels(*who, outcome).inc()
        if outcome == "ok":
            self._attempt_seconds.labels(*who).observe(seconds)

    def observe_guardrail(self, event: GuardrailEvent) -> None:
        """What a guardrail found in one request or answer."""
        self._guardrails.labels(event.guardrail, event.direction, event.action).inc(event.count)

    def observe_cache(self, *, tier: str, hit: bool) -> None:
        """A lookup of the cache: the tier that had the answer, or `none` for a miss."""
        self._cache.labels(tier, "hit" if hit else "miss").inc()
        if len(self._lookups) == LOOKUPS:
            self._hits -= self._lookups[0]
        self._lookups.append(hit)
        self._hits += hit
        self._hit_rate.set(self._hits / len(self._lookups))

    def observe_review(self, state: str) -> None:
        """One review that ended in this state."""
        self._reviews.labels(state).inc()

    def observe_engine_failure(self, engine: str) -> None:
        """One engine that failed at a review; what the others found was told."""
        self._engine_failures.labels(engine).inc()

    def observe_pull_request(self, kind: str, state: str) -> None:
        """One piece of work on a pull request that ended in this state."""
        self._pull_requests.labels(kind, state).inc()

    def observe_comments(self, result: str, number: int) -> None:
        """So many inline comments that were posted, refused by their forge, or resolved as fixed."""
        self._comments.labels(result).inc(number)

    def observe_sync(self, state: str) -> None:
        """One sync that ended in this state."""
        self._syncs.labels(state).inc()

    def set_models(self, memory: Mapping[str, int], waiting: Mapping[str, int]) -> None:
        """The loaded models' resident bytes, and how many requests wait for each; those that are not named are gone."""
        _replace(self._models, (((model,), size) for model, size in memory.items()))
        _replace(self._queue, (((model,), count) for model, count in waiting.items()))

    def families(self) -> list[Family]:
        """All of it, as it is now."""
        return families_of(self.registry)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> "Children[Counter]":
        return Children(Counter(name, text, labels, registry=self.registry))

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Iterable[str] = ()) -> "Children[Histogram]":
        return Children(Histogram(name, text, labels, buckets=LATENCY, registry=self.registry))


Child = TypeVar("Child", Counter, Histogram)


class Children(Generic[Child]):
    """A metric's children by their labels, as they were given: a request needs fifteen, and Prometheus' client makes
    strings of all labels and takes a lock to find one."""

    def __init__(self, metric: Child) -> None:
        self._metric: Child = metric
        self._known: dict[tuple[str, ...], Child] = {}

    def labels(self, *labels: str) -> Child:
        """The child with these labels."""
        child = self._known.get(labels)
        if child is None:
            child = self._known[labels] = self._metric.labels(*labels)
        return child


class InstallationMetrics:
    """What is the same whichever process is asked, since it stands in the database."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._providers = Gauge(
            "active_providers_count", "Providers of models that can be asked now.", registry=self.registry
        )
        self._work = Gauge(
            "tidemill_jobs", "Durable work that is kept, by its state.", ["kind", "state"], registry=self.registry
        )
        self._resting = Gauge(
            "tidemill_provider_resting",
            "1 where a provider, or one of its models, is not asked now.",
            ["provider", "model"],
            registry=self.registry,
        )

    def set(
        self, *, providers: int, work: Mapping[tuple[str, str], int], resting: Mapping[tuple[str, str], bool]
    ) -> list[Family]:
        """What there is now: providers that can be asked; work by kind and state; who rests, by provider and model."""
        self._providers.set(providers)
        _replace(self._work, work.items())
        _replace(self._resting, resting.items())
        return families_of(self.registry)


REFUSALS = {
    "budget_exceeded": "budget",
    "price_unknown": "budget",
    "rate_limit_exceeded": "rate_limit",
    "too_many_requests": "rate_limit",
    "content_policy_violation": "guardrail",
    "permission_denied": "classification",
    "context_length_exceeded": "context",
}
"""What the codes of errors mean that the hub refuses an inference with."""


def _replace(gauge: Gauge, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
    gauge.clear()
    for labels, value in values:
        gauge.labels(*labels).set(value)
