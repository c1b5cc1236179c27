"""What a review of a local repository is told by it: its policy, from the base side, and what its gates are held
against."""

import asyncio
from pathlib import Path

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.errors import InvalidInput, NotFound, TooLarge
from tidemill.core.finding import Finding
from tidemill.core.gate import GateReport
from tidemill.core.review_policy import ReviewPolicy
from tidemill.forges.git_process import Git
from tidemill.forges.local_git import file_at
from tidemill.forges.local_tree import read_files, read_tree
from tidemill.review.gates.code import is_code
from tidemill.review.gates.coverage import MAX_BYTES as MAX_REPORT_BYTES
from tidemill.review.gates.dependencies import changed_manifests
from tidemill.review.gates.duplication import MOST_CHARACTERS
from tidemill.review.gates.judging import NO_ADVISORIES, NO_REPORT, judge
from tidemill.review.gates.manifests import MAX_BYTES as MAX_MANIFEST_BYTES
from tidemill.review.gates.manifests import is_manifest
from tidemill.review.gates.measuring import GateSources, measure
from tidemill.review.policy import MAX_BYTES, POLICY_FILES, read_policy
from tidemill.review.policy_filter import without_ignored

_MAX_ADVISORY_BYTES = 300_000_000
_MAX_TREE_FILE = 400_000


async def local_policy(repo: Path, change: ChangeSet) -> ReviewPolicy | None:
    """The policy that the change's base side has; `None` where it has none, or there is no base.

    Raises:
        Unavailable, TidemillError: git failed.
    """
    if change.base is None:
        return None
    git = Git(repo)
    for path in POLICY_FILES:
        try:
            data = await file_at(git, change.base, path, max_bytes=16 * MAX_BYTES)
        except TooLarge:
            data = b"#" * (MAX_BYTES + 1)  # `read_policy` says that it is too large
        if data is not None:
            return read_policy(data)
    return None


async def local_gates(
    repo: Path,
    change: ChangeSet,
    findings: tuple[Finding, ...],
    policy: ReviewPolicy,
    *,
    coverage: Path | None = None,
    advisories: Path | None = None,
    fallback: Path | None = None,
) -> GateReport:
    """Holds a change of a local repository against its gates.

    Args:
        repo: the repository's folder.
        change: what was read of it.
        findings: as the policy lets them be reported.
        policy: of the base side.
        coverage: a report; else the one that the policy names, in the work tree.
        advisories: a file of advisories; else the one that the policy names, as the base side has it.
        fallback: a file of advisories where neither is there.

    Raises:
        NotFound, InvalidInput: a file that was given is not there or can't be read. What the policy alone names and
            is not there is not measured.
    """
    git = Git(repo)
    diff = without_ignored(await asyncio.to_thread(parse_diff, change.diff), policy)
    own = fallback if policy.gates.advisories is None else None
    sources = await _sources(git, repo, change, policy, coverage, advisories or own)
    inputs = await measure(change, diff, policy, sources)
    for given, got, wanted in (
        (coverage, inputs.coverage, policy.gates.coverage is not None),
        (advisories, inputs.advisories, policy.gates.audit != "off"),
    ):
        if given is not None and wanted and isinstance(got, str):
            raise InvalidInput(f"{given}: {got}")
    return await asyncio.to_thread(judge, change, diff, findings, policy, inputs)


async def _sources(
    git: Git, repo: Path, change: ChangeSet, policy: ReviewPolicy, coverage: Path | None, advisories: Path | None
) -> GateSources:
    known, why = (advisories, "") if advisories else await _own_advisories(git, change, policy)
    report = await asyncio.to_thread(_given_report, coverage) if coverage else await _own_report(git, repo, policy)
    commit = change.head or change.base
    tree, unseen = await _tree(git, commit, policy) if commit else (None, 0)
    whole = parse_diff(change.diff)
    large = [path for path in changed_manifests(whole) if path not in change.files]
    return GateSources(
        coverage=report,
        advisories=known,
        no_advisories=why,
        tree=tree,
        unseen=unseen,
        manifests=await read_files(git, change.head, large, max_bytes=MAX_MANIFEST_BYTES) if change.head else {},
        before=await read_files(git, change.base, large, max_bytes=MAX_MANIFEST_BYTES) if change.base else {},
    )


async def _tree(git: Git, commit: str, policy: ReviewPolicy) -> tuple[dict[str, str] | None, int]:
    """The files in which copies are looked for, and the manifests where every dependency is audited."""
    everything = policy.gates.audit == "all"
    compared = policy.gates.duplication is not None
    if not everything and not compared:
        return None, 0

    def wanted(path: str, size: int) -> bool:
        if everything and is_manifest(path):
            return size <= MAX_MANIFEST_BYTES
        return compared and is_code(path) and size <= _MAX_TREE_FILE

    return await read_tree(git, commit, wanted, max_total=2 * MOST_CHARACTERS)


def _given_report(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"There is no coverage report {str(path)!r}.", param="coverage")
    if path.stat().st_size > MAX_REPORT_BYTES:
        raise TooLarge(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_REPORT_BYTES:,} are read.")
    return path.read_bytes()


async def _own_report(git: Git, repo: Path, policy: ReviewPolicy) -> bytes | str:
    """The report that the policy names, in the work tree; a link out of it is not followed."""
    name = policy.gates.coverage_report
    if name is None:
        return NO_REPORT
    root = (await git.run("rev-parse", "--show-toplevel", accept=(0, 128))).decode("utf-8", "replace").strip()
    return await asyncio.to_thread(_inside, Path(root or repo), name)


def _inside(root: Path, name: str) -> bytes | str:
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()) or not file.is_file():
        return f"{name} is not there"
    if file.stat().st_size > MAX_REPORT_BYTES:
        return f"{name} is larger than {MAX_REPORT_BYTES:,} bytes"
    return file.read_bytes()


async def _own_advisories(git: Git, change: ChangeSet, policy: ReviewPolicy) -> tuple[bytes | None, str]:
    """The advisories that the policy names, as the base side has them; or why there are none."""
    name = policy.gates.advisories
    if name is None or change.base is None:
        return None, NO_ADVISORIES
    try:
        data = await file_at(git, change.base, name, max_bytes=_MAX_ADVISORY_BYTES)
    except TooLarge as error:
        return None, error.message
    return data, f"{name} is not there on the base side" if data is None else ""
