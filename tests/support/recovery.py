"""Recovery over scripted models: a clock that sleeping moves, and a few models with known facts."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidemill.core.chat import ChatRequest
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Deployment, Fallback, Route, Strategy, Target, Task
from tidemill.core.errors import ModelNotFound
from tidemill.core.ids import new_id
from tidemill.core.provider import FREE, LOCAL, ModelFacts, Price, Provider, ProviderKind, ProviderState
from tidemill.llm.prompts.shipped import Prompts, ShippedPrompts
from tidemill.llm.recovery.breaker import Breaker
from tidemill.llm.recovery.means import Means
from tidemill.llm.recovery.routed import RoutedModel
from tidemill.llm.scripted import ScriptedModel
from tidemill.settings.recovery import RecoverySettings
from tidemill.store.provider_states import Failed, ProviderStateRepository

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Time:
    """A clock and a timer that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def clock(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - 1000.0)

    def timer(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class Rows(ProviderStateRepository):
    """The rows of states in memory, for tests of what is done with them."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], ProviderState] = {}

    async def all(self) -> list[ProviderState]:
        return list(self.states.values())

    async def add_failure(self, failed: Failed) -> ProviderState:
        from tidemill.llm.recovery.breaker import _after  # noqa: PLC0415

        spot = (failed.provider, failed.model)
        self.states[spot] = _after(self.states.get(spot) or ProviderState(*spot), failed)
        return self.states[spot]

    async def reset(self, provider: str, model: str, at: datetime) -> None:
        self.states.pop((provider, model), None)

    async def claim(self, provider: str, model: str, *, now: datetime, until: datetime) -> bool:
        return True

    async def release(self, provider: str, model: str, *, held_until: datetime, rests_until: datetime) -> None:
        pass

    async def forget_untouched(self, before: datetime) -> int:
        return 0

    async def write_latencies(self, latencies, at) -> None:
        pass


PROVIDERS = {
    name: Provider(name, ProviderKind.OPENAI, (f"http://{name}.test/v1", f"http://{name}-2.test/v1"), timeout=60.0)
    for name in ("alpha", "beta", "gamma")
}


def facts_of(name: str, prices: Mapping[str, Price | None] | None = None) -> ModelFacts:
    """`local-…` is local and free; `alpha/…`, `beta/…`, `gamma/…` are of providers."""
    price = (prices or {}).get(name, Price(1.0, 2.0))
    if name.startswith("local"):
        return ModelFacts(name, LOCAL, name, "v1", FREE, local=True)
    provider, slash, model = name.partition("/")
    if not slash or provider not in PROVIDERS:
        raise ModelNotFound(f"There is no model {name}.")
    return ModelFacts(name, provider, model, model, price, outside=True)


class Book:
    """The providers above."""

    def find(self, model: str) -> tuple[Provider, str] | None:
        provider, slash, name = model.partition("/")
        return (PROVIDERS[provider], name) if slash and provider in PROVIDERS else None

    async def key(self, provider: Provider) -> str | None:
        return "key"


def means_of(
    time: Time,
    rows: ProviderStateRepository | None = None,
    *,
    settings: RecoverySettings | None = None,
    facts: Callable[[str], ModelFacts] = facts_of,
    local_model: str | None = "local-default",
    prompts: Prompts | None = None,
) -> Means:
    chosen = settings or RecoverySettings()
    return Means(
        facts=facts,
        book=Book(),
        breaker=Breaker(rows or Rows(), chosen, time.clock),
        settings=chosen,
        request_timeout=600.0,
        local_model=lambda: local_model,
        prompts=prompts or ShippedPrompts(),
        clock=time.clock,
        timer=time.timer,
        sleep=time.sleep,
    )


def route(*models: str | Target, strategy: Strategy = Strategy.ORDERED, fallbacks: tuple[Fallback, ...] = ()) -> Route:
    targets = tuple(model if isinstance(model, Target) else Target(model) for model in models)
    return Route("smart", targets, strategy, fallbacks)


def asking(to: Route | str, text: str = "What is a lease?", **context: object) -> ChatRequest:
    """A request to a route or to a named model."""
    options = context.pop("options", {})
    name = to if isinstance(to, str) else to.name
    deployment = Deployment(Task.CHAT, name, "v1", route=None if isinstance(to, str) else to)
    return ChatRequest(
        name,
        [{"role": "user", "content": text}],
        options,
        InferenceContext(new_id(), deployment, "0" * 32, **context),
    )


def scripted(answers: Mapping[str, list], means: Means) -> tuple[RoutedModel, ScriptedModel]:
    """A routed model over one script for each model."""
    left = {name: list(script) for name, script in answers.items()}

    def next_of(request):
        script = left[request.model]
        return script.pop(0) if len(script) > 1 else script[0]

    inner = ScriptedModel(next_of)
    return RoutedModel(inner, means), inner


def asked(inner: ScriptedModel) -> list[str]:
    return [request.model for request in inner.requests]
