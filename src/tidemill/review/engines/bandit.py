"""bandit: security defects in Python files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from tidemill.analysis.paths import kind_of
from tidemill.review import rules
from tidemill.review.engines.files import FileEngine
from tidemill.review.engines.port import Reading
from tidemill.review.engines.process import Program, Workplace, origin, python_module, rows, run_on_copies
from tidemill.review.engines.ruff import PYTHON
from tidemill.review.placing import Remark, lines_of

_NAMES = re.compile(r"(?i)\b(?:etag|cache_key)\b[\"'\]]{0,2}\s*=[^=]|set_etag\(")
_CONFIDENCE = {"high": 0.9, "medium": 0.6, "low": 0.3}


class BanditEngine(FileEngine):
    """Rules of bandit. A file that does not parse is left to ruff.

    Args:
        timeout: seconds.
        folder: where the private copies of the files are made and removed again; the system's own if `None`.
        jobs: processes among which many files are shared out.
    """

    name = "bandit"

    def __init__(self, *, timeout: float = 300.0, folder: Path | None = None, jobs: int = 2) -> None:
        super().__init__()
        self.jobs = jobs
        self.version = version(self.name)
        self._program = Program(self.name, self._command, timeout, folder)

    def reads(self, path: str) -> bool:
        """Python files."""
        return path.endswith(PYTHON)

    def _command(self, place: Workplace) -> Sequence[str]:
        """The files are named from the empty folder: bandit passes over all whose path has `.git` or the like in it."""
        return (
            *python_module("bandit", "--format=json", "--quiet", f"--skip={','.join(rules.BANDIT_SKIPPED)}"),
            *("--recursive", f"../{place.files.name}"),
        )

    async def _read(self, files: Mapping[str, str]) -> Reading:
        paths = list(files)
        names = {path: f"module{PurePosixPath(path).suffix}" for path in paths}  # it passes over `app.git.py` by itself
        report = await run_on_copies(replace(self._program, names=names), files)
        found = rows(self.name, report, key="results")
        failed = rows(self.name, report, key="errors")
        remarks = [_remark(row, origin(row["filename"], paths)) for row in found]
        return Reading(
            tuple(one for one in remarks if not _guards_nothing(one, lines_of(files[one.path]))),
            tuple(_notes(failed, paths)),
            unread=frozenset(origin(row["filename"], paths) for row in failed),
        )


def _notes(errors: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> Iterator[str]:
    """The files that it failed at. One that does not parse is ruff's to tell."""
    for row in errors:
        if not str(row["reason"]).startswith("syntax error"):
            yield f"bandit did not read {origin(row['filename'], paths)}: {row['reason']}."


def _guards_nothing(remark: Remark, lines: Sequence[str]) -> bool:
    """Whether it is a weak hash for an ETag or a name in a cache."""
    return remark.rule == "B324" and _NAMES.search(lines[remark.line - 1]) is not None


def _remark(row: Mapping[str, Any], path: str) -> Remark:
    rule, confidence = str(row["test_id"]), str(row["issue_confidence"]).lower()
    lines = [int(row["line_number"]), *(row.get("line_range") or [])]
    details = {"url": row.get("more_info"), "confidence": confidence}
    if cwe := (row.get("issue_cwe") or {}).get("id"):
        details["cwe"] = cwe
    return Remark(
        rule=rule,
        path=path,
        line=int(row["line_number"]),
        severity=rules.bandit_severity(rule, str(row["issue_severity"]), kind_of(path)),
        title=rules.BANDIT_TITLES.get(rule, str(row["test_name"]).replace("_", " ").capitalize()),
        message=str(row["issue_text"]),
        details=details,
        category=rules.bandit_category(rule),
        confidence=_CONFIDENCE.get(confidence, 0.5),
        span=(min(lines), max(lines)),
    )
