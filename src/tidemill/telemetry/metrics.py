"""The hub's metrics, in Prometheus' text format. Times are in seconds, as its conventions ask."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tidemill.core.inference import Inference

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """Counts requests, inferences and reviews in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tidemill_http_requests_total", "HTTP requests.", ["method", "route", "status"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "tidemill_http_request_duration_seconds",
            "Time until the response's last byte.",
            ["route"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self._inferences = Counter(
            "tidemill_inferences_total", "Inferences.", ["task", "model", "status", "cache"], registry=self.registry
        )
        self._inference_seconds = Histogram(
            "tidemill_inference_duration_seconds",
            "Time of a whole inference.",
            ["task", "model"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self._first_token_seconds = Histogram(
            "tidemill_inference_first_token_seconds",
            "Time until the first token of a streamed inference.",
            ["task", "model"],
            buckets=LATENCY,
            registry=self.registry,
        )
        self._tokens = Counter("tidemill_tokens_total", "Tokens.", ["task", "model", "kind"], registry=self.registry)
        self._reviews = Counter("tidemill_reviews_total", "Reviews that ended.", ["state"], registry=self.registry)
        self._models = Gauge(
            "tidemill_model_memory_bytes", "Resident memory of a loaded model.", ["model"], registry=self.registry
        )

    def observe_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """One HTTP request that ended. `route` is the route's template, never the path as sent."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def observe_inference(self, inference: Inference) -> None:
        """One inference whose row is committed."""
        task, model = inference.context.deployment.task, inference.context.deployment.model
        self._inferences.labels(task, model, inference.status, inference.cache_tier or "none").inc()
        self._inference_seconds.labels(task, model).observe(inference.latency_ms / 1000)
        if inference.streamed and inference.first_token_ms is not None:
            self._first_token_seconds.labels(task, model).observe(inference.first_token_ms / 1000)
        self._tokens.labels(task, model, "prompt").inc(inference.usage.prompt_tokens)
        self._tokens.labels(task, model, "completion").inc(inference.usage.completion_tokens)

    def observe_review(self, state: str) -> None:
        """One review that ended in this state."""
        self._reviews.labels(state).inc()

    def set_model_memory(self, sizes: dict[str, int]) -> None:
        """The loaded models and their resident bytes; models that are not named are gone."""
        self._models.clear()
        for model, size in sizes.items():
            self._models.labels(model).set(size)

    def render(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
