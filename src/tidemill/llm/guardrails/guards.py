"""All guardrails of an installation, as the settings have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.analysis.privacy import Kind
from tidemill.analysis.topics import TopicWords
from tidemill.core.deployment import Task
from tidemill.core.guardrail import Action, Direction, Guardrail
from tidemill.llm.guardrails.finding import Finder, Found, PrivateFinder, SecretFinder, TopicFinder
from tidemill.llm.guardrails.injection import InjectionGuard
from tidemill.llm.guardrails.memorised import Memory
from tidemill.llm.guardrails.policy import Policy
from tidemill.llm.guardrails.presidio import Presidio
from tidemill.llm.guardrails.seen import Seen
from tidemill.llm.guardrails.toxicity import ToxicityGuard
from tidemill.settings.guardrails import GuardrailSettings

HOLDING = (Action.MASK, Action.REFUSE)
"""Under which a text may not leave before it was read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for every request of one task, worked out once.

    Attributes:
        asked: what reads requests.
        answered: what reads whole answers.
        holding: those of them whose findings may not pass.
        flagging: those whose findings are only noted.
        injection: what follows from prompt injection in a request.
        toxicity: what follows from it, in each direction.
        privacy: what follows from what Presidio finds, in each direction.
        memorised: what follows from a repeated text.
    """

    asked: Sequence[Finder]
    answered: Sequence[Finder]
    holding: Sequence[Finder]
    flagging: Sequence[Finder]
    injection: Action
    toxicity: Mapping[Direction, Action]
    privacy: Mapping[Direction, Action]
    memorised: Action


class Guards:
    """What reads requests and answers, shared by all of them.

    Args:
        settings: what follows from what.
        injection: finds prompt injection.
        memory: knows stored texts of higher levels.
        toxicity: finds insults, where the extra is installed and wanted.
        presidio: is asked as well, where there is one.
    """

    def __init__(
        self,
        settings: GuardrailSettings,
        *,
        injection: InjectionGuard,
        memory: Memory | None = None,
        toxicity: ToxicityGuard | None = None,
        presidio: Presidio | None = None,
    ) -> None:
        self.settings = settings
        self.policy = Policy(settings)
        self.injection = injection
        self.memory = memory
        self.toxicity = toxicity
        self.presidio = presidio
        self.seen: Seen[Sequence[Found]] = Seen()
        kinds = frozenset(Kind) if settings.privacy.ip_addresses else frozenset(Kind) - {Kind.IP_ADDRESS}
        topics = {name: TopicWords(one.phrases, one.patterns) for name, one in settings.topics.lists.items()}
        self._finders: dict[Guardrail, Finder] = {
            Guardrail.SECRETS: SecretFinder(),
            Guardrail.PRIVACY: PrivateFinder(kinds),
        }
        if topics:
            self._finders[Guardrail.TOPICS] = TopicFinder(topics)
        self._plans = {task: self._planned(task) for task in Task}

    def plan(self, task: Task) -> Plan:
        """What is done for a task."""
        return self._plans[task]

    def finders(self, task: Task, direction: Direction, actions: Sequence[Action]) -> dict[Guardrail, Finder]:
        """Those that know where each thing stands, and from which one of these actions follows."""
        return {
            guardrail: finder
            for guardrail, finder in self._finders.items()
            if self.policy.action(task, guardrail, direction) in actions
        }

    def _planned(self, task: Task) -> Plan:
        def reading(direction: Direction, *actions: Action) -> Sequence[Finder]:
            return list(self.finders(task, direction, actions).values())

        def action(guardrail: Guardrail, direction: Direction) -> Action:
            return self.policy.action(task, guardrail, direction)

        return Plan(
            asked=reading(Direction.INPUT, Action.FLAG, *HOLDING),
            answered=reading(Direction.OUTPUT, Action.FLAG, *HOLDING),
            holding=reading(Direction.OUTPUT, *HOLDING),
            flagging=reading(Direction.OUTPUT, Action.FLAG),
            injection=action(Guardrail.INJECTION, Direction.INPUT),
            toxicity={direction: action(Guardrail.TOXICITY, direction) for direction in Direction},
            privacy={direction: action(Guardrail.PRIVACY, direction) for direction in Direction},
            memorised=action(Guardrail.MEMORISED, Direction.OUTPUT),
        )

    def close(self) -> None:
        """Ends the threads."""
        self.injection.close()
        if self.toxicity is not None:
            self.toxicity.close()
