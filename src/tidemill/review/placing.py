"""Turns what an engine or a model says about a line into a `Finding` with a quote and a lasting fingerprint."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.secrets import mask
from tidemill.core.change import Diff, FileDiff
from tidemill.core.finding import Finding, Severity
from tidemill.core.ids import digest
from tidemill.core.json import Json

_LONGEST_QUOTE = 500
"""Characters of a line that a finding quotes."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of a line, before it has a quote and a fingerprint. Fields as in `Finding`."""

    rule: str
    path: str
    line: int
    severity: Severity
    title: str
    message: str
    details: Mapping[str, Json] = field(default_factory=dict)


AddedLines = Mapping[str, Mapping[int, str]]
"""The text of every line that a change adds, by path and number on the new side."""


def added_lines(files: Iterable[FileDiff]) -> AddedLines:
    """The lines that these files' hunks add."""
    return {
        file.path: {line.new: line.text for hunk in file.hunks for line in hunk.added if line.new is not None}
        for file in files
        if file.hunks
    }


def place(engine: str, remarks: Sequence[Remark], diff: Diff) -> list[Finding]:
    """A finding for each remark on a line that the diff adds, ordered by path and line; the others are left out.

    The fingerprint is made of the engine, the rule, the path, the line's text without its spacing, and which of
    several such findings in the file it is; not of the line's number, so it stays as the line moves. Credentials
    are masked in quotes and messages.
    """
    texts = added_lines(diff.files)
    found: list[Finding] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    distinct = {(remark.path, remark.line, remark.rule, remark.message): remark for remark in remarks}
    for _, remark in sorted(distinct.items(), key=lambda item: item[0]):
        text = texts.get(remark.path, {}).get(remark.line)
        if text is None:
            continue
        key = (remark.rule, remark.path, " ".join(text.split()))
        found.append(
            Finding(
                engine=engine,
                rule=remark.rule,
                path=remark.path,
                line=remark.line,
                severity=remark.severity,
                title=remark.title,
                message=mask(remark.message),
                quote=mask(text)[:_LONGEST_QUOTE],
                fingerprint=digest(engine, *key, str(seen[key])),
                details=remark.details,
            )
        )
        seen[key] += 1
    return found
