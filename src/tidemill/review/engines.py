"""The port to static engines, and its adapters: ruff, bandit, the secret scanner, and a scripted one.

Engines read text; none of them runs the code under review.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from tidemill.analysis.paths import PathKind, kind_of
from tidemill.analysis.secrets import find_secrets
from tidemill.core.change import ChangeKind, ChangeSet, Diff, FileDiff
from tidemill.core.errors import InvalidInput, TidemillError
from tidemill.core.finding import Finding, Severity
from tidemill.review import rules
from tidemill.review.placing import Remark, added_lines, place

_KEPT_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "LANG", "LD_LIBRARY_PATH")
_PYTHON = re.compile(r"\.pyi?$")
_LONGEST_NAME = 100


class EngineFailed(TidemillError):
    """A static engine ended in a way that it should not, or said something that can't be read."""

    code = "engine_failed"


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What an engine found on the lines that a change adds, and what a person should know of how it went."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Reads a change and finds defects on the lines that it adds."""

    @property
    def name(self) -> str:
        """A word, the `engine` of its findings."""
        ...

    @property
    def version(self) -> str:
        """Of the program or the rules: two runs with the same one find the same."""
        ...

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """Findings on added lines, by path and line. The same change gives the same result.

        Raises:
            EngineFailed: the engine's program failed or took too long.
            InvalidInput: a path of the change is absolute or climbs out of its folder.
        """
        ...


class ScriptedEngine:
    """An engine that returns what it was given: for tests, and for findings that come from elsewhere."""

    def __init__(self, result: EngineResult, *, name: str = "scripted", version: str = "1") -> None:
        self.name = name
        self.version = version
        self._result = result

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """The result that it was given, whatever the change."""
        return self._result


class SecretsEngine:
    """Credentials on added lines of every text file. Needs the diff alone."""

    name = "secrets"
    version = rules.SECRETS_VERSION

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """See `Engine.run`; never fails."""
        return EngineResult(tuple(await asyncio.to_thread(self._findings, diff)))

    def _findings(self, diff: Diff) -> list[Finding]:
        remarks = [
            Remark(
                rule=match.rule,
                path=path,
                line=number,
                severity=_in_context(match.rule, match.severity, path),
                title=f"Line holds {match.title}",
                message=f"This line adds {match.title}. Take it out of the code, and replace it where it is in use: "
                "what was committed once must be taken as known.",
            )
            for path, lines in added_lines(diff.files).items()
            for number, text in lines.items()
            for match in find_secrets(text)
        ]
        return place(self.name, remarks, diff)


def _in_context(rule: str, severity: Severity, path: str) -> Severity:
    """What only looks like a credential matters little in tests and documents; a vendor's form matters anywhere."""
    guessed = rule in ("password-literal", "credential-literal", "password-in-url")
    return Severity.LOW if guessed and kind_of(path) in (PathKind.TEST, PathKind.DOCUMENT) else severity


class _PythonEngine:
    """A static engine that is a Python package, run as a program.

    Args:
        timeout: seconds.
        folder: where the private copies of the files are made and removed again; the system's own if `None`. What
            a killed process leaves there is the owner's to remove.
    """

    name: str

    def __init__(self, *, timeout: float = 60.0, folder: Path | None = None) -> None:
        self.version = version(self.name)
        self._timeout = timeout
        self._folder = folder


class RuffEngine(_PythonEngine):
    """Rules of ruff that find bugs, not style, in the Python files of a change. Arguments as of `_PythonEngine`."""

    name = "ruff"

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """See `Engine.run`. A file that does not parse is a finding, not a failure."""
        files, notes = python_files(self.name, change, diff)
        if not files:
            return EngineResult((), notes)
        command = ["ruff", "check", "--isolated", "--no-cache", "--no-respect-gitignore", "--output-format=json"]
        command += ["--target-version=py314", f"--select={','.join(rules.RUFF)}"]
        results = _rows(self.name, await _run_python(self.name, command, files, self._timeout, self._folder))
        remarks, broken = [], dict[str, int]()
        for row in results:
            path, line = _origin(row["filename"], files), row["location"]["row"]
            code = row["code"] or "invalid-syntax"
            if code == "invalid-syntax":
                if path in broken:
                    continue
                broken[path] = line
            if code == "F401" and path.endswith("__init__.py"):
                continue
            remarks.append(_ruff_remark(row, code, path, line))
        findings = place(self.name, remarks, diff)
        placed = {finding.path for finding in findings if finding.rule == "invalid-syntax"}
        unread = [
            f"{path} does not parse (line {line}, which this change does not touch): ruff checked it in part."
            for path, line in sorted(broken.items())
            if path not in placed
        ]
        return EngineResult(tuple(findings), (*notes, *unread))


def _ruff_remark(row: Mapping[str, Any], code: str, path: str, line: int) -> Remark:
    name = str(row.get("name") or code)
    details = {"url": row["url"]} if row.get("url") else {}
    title = "Syntax error" if code == "invalid-syntax" else name.replace("-", " ").capitalize()
    message = str(row["message"]).rstrip(".") + "."
    return Remark(code, path, line, rules.ruff_severity(code), title, message, details)


class BanditEngine(_PythonEngine):
    """Rules of bandit, for security defects, in the Python files of a change. Arguments as of `_PythonEngine`."""

    name = "bandit"

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        """See `Engine.run`. A file that does not parse is left to ruff."""
        files, notes = python_files(self.name, change, diff)
        if not files:
            return EngineResult((), notes)
        command = ["bandit", "--format=json", "--quiet", f"--skip={','.join(rules.BANDIT_SKIPPED)}", "--recursive"]
        report = await _run_python(self.name, command, files, self._timeout, self._folder)
        changed = {file.path: file.changed_lines for file in diff.files}
        remarks = [
            _bandit_remark(row, path, changed[path])
            for row in _rows(self.name, report, key="results")
            for path in [_origin(row["filename"], files)]
        ]
        return EngineResult(tuple(place(self.name, remarks, diff)), notes)


def _bandit_remark(row: Mapping[str, Any], path: str, changed: frozenset[int]) -> Remark:
    """On the first changed line of the statement: an argument that was added may stand lines below its call."""
    touched = sorted(changed.intersection(row.get("line_range") or []))
    line = row["line_number"] if row["line_number"] in changed or not touched else touched[0]
    rule = str(row["test_id"])
    details = {"url": row.get("more_info"), "confidence": str(row["issue_confidence"]).lower()}
    if cwe := (row.get("issue_cwe") or {}).get("id"):
        details["cwe"] = cwe
    title = str(row["test_name"]).replace("_", " ").capitalize()
    return Remark(
        rule,
        path,
        line,
        rules.bandit_severity(rule, str(row["issue_severity"]), kind_of(path)),
        rules.BANDIT_TITLES.get(rule, title),
        str(row["issue_text"]),
        details,
    )


# ---------------------------------------------------------------------- files and processes


def python_files(engine: str, change: ChangeSet, diff: Diff) -> tuple[dict[str, str], tuple[str, ...]]:
    """The whole new text of each Python file to which the diff adds lines, and a note on those it is not known of.

    Raises:
        InvalidInput: a path is absolute, climbs out of its folder, or can't be a path.
    """
    wanted = [file for file in diff.files if _is_python(file)]
    for file in wanted:
        check_path(file.path)
    files = {file.path: change.files[file.path] for file in wanted if file.path in change.files}
    missing = sorted({file.path for file in wanted} - files.keys())
    if not missing:
        return files, ()
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return files, (f"{engine} needs whole files and did not check {shown}: only the diff is known.",)


def _is_python(file: FileDiff) -> bool:
    plain = file.kind is not ChangeKind.DELETED and not file.binary and not file.submodule
    skipped = kind_of(file.path) in (PathKind.VENDORED, PathKind.GENERATED)
    return plain and not skipped and bool(file.changed_lines) and _PYTHON.search(file.path) is not None


def check_path(path: str) -> None:
    """Refuses a path that could lead out of the folder that it is relative to.

    Raises:
        InvalidInput: it is empty, absolute, has a drive or a NUL, or a component `..`.
    """
    parts = path.replace("\\", "/").split("/")
    if not path or "\0" in path or parts[0] == "" or re.fullmatch("[A-Za-z]:", parts[0]) or ".." in parts:
        raise InvalidInput(f"The diff names the file {path!r}, which is no path inside a repository.", param="diff")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Each file under its own numbered folder, so that no path of the change decides where anything is written."""
    for number, (path, text) in enumerate(files.items()):
        name = PurePosixPath(path).name
        place = folder / str(number)
        place.mkdir()
        (place / (name if len(name.encode()) <= _LONGEST_NAME else "module.py")).write_bytes(
            text.encode("utf-8", "replace")
        )


def _origin(filename: str, files: Mapping[str, str]) -> str:
    """The change's path of a file that `_write` wrote."""
    return list(files)[int(Path(filename).parent.name)]


async def _run_python(
    engine: str, command: Sequence[str], files: Mapping[str, str], seconds: float, parent: Path | None
) -> Any:
    """Runs a module of this Python on a private copy of the files, and reads the JSON that it writes.

    It starts in an empty folder and without the current folder on its path, so no reviewed file can stand in for
    a module. The files are named from there, because bandit passes over all whose path has `.git` or the like in it.

    Raises:
        EngineFailed: an exit code other than 0 and 1, no JSON, or no end in time.
    """
    with tempfile.TemporaryDirectory(prefix="tidemill-review-", dir=parent) as name:
        folder, empty = Path(name, "files"), Path(name, "empty")
        for place in (folder, empty):
            place.mkdir(mode=0o700)
        await asyncio.to_thread(_write, folder, files)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", *command, f"../{folder.name}"),
            cwd=empty,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
        )
        try:
            async with asyncio.timeout(seconds):
                output, errors = await process.communicate()
        except TimeoutError:
            raise EngineFailed(f"{engine} did not end within {seconds:g} s on {len(files)} files.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode not in (0, 1):
        said = errors.decode("utf-8", "replace").strip()[-500:] or "it said nothing"
        raise EngineFailed(f"{engine} failed with exit code {process.returncode}: {said}")
    try:
        return json.loads(output)
    except ValueError:
        said = (errors or output).decode("utf-8", "replace").strip()[-500:] or "it said nothing"
        raise EngineFailed(f"{engine} did not write the JSON that it should have: {said}") from None


def _rows(engine: str, report: Any, *, key: str | None = None) -> list[Mapping[str, Any]]:
    rows = report.get(key) if key and isinstance(report, dict) else report
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise EngineFailed(f"{engine} wrote JSON of a shape that this version of Tidemill does not know.")
    return rows
