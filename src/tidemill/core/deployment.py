"""Which exact versions serve a task."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, cast

from tidemill.core.ids import digest
from tidemill.core.json import Json, JsonObject


class Task(StrEnum):
    """What a model is asked for."""

    CHAT = "chat"
    ANSWER = "answer"
    COMPLETE = "complete"
    EMBED = "embed"
    REVIEW_NECESSITY = "review.necessity"
    REVIEW_COMMENT = "review.comment"
    REVIEW_REFINE = "review.refine"
    CONVERSATION_TITLE = "conversation.title"
    CONVERSATION_SUMMARY = "conversation.summary"


class Strategy(StrEnum):
    """How one of a route's targets is chosen."""

    ORDERED = "ordered"
    ROUND_ROBIN = "round_robin"
    LEAST_COST = "least_cost"
    FASTEST = "fastest"
    BY_COMPLEXITY = "by_complexity"


class Fallback(StrEnum):
    """What answers when no target did. Another provider is always tried before: that is what a route is."""

    LOCAL = "local"
    TEMPLATE = "template"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Target:
    """One of a route's models.

    Attributes:
        model: a local model, an endpoint, or `provider/model`.
        weight: its share under `round_robin`.
        max_complexity: under `by_complexity`, it is asked up to here (0 to 1).
        min_budget_usd: under `by_complexity`, it is asked only where the request may cost this much.
    """

    model: str
    weight: int = 1
    max_complexity: float = 1.0
    min_budget_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """The models that serve one name, and what follows when they fail."""

    name: str
    targets: tuple[Target, ...]
    strategy: Strategy = Strategy.ORDERED
    fallbacks: tuple[Fallback, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """An immutable choice of model, adapter, prompt and sampling for a task. A change makes a new deployment.

    `route` has the models where several may serve it; `model` is then the route's name, and `model_version` a digest
    of its targets. `config_hash` is a digest of all but the route: two inferences with the same one were made in the
    same way.
    """

    task: Task
    model: str
    model_version: str
    adapter: str | None = None
    prompt_version: str | None = None
    sampling: Mapping[str, Json] = field(default_factory=dict)
    variant: str = "default"
    route: Route | None = None
    config_hash: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made = digest(
            self.task,
            self.model,
            self.model_version,
            self.adapter or "",
            self.prompt_version or "",
            json.dumps(self.sampling, sort_keys=True),
            self.variant,
        )
        object.__setattr__(self, "config_hash", made)  # once, since a request reads it at several places


def deployment_json(deployment: Deployment) -> JsonObject:
    """A deployment as JSON, for a row or an answer; `deployment_from_json` reads it."""
    return cast(JsonObject, asdict(deployment))


def deployment_from_json(document: Mapping[str, Any]) -> Deployment:
    """What `deployment_json` wrote, in this version or one before."""
    given = {name: value for name, value in document.items() if name != "config_hash"}
    if (route := given.get("route")) is not None:
        given["route"] = Route(
            name=route["name"],
            targets=tuple(Target(**target) for target in route["targets"]),
            strategy=Strategy(route["strategy"]),
            fallbacks=tuple(Fallback(fallback) for fallback in route["fallbacks"]),
        )
    return Deployment(**{**given, "task": Task(given["task"])})
