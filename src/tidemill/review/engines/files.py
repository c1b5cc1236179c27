"""The base of engines that read whole files: which files, both sides of a change, and what they already said of each.

An engine says the same of the same text, so its remarks on a file are kept: a second review of the same head, and the
old side of the next push, cost nothing.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.change import ChangeKind, ChangeSet, Diff, FileDiff
from tidemill.core.ids import digest
from tidemill.review.baseline import candidates, introduced, quoted
from tidemill.review.engines.port import EngineResult, Reading
from tidemill.review.engines.process import is_inside
from tidemill.review.engines.together import together
from tidemill.review.placing import Remark, added_lines, place_on

REMEMBERED_FILES = 20_000
FILES_A_PROCESS = 50
"""Fewer are not worth a process more."""


class FileEngine(ABC):
    """An engine that reads whole files, each by itself."""

    name: str
    version: str
    jobs = 1
    """Processes among which many files are shared out."""
    together = False
    """Whether what is found in a file hangs on the others: then the old side is read whole or not at all."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[str, tuple[Remark, ...]] = OrderedDict()

    @abstractmethod
    def reads(self, path: str) -> bool:
        """Whether the engine has anything to say of a file of this name."""

    @abstractmethod
    async def _read(self, files: Mapping[str, str]) -> Reading:
        """Everything that is wrong in these files. Notes are of this reading alone, and are not kept."""

    def unavailable(self) -> str | None:
        """Why the engine can't run here, with what to do; `None` where it can."""
        return None

    def unplaced(self, remarks: Sequence[Remark]) -> tuple[str, ...]:
        """Notes on remarks that no finding was made of."""
        return ()

    async def read(self, files: Mapping[str, str]) -> Reading:
        """See `TreeEngine.read`. What was read before is not read again."""
        keys = {path: digest(self.version, path, text) for path, text in files.items()}
        fresh = {path: text for path, text in files.items() if keys[path] not in self._remembered}
        reading = await self._shared_out(fresh)
        said: dict[str, list[Remark]] = {path: [] for path in fresh}
        for remark in reading.remarks:
            said[remark.path].append(remark)
        known = {path: self._remembered[key] for path, key in keys.items() if path not in fresh}
        if not reading.notes:
            whole = {keys[path]: tuple(remarks) for path, remarks in said.items() if path not in reading.unread}
            self._remember(whole, [keys[path] for path in files if path not in reading.unread])
        return Reading(
            tuple(remark for path in files for remark in known.get(path, said.get(path, ()))),
            reading.notes,
            reading.unread,
        )

    async def _shared_out(self, files: Mapping[str, str]) -> Reading:
        count = min(self.jobs, -(-len(files) // FILES_A_PROCESS))
        paths = list(files)
        parts = [{path: files[path] for path in paths[start::count]} for start in range(count)]
        readings = await together(self._read(part) for part in parts)
        return Reading(
            tuple(remark for reading in readings for remark in reading.remarks),
            tuple(note for reading in readings for note in reading.notes),
            frozenset(path for reading in readings for path in reading.unread),
        )

    def _remember(self, said: Mapping[str, tuple[Remark, ...]], used: Sequence[str]) -> None:
        self._remembered.update(said)
        for key in used:
            self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_FILES:
            self._remembered.popitem(last=False)

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """See `Engine.run`. The old side is read only of files in which the change may have brought something."""
        wanted = [file for file in diff.files if _is_read(file) and self.reads(file.path)]
        outside = [file for file in wanted if not is_inside(file.path)]
        wanted = [file for file in wanted if file not in outside]
        if wanted and (why := self.unavailable()) is not None:
            return EngineResult((), (why,), tuple(file.path for file in wanted))
        files = {file.path: change.files[file.path] for file in wanted if file.path in change.files}
        notes = tuple(
            f"{self.name} did not check {file.path!r}, which is no path inside a repository." for file in outside
        )
        missing = {file.path for file in wanted} - files.keys()
        notes += _unknown(self.name, missing)
        if not files:
            return EngineResult((), notes, tuple(sorted(missing)))
        around = self._around(change)
        texts = {**around, **files}
        new = await self.read(texts)
        changed = {file.path: file.changed_lines for file in wanted}
        before = {**around, **{path: change.before[path] for path in files if path in change.before}}
        maybe = candidates(new.remarks, changed, before)
        suspects = {remark.path for remark in maybe}
        old = await self.read(
            {path: text for path, text in before.items() if path in suspects or (suspects and self.together)}
        )
        brought = introduced(
            [remark for remark in new.remarks if remark.path in suspects], old.remarks, texts, before, changed
        )
        findings = place_on(self.name, brought, quoted(brought, texts, added_lines(diff.files)))
        placed = {(one.rule, one.path) for one in brought}
        rest = [remark for remark in new.remarks if (remark.rule, remark.path) not in placed]
        said = (*notes, *new.notes, *self.unplaced(rest))
        return EngineResult(tuple(findings), said, tuple(sorted(missing | (new.unread & files.keys()))))

    def _around(self, change: ChangeSet) -> dict[str, str]:
        """The files around the change, the same on both sides, where what is found in a file hangs on the others."""
        wanted = change.around.items() if self.together else ()
        return {path: text for path, text in wanted if self.reads(path) and is_inside(path)}


def _is_read(file: FileDiff) -> bool:
    plain = file.kind is not ChangeKind.DELETED and not file.binary and not file.submodule
    return plain and kind_of(file.path) not in (PathKind.VENDORED, PathKind.GENERATED) and bool(file.hunks)


def _unknown(engine: str, paths: set[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    missing = sorted(paths)
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return (f"{engine} needs whole files and did not check {shown}: only the diff is known.",)
