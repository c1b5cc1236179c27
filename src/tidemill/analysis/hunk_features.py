"""What can be counted of changed lines: the features that a necessity model weighs.

Each is a number of about 0…6 that is 0 where there is nothing of its kind, so that what a feature adds to a score is
its weight times its number, and what is not there adds nothing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from tidemill.core.change import Line, LineKind

MOST_CHARACTERS = 20_000
"""Of changed lines; what comes after them is not counted. A larger hunk is known by its size."""
_MOST_OF_A_LINE = 500
_MOST_COMPARED = 1_500
"""Characters of each side that are compared: the comparison takes time that grows with their product."""
_DOUBLINGS = 6.0

RISKY_CODE = re.compile(
    r"\b(?:subprocess|popen|os\.system|exec|eval|pickle|yaml\.load|marshal|deserializ\w*|unserialize|child_process"
    r"|execSync|innerHTML|dangerouslySetInnerHTML|raw_input|verify\s*=\s*False|md5|sha1|random\.|jwt|hmac|password"
    r"|secret|chmod|rmtree|unlink|setuid|sudo|shell\s*=\s*True|format_map|__import__)\b"
    r"|\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|DROP TABLE|ALTER TABLE|GRANT)\s",
)
_ERRORS = re.compile(
    r"\b(?:try|except|catch|finally|raise|throw|retry|rescue|panic|recover|unwrap|errors?\.Is)\b|\.catch\("
)
_CONTROL = re.compile(r"\b(?:if|elif|else|for|while|return|switch|case|match|break|continue|await|yield|lock|async)\b")
_DEFINES = re.compile(
    r"\s*(?:export\s+|default\s+|public\s+|private\s+|protected\s+|static\s+|async\s+)*"
    r"(?:def|class|func|function|interface|enum|struct|type)\s+\w"
)
_LEFT_OVER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK|pdb|breakpoint|debugger)\b")
_WORD = re.compile(r"[^\W\d]\w*")
_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|export\s+.*\bfrom\b|require\b|use\s|using\s|#include\b|package\s|"
    r"(?:const|let|var)\s.*=\s*require\(|[})\]]+(?:\s*from\s+.*)?[;,]?\s*$)"
)
_IMPORT_NAME = re.compile(r"\s*[\w*]+(?:\s+as\s+\w+)?,?\s*$")
_PYTHON_COMMENT = re.compile(r"\s*(?:#|$)")
_COMMENT = re.compile(r"\s*(?://|/\*|\*(?:\s|/|$)|#(?!include|define|if|else|endif|\[|!)|--\s|<!--|;;|$)")
_DOCSTRING = re.compile(r"\s*[rRuUbB]{0,2}(?:\"\"\"|''')")

FEATURES = (
    *("size", "both sides", "only removed", "only comments", "only spacing", "only imports", "moved"),
    *("comments", "imports", "definition", "calls", "control flow", "error handling", "risky code"),
    *("long line", "short names", "left over", "depth", "likeness"),
)
"""The names of all features, in the order in which weights are printed."""


def hunk_features(lines: Sequence[Line], *, python: bool) -> Mapping[str, float]:
    """The features of changed lines; those that are 0 are left out. Context lines are not looked at.

    Args:
        lines: of a hunk, or of a part of one.
        python: where indentation is meaning and `//` no comment.
    """
    changed = _within(lines)
    comment = _PYTHON_COMMENT if python else _COMMENT
    code = [text for _, text in changed if not comment.match(text)]
    if not code:
        return {"only comments": 1.0}
    added = [text for kind, text in changed if kind is LineKind.ADDED]
    removed = [text for kind, text in changed if kind is LineKind.REMOVED]
    found = {
        "size": min(math.log2(1 + _code_lines(lines, comment)), _DOUBLINGS),
        "both sides": float(bool(added and removed)),
        "only removed": float(not added),
        "only spacing": float(_unspaced(added, python) == _unspaced(removed, python)),
        "only imports": float(_only_imports(code)),
        "moved": float(sorted(text.strip() for text in added) == sorted(text.strip() for text in removed)),
        "likeness": _likeness(added, removed),
        **_counted(len(changed), code, added),
    }
    return {name: value for name, value in found.items() if value}


def _counted(changed: int, code: Sequence[str], added: Sequence[str]) -> dict[str, float]:
    """Shares of lines that have something, and what any line has."""
    text = "\n".join(code)
    words = _WORD.findall(text)
    prose = changed - len(code) + sum(bool(_DOCSTRING.match(line)) for line in code)
    return {
        "comments": prose / changed,
        "imports": sum(bool(_IMPORT.match(line)) for line in code) / len(code),
        "definition": float(any(_DEFINES.match(line) for line in added)),
        "calls": min(text.count("(") / len(code), 3.0),
        "control flow": sum(bool(_CONTROL.search(line)) for line in code) / len(code),
        "error handling": float(any(_ERRORS.search(line) for line in code)),
        "risky code": float(any(RISKY_CODE.search(line) for line in code)),
        "long line": math.log2(1 + max(map(len, code)) / 20),
        "short names": sum(len(word) == 1 for word in words) / len(words) if words else 0.0,
        "left over": float(any(_LEFT_OVER.search(line) for line in added)),
        "depth": min(min(_indentation(line) for line in code) / 4, 6.0),
    }


def _within(lines: Sequence[Line]) -> list[tuple[LineKind, str]]:
    """Changed lines that are not empty, each to its limit, until there are enough characters."""
    kept: list[tuple[LineKind, str]] = []
    room = MOST_CHARACTERS
    for line in lines:
        if line.kind is LineKind.CONTEXT or room <= 0:
            continue
        text = line.text[:_MOST_OF_A_LINE]
        if text.strip():
            kept.append((line.kind, text))
            room -= len(text)
    return kept


def _code_lines(lines: Sequence[Line], comment: re.Pattern[str]) -> int:
    return sum(line.kind is not LineKind.CONTEXT and not comment.match(line.text[:_MOST_OF_A_LINE]) for line in lines)


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip())


def _likeness(added: Sequence[str], removed: Sequence[str]) -> float:
    """How much of the two sides is the same, from 0 to 1."""
    if not added or not removed:
        return 0.0
    one, other = (" ".join(side)[:_MOST_COMPARED] for side in (removed, added))
    return SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _unspaced(texts: Sequence[str], python: bool) -> str:
    """The text without spacing; Python's indentation stays, where it opens and closes blocks."""
    if python:
        return "\n".join(text[: _indentation(text)] + "".join(text.split()) for text in texts)
    return "".join("".join(text.split()) for text in texts)


def _only_imports(code: Sequence[str]) -> bool:
    """Imports, with the names in their brackets, and nothing else."""
    return any(_IMPORT.match(text) for text in code) and all(
        _IMPORT.match(text) or _IMPORT_NAME.match(text) for text in code
    )
