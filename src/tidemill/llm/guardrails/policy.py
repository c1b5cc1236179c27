"""What each guardrail does, for each task and each direction."""

from collections.abc import Mapping

from tidemill.core.deployment import Task
from tidemill.core.guardrail import Action, Direction, Guardrail
from tidemill.settings.guardrails import GuardrailSettings

STRICTNESS: Mapping[Action, int] = {action: place for place, action in enumerate(Action)}
"""For comparing: what changes more weighs more."""


class Policy:
    """The settings, resolved for each task."""

    def __init__(self, settings: GuardrailSettings) -> None:
        self._actions = {
            (task, guardrail, direction): _action(settings, task, guardrail, direction)
            for task in Task
            for guardrail in Guardrail
            for direction in Direction
        }

    def action(self, task: Task, guardrail: Guardrail, direction: Direction) -> Action:
        """What follows from a finding."""
        return self._actions[task, guardrail, direction]

    def asks(self, guardrail: Guardrail) -> bool:
        """Whether the guardrail does anything for any task."""
        return any(action is not Action.ALLOW for (_, one, _), action in self._actions.items() if one is guardrail)


def _action(settings: GuardrailSettings, task: Task, guardrail: Guardrail, direction: Direction) -> Action:
    if guardrail is Guardrail.LENGTH:
        return Action.REFUSE if direction is Direction.INPUT else Action.ALLOW
    own: Action | None = getattr(settings.tasks.get(task), f"{guardrail}_{direction}", None)
    common: Action = getattr(getattr(settings, guardrail), direction, Action.ALLOW)
    return own or common
