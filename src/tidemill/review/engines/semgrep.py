"""Semgrep's native engine with Tidemill's own rules: data that flows from a request to where it does harm, and more.

The program is called by itself: its Python command line is not used, nothing is fetched, sent or asked of a network,
and no setting of a repository or a user is read. It is LGPL-2.1 and runs as a process of its own.

Its interface: `semgrep-core -rules FILE -targets FILE -json_nodots`; the shapes are those of
https://github.com/semgrep/semgrep-interfaces (Input_to_core, Semgrep_output_v1).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.syntax import Language, language_of
from tidemill.core.finding import Category, Severity, TraceStep
from tidemill.core.ids import digest
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import EngineFailed, Reading
from tidemill.review.engines.process import Program, Workplace, origin, rows, run_on_copies
from tidemill.review.placing import Remark, lines_of
from tidemill.review.rules.catalog import Rule, copy_stem, rules_of, rules_text

INSTALL = "pip install --no-deps semgrep==1.185.0"
RULE_SECONDS = 5.0
"""One rule on one file; past that it is left out, and said so."""
FILE_TIMEOUTS = 3
"""Rules that may take too long on a file before the rest of the rules is left out for it."""
MEMORY = 2_000
"""MiB of the program's own heap."""
ADDRESSES = 4 * 2**30
"""Bytes of address space of each of its processes; the system refuses more."""
_LONGEST_TRACE = 12
_NAMES = {Language.TSX: "typescript"}


def semgrep_core() -> Path | None:
    """The native program in the installed wheel; `None` where it is not there."""
    try:
        path = Path(str(metadata.distribution("semgrep").locate_file("semgrep/bin/semgrep-core")))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


class SemgrepEngine(FileEngine):
    """Tidemill's rules for Python, JavaScript, TypeScript, Java and Go.

    Args:
        timeout: seconds for all files together.
        folder: where the private copies of the files are made and removed again; the system's own if `None`.
        program: the native program; that of the installed wheel if `None`.
        jobs: processes that it may use.
    """

    name = "semgrep"

    def __init__(
        self, *, timeout: float = 300.0, folder: Path | None = None, program: Path | None = None, jobs: int = 2
    ) -> None:
        super().__init__()
        self._core = program or semgrep_core()
        self._timeout, self._folder, self._jobs = timeout, folder, jobs
        installed = metadata.version("semgrep") if self._core else "missing"
        self.version = f"{installed}+{digest(*(rules_text(language) for language in Language))[:8]}"

    def reads(self, path: str) -> bool:
        """Files of the languages that there are rules for."""
        return language_of(path) is not None

    def unavailable(self) -> str | None:
        """The command that installs the program, where it is not there."""
        if self._core is not None:
            return None
        return f"semgrep is not installed, so data flow was not followed. Install it: `{INSTALL}`."

    async def _read(self, files: Mapping[str, str]) -> Reading:
        core = self._core
        if core is None:
            raise EngineFailed(str(self.unavailable()))
        paths = list(files)
        languages = {path: language for path in paths if (language := language_of(path)) is not None}
        names = {
            path: copy_stem(files[path], language) + PurePosixPath(path).suffix.lower()
            for path, language in languages.items()
        }
        rules = rules_of(frozenset(languages.values()))

        def command(place: Workplace) -> Sequence[str]:
            targets = [
                _target(place.files / str(number) / names[path], languages[path]) for number, path in enumerate(paths)
            ]
            (place.scratch / "rules.json").write_text(
                json.dumps({"rules": [rule.definition for rule in rules.values()]})
            )
            (place.scratch / "targets.json").write_text(json.dumps(["Targets", targets]))
            return (
                *(str(core), "-rules", str(place.scratch / "rules.json")),
                *("-targets", str(place.scratch / "targets.json"), "-json_nodots", "-fast"),
                *("-j", str(min(self._jobs, len(paths))), "-max_memory", str(MEMORY)),
                *("-timeout", str(RULE_SECONDS), "-timeout_threshold", str(FILE_TIMEOUTS)),
            )

        program = Program(self.name, command, self._timeout, self._folder, (0,), ADDRESSES, names)
        report = await run_on_copies(program, files)
        texts = {path: lines_of(text) for path, text in files.items()}
        remarks = [
            _remark(row, rules, path, texts)
            for row in rows(self.name, report, key="results")
            if not row["extra"].get("is_ignored")
            for path in [origin(row["path"], paths)]
        ]
        errors = rows(self.name, report, key="errors")
        unread = {path for error in errors for path in _places(error, paths) or paths}
        return Reading(tuple(_distinct(remarks)), tuple(_notes(errors, paths)), frozenset(unread))


def _target(path: Path, language: Language) -> list[Any]:
    name = _NAMES.get(language, language.value)
    place = {"fpath": str(path), "ppath": f"/{path.name}"}
    return ["CodeTarget", {"path": place, "analyzer": name, "products": ["sast"]}]


def _remark(row: Mapping[str, Any], rules: Mapping[str, Rule], path: str, texts: Mapping[str, Sequence[str]]) -> Remark:
    rule = rules[row["check_id"]]
    trace = tuple(_trace(row["extra"].get("dataflow_trace"), path, texts[path]))
    return Remark(
        rule=rule.id,
        path=path,
        line=int(row["start"]["line"]),
        severity=Severity.LOW if kind_of(path) is PathKind.TEST else rule.severity,
        title=rule.title,
        message=rule.message,
        details={"cwe": rule.cwe},
        category=rule.category,
        confidence=rule.confidence,
        trace=trace,
        span=(int(row["start"]["line"]), int(row["end"]["line"])),
    )


def _trace(trace: Mapping[str, Any] | None, path: str, lines: Sequence[str]) -> Iterator[TraceStep]:
    """Source, the variables between, sink: each line once in a row."""
    if trace is None:
        return
    places = [("source", _line(trace["taint_source"]))]
    places += [("step", one["location"]["start"]["line"]) for one in trace.get("intermediate_vars") or ()]
    sink = _line(trace["taint_sink"])
    seen = {places[0][1], sink}
    steps = []
    for role, line in places[1:]:
        if line not in seen:
            seen.add(line)
            steps.append((role, line))
    for role, line in (places[0], *steps[: _LONGEST_TRACE - 2], ("sink", sink)):
        yield TraceStep(role, path, line, lines[line - 1].strip() if line <= len(lines) else "")


def _line(call: Any) -> int:
    """Of a `CliLoc`, or of the call that a `CliCall` says goes on to one."""
    return int(call[1][0]["start"]["line"]) if call[0] == "CliLoc" else int(call[1][0][0]["start"]["line"])


def _distinct(remarks: Sequence[Remark]) -> list[Remark]:
    """One remark for a kind of defect and a line, rather one with a trace: two arguments of a call are one defect."""
    found: dict[tuple[str, int, Category], Remark] = {}
    for remark in remarks:
        key = (remark.path, remark.line, remark.category)
        if key not in found or _weight(remark) > _weight(found[key]):
            found[key] = remark
    return list(found.values())


def _weight(remark: Remark) -> tuple[bool, int]:
    return bool(remark.trace), remark.severity.rank


def _places(error: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """The file that an error is about, where it names one."""
    place = (error.get("location") or {}).get("path")
    return [origin(place, paths)] if place and Path(place).parent.name.isdigit() else []


def _notes(errors: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> Iterator[str]:
    """What was not read, or not whole. A file that does not parse is ruff's or the compiler's to tell."""
    for error in errors:
        kind = error.get("error_type")
        kind = str(kind[0] if isinstance(kind, list) else kind)
        where = next(iter(_places(error, paths)), "a file")
        if kind in ("Syntax error", "Lexical error", "PartialParsing", "Other syntax error", "AST builder error"):
            continue
        if kind in ("RuleParseError", "PatternParseError", "InvalidYaml", "Rule parse error", "Pattern parse error"):
            raise EngineFailed(f"semgrep can't read one of Tidemill's rules: {error.get('message')}")
        rule = f" with the rule {error['rule_id']}" if error.get("rule_id") else ""
        yield f"semgrep did not finish {where}{rule}: {kind}."
