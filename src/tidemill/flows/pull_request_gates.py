"""Holds a pull request's change against its repository's thresholds: the files that this needs come from the forge."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.errors import TooLarge
from tidemill.core.finding import Finding
from tidemill.core.gate import GateReport
from tidemill.core.pull_request import PullRequest
from tidemill.core.review_policy import ReviewPolicy
from tidemill.forges.port import Forge
from tidemill.review.gates.coverage import MAX_BYTES as MAX_REPORT_BYTES
from tidemill.review.gates.dependencies import changed_manifests
from tidemill.review.gates.judging import NO_ADVISORIES, NO_REPORT, judge
from tidemill.review.gates.manifests import MAX_BYTES as MAX_MANIFEST_BYTES
from tidemill.review.gates.measuring import GateSources, measure
from tidemill.review.policy_filter import without_ignored

_MAX_ADVISORY_BYTES = 200_000_000
_MOST_MANIFESTS = 50


class PulledGates:
    """The gates of pull requests.

    A coverage report is read from the head, since it is about it; advisories from the target branch, as the policy is.
    Copies are looked for within the change and the files around it alone.

    Args:
        folder: where private copies are made and removed.
        advisories: a file of advisories, for repositories whose policy names none.
    """

    def __init__(self, folder: Path, advisories: Path | None = None) -> None:
        self._folder = folder
        self._advisories = advisories

    async def judge(
        self,
        forge: Forge,
        pull_request: PullRequest,
        change: ChangeSet,
        findings: Sequence[Finding],
        policy: ReviewPolicy,
    ) -> GateReport:
        """What the gates came to. What the policy names and is not there is not measured, and the table says so."""
        whole = await asyncio.to_thread(parse_diff, change.diff)
        diff = without_ignored(whole, policy)
        sources = await self._sources(forge, pull_request, change, whole, policy)
        inputs = await measure(change, diff, policy, sources)
        return await asyncio.to_thread(judge, change, diff, findings, policy, inputs)

    async def _sources(
        self, forge: Forge, pull_request: PullRequest, change: ChangeSet, whole: Diff, policy: ReviewPolicy
    ) -> GateSources:
        asked, head, base = policy.gates, pull_request.head, pull_request.base
        coverage: bytes | str = NO_REPORT
        if asked.coverage is not None and asked.coverage_report is not None:
            coverage = await _bounded(forge, pull_request, asked.coverage_report, head, MAX_REPORT_BYTES)
        advisories: bytes | str = NO_ADVISORIES
        if asked.advisories is not None:
            advisories = await _bounded(
                forge, pull_request, asked.advisories, pull_request.target_head, _MAX_ADVISORY_BYTES
            )
        large = [path for path in changed_manifests(whole) if path not in change.files][:_MOST_MANIFESTS]
        return GateSources(
            coverage=coverage,
            advisories=advisories if isinstance(advisories, bytes) else self._own_advisories(policy),
            no_advisories=advisories if isinstance(advisories, str) else "",
            manifests=await _texts(forge, pull_request, large, head),
            before=await _texts(forge, pull_request, large, base),
            folder=self._folder,
        )

    def _own_advisories(self, policy: ReviewPolicy) -> Path | None:
        """The hub's file stands in where the policy names none; not where the one that it names is missing."""
        return self._advisories if policy.gates.advisories is None else None


async def _bounded(forge: Forge, pull_request: PullRequest, path: str, commit: str, most: int) -> bytes | str:
    """A file's bytes, or why there are none."""
    try:
        data = await forge.file(pull_request, path, commit)
    except TooLarge as error:
        return error.message
    if data is None:
        return f"{path} is not there"
    return data if len(data) <= most else f"{path} is larger than {most:,} bytes"


async def _texts(forge: Forge, pull_request: PullRequest, paths: Sequence[str], commit: str) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            data = await forge.file(pull_request, path, commit)
        except TooLarge:
            continue
        if data is not None and len(data) <= MAX_MANIFEST_BYTES:
            found[path] = data.decode("utf-8", "replace")
    return found
