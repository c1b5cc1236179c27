"""Gathers what gates are held against: reads reports, manifests and advisories, and runs lizard."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.gates.advisories import Advisory, read_advisories
from tidemill.review.gates.complexity import FunctionsMeasured, measure_functions
from tidemill.review.gates.coverage import CoverageReport, read_report
from tidemill.review.gates.dependencies import Inventory, take_inventory
from tidemill.review.gates.judging import NO_ADVISORIES, NO_REPORT, GateInputs


@dataclass(frozen=True, slots=True)
class GateSources:
    """What is at hand beside the change.

    Attributes:
        coverage: what a Cobertura or LCOV report holds; or why there is none.
        advisories: the file of advisories, or what it holds; or `None`.
        no_advisories: why there are none.
        tree: texts of the repository's other files; `None` where only the change is known.
        unseen: how many of them were too much to read.
        manifests: the new side's texts of manifests and lock files that the change does not hold; `before` those of
            the old side.
        folder: where private copies are made and removed; the system's own if `None`.
    """

    coverage: bytes | str = NO_REPORT
    advisories: Path | bytes | None = None
    no_advisories: str = NO_ADVISORIES
    tree: Mapping[str, str] | None = None
    unseen: int = 0
    manifests: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


async def measure(change: ChangeSet, diff: Diff, policy: ReviewPolicy, sources: GateSources) -> GateInputs:
    """What `judge` needs of a change. What can't be read is a reason there, and no error.

    Args:
        change: what is judged, with both sides' texts.
        diff: the same, parsed, without the files that the policy ignores.
        policy: gates that it leaves out are not measured.
        sources: what is at hand.
    """
    asked = policy.gates
    functions: FunctionsMeasured | str = FunctionsMeasured()
    if asked.complexity is not None:
        functions = await measure_functions(change, diff, folder=sources.folder)
    coverage: CoverageReport | str = NO_REPORT
    if asked.coverage is not None:
        coverage = await asyncio.to_thread(_report, sources.coverage)
    inventory, advisories = await asyncio.to_thread(_audit, change, diff, policy, sources)
    return GateInputs(coverage, functions, inventory, advisories, sources.tree, sources.unseen)


def _audit(
    change: ChangeSet, diff: Diff, policy: ReviewPolicy, sources: GateSources
) -> tuple[Inventory, Sequence[Advisory] | str]:
    if policy.gates.audit == "off":
        return Inventory(), ()
    after = {**(sources.tree or {}), **sources.manifests, **change.files}
    before = {**sources.before, **change.before}
    inventory = take_inventory(diff, after, before, everything=policy.gates.audit == "all")
    return inventory, _known(sources, inventory)


def _report(source: bytes | str) -> CoverageReport | str:
    if isinstance(source, str):
        return source
    try:
        return read_report(source)
    except InvalidInput as error:
        return error.message


def _known(sources: GateSources, inventory: Inventory) -> Sequence[Advisory] | str:
    if sources.advisories is None:
        return sources.no_advisories
    try:
        return read_advisories(sources.advisories, inventory.packages)
    except (InvalidInput, NotFound) as error:
        return error.message
