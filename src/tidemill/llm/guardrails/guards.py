"""All guardrails of an installation, as the settings have them."""

from collections.abc import Sequence

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

    def finders(self, task: Task, direction: Direction, actions: Sequence[Action]) -> dict[Guardrail, Finder]:
        """Those that know where each thing stands, and from which one of these actions follows."""
        return {
            guardrail: finder
            for guardrail, finder in self._finders.items()
            if self.policy.action(task, guardrail, direction) in actions
        }

    def close(self) -> None:
        """Ends the threads."""
        self.injection.close()
        if self.toxicity is not None:
            self.toxicity.close()
