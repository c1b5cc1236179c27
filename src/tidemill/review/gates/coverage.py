"""Which changed lines tests ran, from a report in Cobertura's XML or in LCOV's form.

Cobertura: https://github.com/cobertura/web/blob/master/htdocs/xml/coverage-04.dtd
LCOV: https://github.com/linux-test-project/lcov/blob/master/man/geninfo.1 (FILES)
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.parsers import expat

from tidemill.core.change import Diff
from tidemill.core.errors import InvalidInput
from tidemill.core.gate import Gate, GateName, GatePlace, GateState
from tidemill.review.gates.code import code_files, ranges, with_places

MAX_BYTES = 200_000_000
_MOST_LINES = 5_000_000


@dataclass(frozen=True, slots=True)
class CoveredFile:
    """What a report knows of one file.

    Attributes:
        name: as the report has it, with `/`.
        full: the same after each folder that the report gives for its sources.
        hits: how often each line was run, by its 1-based number; only lines that can run.
    """

    name: str
    full: tuple[str, ...]
    hits: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """A report, whatever its form was."""

    files: tuple[CoveredFile, ...]

    def hits_of(self, paths: tuple[str, ...]) -> dict[str, Mapping[int, int]]:
        """The lines of those of these files that the report has, by the repository's path.

        A report's name is the file's where one of them ends in the other, whole names compared. One that ends in the
        repository's path is sure. One that is only the end of it counts where the sources' folders don't speak
        against it, and no second file of these ends in it.
        """
        found: dict[str, dict[int, int]] = {}
        claimed = set[str]()
        ends = _by_last(self.files)
        for path in paths:
            for name, file in ends.get(_last(path), ()):
                if _ends_in(name, path):
                    _add(found.setdefault(path, {}), file.hits)
                    claimed.add(file.name)
        named: dict[str, list[str]] = {}
        for path in paths:
            if path not in found:
                named.setdefault(_last(path), []).append(path)
        for file in sorted(self.files, key=lambda one: -one.name.count("/")):
            if file.name not in claimed:
                near = named.get(_last(file.name), ())
                fitting = [path for path in near if path not in found and _may_be(file, path)]
                if len(fitting) == 1:
                    _add(found.setdefault(fitting[0], {}), file.hits)
        return dict(found)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _by_last(files: tuple[CoveredFile, ...]) -> dict[str, list[tuple[str, CoveredFile]]]:
    """Each name of each file, by the name's last part, so that few are compared with a path."""
    found: dict[str, list[tuple[str, CoveredFile]]] = {}
    for file in files:
        for name in {file.name, *file.full}:
            found.setdefault(_last(name), []).append((name, file))
    return found


def read_report(data: bytes) -> CoverageReport:
    """Reads a report.

    Raises:
        InvalidInput: it has neither form, is broken, or too large.
    """
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"The coverage report has {len(data):,} bytes; at most {MAX_BYTES:,} are read.")
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        return _Cobertura().read(data)
    if head.startswith(b"mode:"):
        raise InvalidInput("This is Go's own coverage profile. Convert it first, such as with `gocover-cobertura`.")
    return _lcov(data.decode("utf-8", "replace"))


class _Cobertura:
    """Reads the XML as a stream. An entity that the document declares itself ends it: it could grow without end."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity
        self._depth = 0
        self._class: str | None = None
        self._source: list[str] | None = None
        self._sources: list[str] = []
        self._hits: dict[str, dict[int, int]] = {}
        self._lines = 0

    def read(self, data: bytes) -> CoverageReport:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise InvalidInput(f"The coverage report is not XML: {error}.") from None
        return CoverageReport(tuple(_covered(name, self._sources, hits) for name, hits in self._hits.items()))

    def _entity(self, *_: object) -> None:
        raise InvalidInput("The coverage report declares entities of its own, which are not read.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and name != "coverage":
            hint = " JaCoCo's form is not read: have it written as Cobertura's." if name == "report" else ""
            raise InvalidInput(
                f"The coverage report's first element is <{name[:40]}>, not Cobertura's <coverage>.{hint}"
            )
        self._depth += 1
        if name == "class":
            self._class = attributes.get("filename")
        elif name == "source":
            self._source = []
        elif name == "line" and self._class is not None:
            self._line(attributes)

    def _line(self, attributes: dict[str, str]) -> None:
        number, hits = attributes.get("number", ""), attributes.get("hits", "")
        if not (number.isascii() and number.isdigit() and hits.isascii() and hits.isdigit()):
            raise InvalidInput(f"The coverage report has a line without a number or hits (number={number[:20]!r}).")
        self._lines += 1
        if self._lines > _MOST_LINES:
            raise InvalidInput(f"The coverage report has more than {_MOST_LINES:,} lines.")
        assert self._class is not None  # noqa: S101 - asked for by `_start`
        lines = self._hits.setdefault(self._class, {})
        at = int(number[:9])
        lines[at] = max(lines.get(at, 0), int(hits[:9]))

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "class":
            self._class = None
        elif name == "source" and self._source is not None:
            if folder := "".join(self._source).strip():
                self._sources.append(folder)
            self._source = None

    def _text(self, text: str) -> None:
        if self._source is not None:
            self._source.append(text)


def _lcov(text: str) -> CoverageReport:
    files: dict[str, dict[int, int]] = {}
    current: dict[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = line.strip().partition(":")
        if key == "SF":
            current = files.setdefault(value.strip(), {})
        elif key == "DA":
            at, _, rest = value.partition(",")
            hits = rest.partition(",")[0].strip()
            if current is None or not at.strip().isdigit() or not hits.removeprefix("-").isdigit():
                raise InvalidInput(f"Line {number} of the coverage report is not LCOV's form: {line[:60]!r}.")
            current[int(at)] = max(current.get(int(at), 0), int(hits))
        elif key == "end_of_record":
            current = None
    if not files:
        raise InvalidInput("The coverage report is neither Cobertura's XML nor LCOV's form: it has no line `SF:`.")
    return CoverageReport(tuple(_covered(name, [], hits) for name, hits in files.items()))


def _covered(name: str, sources: list[str], hits: Mapping[int, int]) -> CoveredFile:
    plain = posixpath.normpath(name.replace("\\", "/"))
    full = tuple(posixpath.normpath(f"{source}/{name}".replace("\\", "/")) for source in sources)
    return CoveredFile(plain, full, hits)


def _add(into: dict[int, int], hits: Mapping[int, int]) -> None:
    for line, count in hits.items():
        into[line] = max(into.get(line, 0), count)


def _ends_in(name: str, path: str) -> bool:
    return name == path or name.endswith(f"/{path}")


def _may_be(file: CoveredFile, path: str) -> bool:
    """The path ends in the report's name. With folders of sources, a lone name counts only where one agrees."""
    if file.name.startswith("/") or not _ends_in(path, file.name):
        return False
    if not file.full or "/" in file.name:
        return True
    return any(_agree(full, path) for full in file.full)


def _agree(full: str, path: str) -> bool:
    """No part of the shorter one, from the end, is another than that of the longer one."""
    pairs = zip(reversed(PurePosixPath(full).parts), reversed(PurePosixPath(path).parts), strict=False)
    return all(one == other for one, other in pairs if one != "/")


def judge_coverage(diff: Diff, report: CoverageReport | str, least: float, *, required: bool) -> Gate:
    """Of the lines of code that the change adds and that can run, the share that tests ran.

    Args:
        diff: what the change adds.
        report: or why there is none.
        least: percent.
        required: whether the gate fails where it can't be measured.
    """
    threshold = f"≥ {least:g} %"
    name = GateName.COVERAGE
    added = {file.path: file.changed_lines for file in code_files(diff) if file.changed_lines}
    if not added:
        return Gate(name, GateState.PASSED, threshold, "no code added", required=required)
    if isinstance(report, str):
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=report, required=required)
    known = report.hits_of(tuple(added))
    runs = {path: {line: hits[line] for line in added[path] if line in hits} for path, hits in known.items()}
    total = sum(len(lines) for lines in runs.values())
    unknown = sorted(added.keys() - known.keys())
    left_out = f"not in the report: {_names(unknown)}" if unknown else ""
    if not total:
        if not unknown:
            return Gate(name, GateState.PASSED, threshold, "no added line can run", required=required)
        return Gate(name, GateState.NOT_MEASURED, threshold, reason=left_out, required=required)
    ran = sum(count > 0 for lines in runs.values() for count in lines.values())
    share = 100 * ran / total
    places = [
        GatePlace(path, first, f"lines {first}–{last} are run by no test" if last > first else "run by no test")
        for path in sorted(runs)
        for first, last in ranges([line for line, count in runs[path].items() if count == 0])
    ]
    state = GateState.PASSED if share >= least else GateState.FAILED
    measured = f"{_floor(share, least)} ({ran} of {total} lines)"
    return with_places(Gate(name, state, threshold, measured, left_out, required=required), places, _same)


def _floor(share: float, least: float) -> str:
    """One digit after the point, never rounded up to the threshold that it misses."""
    shown = round(share, 1)
    return f"{share:.3f} %" if share < least <= shown else f"{shown:g} %"


def _names(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _same(place: GatePlace) -> GatePlace:
    return place
