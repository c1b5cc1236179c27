"""What of an engine's remarks a change brought: those of the new side without those that the old side had."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tidemill.core.finding import Severity
from tidemill.review.placing import LineTexts, Remark, even, lines_of

Changed = Mapping[str, Collection[int]]
"""The lines that a change adds, by path."""


def touched(remark: Remark, changed: Changed) -> tuple[str, int] | None:
    """The changed line on which a remark belongs: its own, another of its statement, or the last of its trace."""
    lines = changed.get(remark.path, ())
    start, end = remark.span or (remark.line, remark.line)
    for line in (remark.line, *range(start, end + 1)):
        if line in lines:
            return remark.path, line
    for step in reversed(remark.trace):
        if step.line in changed.get(step.path, ()):
            return step.path, step.line
    return None


def candidates(remarks: Sequence[Remark], changed: Changed, known: Collection[str]) -> list[Remark]:
    """The remarks that the change may have brought.

    Args:
        remarks: of the new side.
        changed: the lines that the change adds.
        known: the files whose old side is known. In these a severe remark away from all changed lines counts too: the
            change may have taken away what the line needs.
    """
    return [
        remark
        for remark in remarks
        if touched(remark, changed) or (remark.path in known and remark.severity.rank >= Severity.HIGH.rank)
    ]


def introduced(
    new: Sequence[Remark],
    old: Sequence[Remark],
    files: Mapping[str, str],
    before: Mapping[str, str],
    changed: Changed,
) -> list[Remark]:
    """The new side's remarks without one for each equal remark of the old side, each on the line where it belongs.

    Two are equal when rule, path and the line's text without its spacing are. Of several equal ones those that no
    changed line touches are taken for the old ones.

    Args:
        new: the remarks of the new side that `candidates` chose, and all others equal to them.
        old: the remarks of the old side.
        files: the new side's texts, by path.
        before: the old side's texts, by the new side's path.
        changed: the lines that the change adds.
    """
    texts, olds = _texts(files), _texts(before)
    counts = Counter(_key(remark, olds) for remark in old)
    brought: list[Remark] = []
    ordered = sorted(new, key=lambda one: (touched(one, changed) is not None, one.path, one.line, one.rule))
    for remark in ordered:
        key = _key(remark, texts)
        if counts[key]:
            counts[key] -= 1
            continue
        place = touched(remark, changed)
        if place is None and (remark.path not in before or remark.severity.rank < Severity.HIGH.rank):
            continue
        path, line = place or (remark.path, remark.line)
        details = {**remark.details, "sink": f"{remark.path}:{remark.line}"} if remark.trace else remark.details
        brought.append(replace(remark, path=path, line=line, identity=key[2], details=details))
    return brought


def _texts(files: Mapping[str, str]) -> dict[str, list[str]]:
    return {path: lines_of(text) for path, text in files.items()}


def _key(remark: Remark, texts: Mapping[str, Sequence[str]]) -> tuple[str, str, str]:
    if remark.identity is not None:
        return remark.rule, remark.path, remark.identity
    lines = texts.get(remark.path, ())
    return remark.rule, remark.path, even(lines[remark.line - 1]) if remark.line <= len(lines) else ""


def quoted(remarks: Sequence[Remark], files: Mapping[str, str], added: LineTexts) -> LineTexts:
    """The texts of the lines that findings are placed on: the added ones, and those of the remarks."""
    texts = {path: dict(lines) for path, lines in added.items()}
    whole: dict[str, list[str]] = {}
    for remark in remarks:
        if remark.line in texts.setdefault(remark.path, {}) or remark.path not in files:
            continue
        lines = whole.setdefault(remark.path, lines_of(files[remark.path]))
        if remark.line <= len(lines):
            texts[remark.path][remark.line] = lines[remark.line - 1]
    return texts
