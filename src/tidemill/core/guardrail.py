"""What a guardrail does about what it finds, and the row that this leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Guardrail(StrEnum):
    """What reads requests and answers, in the order in which it does."""

    LENGTH = "length"
    SECRETS = "secrets"
    PRIVACY = "privacy"
    INJECTION = "injection"
    TOPICS = "topics"
    MEMORISED = "memorised"
    TOXICITY = "toxicity"


class Action(StrEnum):
    """What follows from a finding. All but the first leave a row."""

    ALLOW = "allow"
    """Nothing: the guardrail does not even look."""
    FLAG = "flag"
    """It is noted."""
    MASK = "mask"
    """What was found is replaced."""
    REFUSE = "refuse"
    """The request or the answer is not let pass."""


class Direction(StrEnum):
    """Whether a text is asked or answered."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class GuardrailEvent:
    """What one guardrail found in one request or answer, and did about it. It holds nothing of the text.

    Attributes:
        inference_id: of the inference's row.
        owner_id: to whom the inference belongs; `None` for the hub's own work.
        task: what the model was asked for.
        rules: the names of what was found, each once.
        count: how many findings there were.
    """

    id: UUID
    inference_id: UUID
    owner_id: UUID | None
    task: str
    guardrail: Guardrail
    direction: Direction
    action: Action
    rules: Sequence[str]
    count: int
    created_at: datetime
