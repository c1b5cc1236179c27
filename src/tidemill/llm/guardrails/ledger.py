"""What the guardrails found in one inference, on its way to becoming rows."""

from collections import Counter
from collections.abc import Callable

from tidemill.core.clock import Clock
from tidemill.core.context import InferenceContext
from tidemill.core.deployment import Task
from tidemill.core.errors import ContentRefused
from tidemill.core.guardrail import Action, Direction, Guardrail, GuardrailEvent
from tidemill.core.ids import new_id
from tidemill.llm.guardrails.policy import STRICTNESS, Policy

WHAT = {Direction.INPUT: "request", Direction.OUTPUT: "answer"}
ADVICE = {
    Direction.INPUT: "Take out what it found and ask again",
    Direction.OUTPUT: "Ask for something else",
}

ASKED_IN = {Task.EMBED: "input", Task.COMPLETE: "prompt"}
"""The field of a request that holds its texts, where it is not `messages`."""


class Ledger:
    """Counts findings by guardrail and rule, and says what follows from each.

    Args:
        context: of the inference.
        policy: says what follows.
    """

    def __init__(self, context: InferenceContext, policy: Policy) -> None:
        self._context = context
        self._policy = policy
        self._found: dict[tuple[Guardrail, Direction, Action], Counter[str]] = {}

    @property
    def task(self) -> Task:
        """What the model is asked for."""
        return self._context.deployment.task

    def action(self, guardrail: Guardrail, direction: Direction) -> Action:
        """What follows from a finding."""
        return self._policy.action(self.task, guardrail, direction)

    def weight(self, direction: Direction) -> Callable[[Guardrail], int]:
        """How strict a guardrail is, for comparing."""
        return lambda guardrail: STRICTNESS[self.action(guardrail, direction)]

    def note(self, guardrail: Guardrail, direction: Direction, action: Action, rule: str) -> None:
        """Counts a finding.

        Raises:
            ContentRefused: it is not let pass. The message names guardrail and rule, and nothing of the text.
        """
        self._found.setdefault((guardrail, direction, action), Counter())[rule] += 1
        if action is Action.REFUSE:
            raise ContentRefused(
                f"The guardrail `{guardrail}` does not let this {WHAT[direction]} pass: it found {rule}. "
                f"{ADVICE[direction]}, or ask an admin about `guardrails.{guardrail}`.",
                param=ASKED_IN.get(self.task, "messages") if direction is Direction.INPUT else None,
            )

    def events(self, clock: Clock) -> list[GuardrailEvent]:
        """The rows."""
        context = self._context
        return [
            GuardrailEvent(
                id=new_id(),
                inference_id=context.inference_id,
                owner_id=context.owner_id,
                task=context.deployment.task,
                guardrail=guardrail,
                direction=direction,
                action=action,
                rules=sorted(rules),
                count=rules.total(),
                created_at=clock(),
            )
            for (guardrail, direction, action), rules in self._found.items()
        ]
