"""Quality gates: what a change must reach before it is merged, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum


class GateName(StrEnum):
    """What is held against a threshold."""

    COVERAGE = "coverage"
    DUPLICATION = "duplication"
    COMPLEXITY = "complexity"
    DEPENDENCIES = "dependencies"
    CRITICAL = "critical"


class GateState(StrEnum):
    """How a gate ended. A gate that is not measured fails the report only where the policy requires it."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class GatePlace:
    """One place that a gate is about: `line` is 1-based on the new side, 0 for the file as a whole."""

    path: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """`path:line`, or the path alone."""
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of one change.

    Attributes:
        threshold: what is asked, for a person: `≥ 80 %`.
        measured: what was found, for a person: `71.4 % (5 of 7 lines)`; empty where nothing was measured.
        reason: why it was not measured, or what the figure leaves out.
        places: where it falls short, at most as many as a person reads; `more` is how many others there are.
        required: whether it fails the report where it is not measured.
    """

    name: GateName
    state: GateState
    threshold: str
    measured: str = ""
    reason: str = ""
    places: tuple[GatePlace, ...] = ()
    required: bool = False
    more: int = 0

    @property
    def holds(self) -> bool:
        """Whether it lets the change pass."""
        return self.state is GateState.PASSED or (self.state is GateState.NOT_MEASURED and not self.required)


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every gate that the repository's policy asks for, in the order of `GateName`."""

    gates: tuple[Gate, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every gate lets the change pass."""
        return all(gate.holds for gate in self.gates)
