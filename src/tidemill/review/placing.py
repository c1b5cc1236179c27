"""Turns what an engine or a model says about a line into a `Finding` with a quote and a lasting fingerprint."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.analysis.secrets import mask
from tidemill.core.change import Diff, FileDiff
from tidemill.core.finding import Category, Finding, Severity, TraceStep
from tidemill.core.ids import digest
from tidemill.core.json import Json

_LONGEST_QUOTE = 500
"""Characters of a line that a finding quotes."""
_LITERAL = re.compile(r"""(["'`])([^"'`…])[^"'`…]{5,}\1""")
"""A text between quotation marks that is long enough to be a secret."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of a line, before it has a quote and a fingerprint. Fields as in `Finding`, and:

    Attributes:
        span: first and last line of the statement that `line` stands in; `line` alone where it is `None`.
        identity: what makes it the same remark wherever it is placed; the line's text where it is `None`.
    """

    rule: str
    path: str
    line: int
    severity: Severity
    title: str
    message: str
    details: Mapping[str, Json] = field(default_factory=dict)
    category: Category = Category.OTHER
    confidence: float = 0.5
    trace: tuple[TraceStep, ...] = ()
    span: tuple[int, int] | None = None
    identity: str | None = None


LineTexts = Mapping[str, Mapping[int, str]]
"""The text of lines, by path and number on the new side."""


def added_lines(files: Iterable[FileDiff]) -> LineTexts:
    """The lines that these files' hunks add."""
    return {
        file.path: {line.new: line.text for hunk in file.hunks for line in hunk.added if line.new is not None}
        for file in files
        if file.hunks
    }


def lines_of(text: str) -> list[str]:
    """The lines of a file as a diff counts them, without their ends."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def all_lines(files: Mapping[str, str]) -> LineTexts:
    """Every line of these files."""
    return {path: dict(enumerate(lines_of(text), 1)) for path, text in files.items()}


def even(text: str) -> str:
    """A line's text, with its spacing evened: what stays when code is moved or indented anew."""
    return " ".join(text.split())


def place(engine: str, remarks: Sequence[Remark], diff: Diff) -> list[Finding]:
    """A finding for each remark on a line that the diff adds, as `place_on` makes them; the others are left out."""
    return place_on(engine, remarks, added_lines(diff.files))


def place_on(engine: str, remarks: Sequence[Remark], texts: LineTexts) -> list[Finding]:
    """A finding for each remark on one of these lines, ordered by path and line; the others are left out.

    The fingerprint is made of the engine, the rule, the path, the line's text without its spacing, and which of
    several such findings in the file it is; not of the line's number, so it stays as the line moves. Credentials
    are masked in quotes, traces and messages.
    """
    found: list[Finding] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    distinct = {(remark.path, remark.line, remark.rule, remark.message): remark for remark in remarks}
    for _, remark in sorted(distinct.items(), key=lambda item: item[0]):
        text = texts.get(remark.path, {}).get(remark.line)
        if text is None:
            continue
        key = (remark.rule, remark.path, even(text) if remark.identity is None else remark.identity)
        found.append(
            Finding(
                engine=engine,
                rule=remark.rule,
                path=remark.path,
                line=remark.line,
                severity=remark.severity,
                title=remark.title,
                message=mask(remark.message),
                quote=_hidden(remark, text),
                fingerprint=digest(engine, *key, str(seen[key])),
                details=remark.details,
                category=remark.category,
                confidence=remark.confidence,
                trace=tuple(
                    TraceStep(step.role, step.path, step.line, _hidden(remark, step.code)) for step in remark.trace
                ),
            )
        )
        seen[key] += 1
    return found


def _hidden(remark: Remark, text: str) -> str:
    """A line as it may be shown: without its credentials, and without its literals where one of them is the secret."""
    shown = mask(text)
    if remark.category is Category.HARDCODED_SECRET:
        shown = _LITERAL.sub(lambda match: f"{match[1]}{match[2]}…{match[1]}", shown)
    return shown[:_LONGEST_QUOTE]
