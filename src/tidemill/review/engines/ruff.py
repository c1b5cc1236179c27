"""ruff: bugs in Python files, not style."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tidemill.core.finding import Category, Severity
from tidemill.core.json import Json
from tidemill.review import rules
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import Reading
from tidemill.review.engines.process import Program, Workplace, origin, python_module, rows, run_on_copies
from tidemill.review.placing import Remark

PYTHON = (".py", ".pyi")


class RuffEngine(FileEngine):
    """Rules of ruff that find bugs, not style. A file that does not parse is a finding, not a failure.

    Args:
        timeout: seconds.
        folder: where the private copies of the files are made and removed again; the system's own if `None`.
    """

    name = "ruff"

    def __init__(self, *, timeout: float = 60.0, folder: Path | None = None) -> None:
        super().__init__()
        self.version = version(self.name)
        self._program = Program(self.name, self._command, timeout, folder)

    def reads(self, path: str) -> bool:
        """Python files."""
        return path.endswith(PYTHON)

    def unplaced(self, remarks: Sequence[Remark]) -> tuple[str, ...]:
        """A note on each file that was broken before the change."""
        broken = sorted((one.path, one.line) for one in remarks if one.rule == "invalid-syntax")
        return tuple(
            f"{path} does not parse (line {line}, which this change does not touch): ruff checked it in part."
            for path, line in broken
        )

    def _command(self, place: Workplace) -> Sequence[str]:
        return (
            *python_module("ruff", "check", "--isolated", "--no-cache", "--no-respect-gitignore"),
            *("--output-format=json", "--target-version=py314", f"--select={','.join(rules.RUFF)}"),
            f"../{place.files.name}",
        )

    async def _read(self, files: Mapping[str, str]) -> Reading:
        paths, remarks, broken = list(files), list[Remark](), set[str]()
        for row in rows(self.name, await run_on_copies(self._program, files)):
            path, line = origin(row["filename"], paths), int(row["location"]["row"])
            code = row["code"] or "invalid-syntax"
            if code == "invalid-syntax":
                if path in broken:
                    continue
                broken.add(path)
            if code == "F401" and path.endswith("__init__.py"):
                continue
            remarks.append(_remark(row, code, path, line))
        return Reading(tuple(remarks), unread=frozenset(broken))


def _remark(row: Mapping[str, Any], code: str, path: str, line: int) -> Remark:
    name = str(row.get("name") or code)
    severity = rules.ruff_severity(code)
    return Remark(
        rule=code,
        path=path,
        line=line,
        severity=severity,
        title="Syntax error" if code == "invalid-syntax" else name.replace("-", " ").capitalize(),
        message=str(row["message"]).rstrip(".") + ".",
        details={**({"url": row["url"]} if row.get("url") else {}), **_fix(row)},
        category=Category.MAINTAINABILITY if severity is Severity.INFO else Category.CORRECTNESS,
        confidence=0.9,
    )


def _fix(row: Mapping[str, Any]) -> Mapping[str, Json]:
    """ruff's own edits, where it says that they change nothing else."""
    fix = row.get("fix") or {}
    return {"fix": fix["edits"]} if fix.get("applicability") == "safe" else {}
