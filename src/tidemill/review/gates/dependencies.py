"""Holds the dependencies that a change adds or alters against advisories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.core.change import ChangeKind, Diff
from tidemill.core.errors import InvalidInput
from tidemill.core.gate import Gate, GateName, GatePlace, GateState
from tidemill.review.gates.advisories import Advisory, PackageKey, package_key
from tidemill.review.gates.code import with_places
from tidemill.review.gates.manifests import Dependency, is_manifest, line_of, read_manifest


@dataclass(frozen=True, slots=True)
class Inventory:
    """The dependencies that are to be audited.

    Attributes:
        audited: in the order of their files and names.
        texts: of their files, by path, to find the lines that name them.
        unread: why a manifest could not be read, by path.
    """

    audited: Sequence[Dependency] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def packages(self) -> frozenset[PackageKey]:
        """The packages, for reading advisories."""
        return frozenset(package_key(one.ecosystem, one.name) for one in self.audited)


def changed_manifests(diff: Diff) -> tuple[str, ...]:
    """The files with dependencies that the change adds or alters."""
    return tuple(file.path for file in diff.files if file.kind is not ChangeKind.DELETED and is_manifest(file.path))


def take_inventory(
    diff: Diff, after: Mapping[str, str], before: Mapping[str, str], *, everything: bool = False
) -> Inventory:
    """What the change adds or gives another version; with `everything`, all that the files name.

    Args:
        diff: which files are changed.
        after: the new side's texts of manifests; the changed ones at least.
        before: the old side's, by the new side's path.
        everything: audit every dependency of every file of `after`.
    """
    audited: list[Dependency] = []
    changed = changed_manifests(diff)
    added = {file.path for file in diff.files if file.kind is ChangeKind.ADDED}
    unread = {path: "only its diff is known" for path in changed if path not in after}
    for path in sorted(path for path in after if is_manifest(path) and (everything or path in changed)):
        if path not in before and path not in added and not everything:
            unread[path] = "its old side is not known"
            continue
        try:
            now = read_manifest(path, after[path])
            was = read_manifest(path, before.get(path, "")) if before.get(path, "").strip() else frozenset()
        except InvalidInput as error:
            unread[path] = error.message
            continue
        chosen = now if everything else now - was
        audited += sorted(chosen, key=lambda one: (one.name, str(one.version)))
    return Inventory(tuple(audited), {path: after[path] for path in {one.path for one in audited}}, unread)


def judge_dependencies(inventory: Inventory, advisories: Sequence[Advisory] | str, *, required: bool) -> Gate:
    """Whether no audited dependency has an advisory.

    Args:
        inventory: what is audited.
        advisories: of the inventory's packages; or why there are none.
        required: whether the gate fails where it can't be measured.
    """
    name, threshold = GateName.DEPENDENCIES, "no advisory"
    unread = "; ".join(f"{path}: {why}" for path, why in list(inventory.unread.items())[:3])
    if not inventory.audited and not unread:
        return Gate(name, GateState.PASSED, threshold, "no dependency added or altered", required=required)
    if isinstance(advisories, str):
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=advisories, required=required)
    exact = [one for one in inventory.audited if one.version is not None]
    known: dict[PackageKey, list[Advisory]] = {}
    for advisory in advisories:
        known.setdefault(advisory.package, []).append(advisory)
    hits = [(one, found) for one in exact for found in _of(one, known.get(package_key(one.ecosystem, one.name), []))]
    loose = len(inventory.audited) - len(exact)
    reasons = [f"{loose} without an exact version are not audited"] if loose else []
    reason = "; ".join([*reasons, *([unread] if unread else [])])
    if not exact:
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=reason, required=required)
    affected = len({one for one, _ in hits})
    gate = Gate(
        name,
        GateState.FAILED if hits else GateState.PASSED,
        threshold,
        f"{affected} of {len(exact)} dependencies have one",
        reason,
        required=required,
    )
    return with_places(gate, hits, lambda hit: _place(*hit, inventory.texts))


def _of(dependency: Dependency, advisories: Sequence[Advisory]) -> list[Advisory]:
    """Each defect once: advisories that are aliases of one another are one."""
    seen = set[str]()
    found: list[Advisory] = []
    for advisory in sorted(advisories, key=lambda one: one.id):
        names = {advisory.id, *advisory.aliases}
        if advisory.affects(dependency.version or "") and not names & seen:
            found.append(advisory)
            seen |= names
    return found


def _place(dependency: Dependency, advisory: Advisory, texts: Mapping[str, str]) -> GatePlace:
    line = line_of(dependency, texts.get(dependency.path, ""))
    return GatePlace(dependency.path, line, _said(dependency, advisory))


def _said(dependency: Dependency, advisory: Advisory) -> str:
    fix = advisory.fixed_in(dependency.version or "")
    mended = f" Mended in {fix}." if fix else " No version mends it yet."
    names = ", ".join([advisory.id, *[alias for alias in advisory.aliases if alias.startswith("CVE-")][:2]])
    return f"{dependency.name} {dependency.version}: {names}: {advisory.summary.rstrip('.')}.{mended}"
