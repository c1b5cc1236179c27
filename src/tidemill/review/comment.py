"""Takes a model's answer about a hunk and keeps the comments that stand up to `tidemill.review.checking`."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidemill.analysis.secrets import mask
from tidemill.core.change import ChangeKind, Diff, FileDiff, Hunk
from tidemill.core.finding import Category, Finding, Severity
from tidemill.core.json import Json
from tidemill.core.review import Rejected
from tidemill.core.text import storable
from tidemill.llm.prompts.fences import to_line
from tidemill.llm.prompts.review_comment import CATEGORIES, MAX_COMMENTS, MAX_MESSAGE
from tidemill.review import checking
from tidemill.review.checking import Candidate, Scene
from tidemill.review.placing import Remark, place

ENGINE = "model"
_SEVERITIES = {"low": Severity.LOW, "medium": Severity.MEDIUM, "high": Severity.HIGH}
_UNPROVEN = Severity.MEDIUM
"""A model's word alone is never worse: nothing has proved it, and a small model calls everything high."""
_SUPPORT_LINES = 2
_UNKNOWN_CONFIDENCE = 0.5
_MOVED_CONFIDENCE = 0.4
_LINE = re.compile(r"\b(lines?|dòng) (\d{1,5})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is left of an answer.

    Attributes:
        findings: the comments that hold.
        rejected: the others, with the reason.
        needs_review: whether the model would have a person look at the hunk; `None` where it did not say.
    """

    findings: tuple[Finding, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    needs_review: bool | None = None


class _DoesNotHoldError(Exception):
    """Why a comment is not shown."""

    def __init__(self, reason: str, check: str = "") -> None:
        super().__init__(reason)
        self.check = check


def accept_comments(answer: str, scene: Scene, certainty: float | None = None) -> Accepted:
    """The comments of an answer that hold, the others with the reason, and the model's opinion of the hunk.

    An answer that is not the JSON that was asked for is one rejected comment.

    Args:
        answer: what the model said.
        scene: what its comments are held against.
        certainty: the geometric mean of the probabilities of the message's tokens, where the model gives them.
    """
    try:
        document = _document(answer)
        comments = _comments(document)
    except _DoesNotHoldError as error:
        return Accepted(rejected=(Rejected(str(error), storable(mask(answer))[:MAX_MESSAGE], "is_json"),))
    found: list[Finding] = []
    rejected: list[Rejected] = []
    for comment in comments[:MAX_COMMENTS]:
        try:
            found.append(_finding(comment, replace(scene, before=(*scene.before, *found)), certainty))
        except _DoesNotHoldError as error:
            said = storable(mask(json.dumps(comment, ensure_ascii=False)))
            rejected.append(Rejected(str(error), said[: 2 * MAX_MESSAGE], error.check))
    opinion = document.get("needs_review")
    return Accepted(tuple(found), tuple(rejected), opinion if isinstance(opinion, bool) else None)


def _document(answer: str) -> Mapping[str, Any]:
    """Raises the reason where the answer is no JSON object."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        raise _DoesNotHoldError("the answer is not JSON, or was cut off") from None
    if not isinstance(document, dict):
        raise _DoesNotHoldError("the answer has no list of comments")
    return document


def _comments(document: Mapping[str, Any]) -> list[Any]:
    """Raises the reason where the answer has another shape."""
    comments = document.get("comments")
    if not isinstance(comments, list):
        raise _DoesNotHoldError("the answer has no list of comments")
    return comments


def _finding(comment: Any, scene: Scene, certainty: float | None) -> Finding:
    """Raises the reason where the comment does not hold."""
    candidate = _candidate(comment, scene.hunk)
    if (failed := checking.failed_check(candidate, scene)) is not None:
        raise _DoesNotHoldError(failed[1], failed[0])
    supporting = [one for one in scene.findings if _supports(one, candidate, scene.hunk)]
    proven = max((one.severity for one in supporting), key=lambda one: one.rank, default=_UNPROVEN)
    claimed = _SEVERITIES.get(candidate.severity or "", Severity.LOW)
    severity = min(claimed, max(proven, _UNPROVEN, key=lambda one: one.rank), key=lambda one: one.rank)
    details: dict[str, Json] = {"claimed_severity": candidate.severity}
    if candidate.moved_from is not None:
        details["moved_from"] = candidate.moved_from
    if supporting:
        details["supported_by"] = [f"{one.engine} {one.rule}" for one in supporting]
    if certainty is not None:
        details["certainty"] = round(certainty, 3)
    remark = Remark(
        rule=candidate.category,
        path=scene.hunk.path,
        line=candidate.line.new or 0,
        severity=severity,
        title=candidate.category.replace("-", " ").capitalize(),
        message=candidate.message,
        details=details,
    )
    file = FileDiff(scene.hunk.path, scene.hunk.path, ChangeKind.MODIFIED, (scene.hunk,))
    [finding] = place(ENGINE, [remark], Diff((file,)))
    again = checking.said_again(candidate, scene)
    return replace(
        finding,
        category=checking.CATEGORIES.get(candidate.category, Category.OTHER),
        confidence=_confidence(candidate, certainty),
        fingerprint=again.fingerprint if again is not None else finding.fingerprint,
    )


def _candidate(comment: Any, hunk: Hunk) -> Candidate:
    """Raises the reason where the comment has another shape, or stands nowhere."""
    if not isinstance(comment, Mapping):
        raise _DoesNotHoldError("the comment is not an object", "is_json")
    number, quote, message = comment.get("line"), comment.get("quote"), comment.get("message")
    if not isinstance(number, int) or isinstance(number, bool):
        raise _DoesNotHoldError("the comment names no line", "meant_line")
    if not isinstance(quote, str) or not isinstance(message, str):
        raise _DoesNotHoldError("the comment has no quote or no message", "is_json")
    named = to_line(hunk, number)
    line = checking.meant_line(named, quote, hunk)
    if isinstance(line, str):
        raise _DoesNotHoldError(line, "meant_line")
    severity, category = comment.get("severity"), comment.get("category")
    return Candidate(
        line=line,
        moved_from=None if named == line.new else named,
        message=_with_lines(" ".join(storable(message).split())[:MAX_MESSAGE], hunk),
        severity=storable(severity) if isinstance(severity, str) else None,
        category=category if isinstance(category, str) and category in CATEGORIES else "other",
    )


def _with_lines(message: str, hunk: Hunk) -> str:
    """The message with the file's line numbers in place of the prompt's, which count from the hunk's first line."""

    def renumbered(found: re.Match[str]) -> str:
        line = to_line(hunk, int(found[2]))
        shown = hunk.new_start <= line < hunk.new_start + hunk.new_count
        return f"{found[1]} {line}" if shown else found[0]

    return _LINE.sub(renumbered, message)


def _supports(finding: Finding, candidate: Candidate, hunk: Hunk) -> bool:
    """An engine found something else so near that it bears the comment out."""
    return finding.path == hunk.path and abs(finding.line - (candidate.line.new or 0)) <= _SUPPORT_LINES


def _confidence(candidate: Candidate, certainty: float | None) -> float:
    """Without probabilities, what the checks tell: a comment that named another line than the quote's is less sure."""
    if certainty is None:
        return _UNKNOWN_CONFIDENCE if candidate.moved_from is None else _MOVED_CONFIDENCE
    return round(certainty if candidate.moved_from is None else certainty * _MOVED_CONFIDENCE / _UNKNOWN_CONFIDENCE, 3)


def message_certainty(tokens: Sequence[Any]) -> float | None:
    """The geometric mean of the probabilities of the tokens with which a model wrote its message.

    What comes before it is the grammar's or a copy of the code, of which a model is always sure.

    Args:
        tokens: `logprobs.content` of the answer, as OpenAI has it.
    """
    parts = [one for one in tokens if isinstance(one, Mapping) and isinstance(one.get("logprob"), int | float)]
    text = "".join(str(one.get("token", "")) for one in parts)
    start = text.rfind('"message"')
    if start < 0:
        return None
    at, logs = 0, []
    for one in parts:
        if at >= start + len('"message"'):
            logs.append(float(one["logprob"]))
        at += len(str(one.get("token", "")))
    return math.exp(sum(logs) / len(logs)) if logs else None
