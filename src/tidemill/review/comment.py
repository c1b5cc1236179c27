"""Takes a model's answer about a hunk and keeps the comments that point at what the hunk really adds."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.analysis.secrets import mask
from tidemill.core.change import ChangeKind, Diff, FileDiff, Hunk, Line
from tidemill.core.finding import Finding, Severity
from tidemill.core.json import Json
from tidemill.core.review import Rejected
from tidemill.core.text import storable
from tidemill.llm.prompts.review_comment import CATEGORIES, MAX_COMMENTS, MAX_MESSAGE, SEVERITIES
from tidemill.review.placing import Remark, place

ENGINE = "model"
_SHORTEST_MESSAGE = 15
_SHORTEST_QUOTE = 3
_PRAISE = re.compile(
    r"^\W*(?:looks? good|lgtm|no (?:issues?|defects?|problems?)\b|nothing to|this (?:is|looks) (?:fine|good|correct)"
    r"|the (?:code|change|line) (?:is|looks) (?:fine|good|correct|ok)\b)",
    re.IGNORECASE,
)
_SHINGLE = 6
"""Words in a row that a message may not share with the prompt's own text."""
_SEVERITIES = {"low": Severity.LOW, "medium": Severity.MEDIUM, "high": Severity.MEDIUM}
"""A model's word alone is never worse than medium: nothing has proved it, and a small model calls everything high."""


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


def accept_comments(answer: str, hunk: Hunk, examples: Sequence[str] = ()) -> Accepted:
    """The comments of an answer that hold, the others with the reason, and the model's opinion of the hunk.

    A comment holds when its quote stands in the added line that it names, spacing apart. Where the quote stands in
    exactly one other added line of the hunk, that line was meant. An answer that is not the JSON that was asked for
    is one rejected comment. `examples` are what the prompt's own examples say; who repeats them has seen nothing.
    """
    try:
        document = _document(answer)
        comments = _comments(document)
    except _DoesNotHoldError as error:
        return Accepted(rejected=(Rejected(str(error), storable(mask(answer))[:MAX_MESSAGE]),))
    remarks: list[Remark] = []
    rejected: list[Rejected] = []
    for comment in comments[:MAX_COMMENTS]:
        try:
            remark = _remark(comment, hunk)
            _refuse_example(remark.message, examples)
            _refuse_repeated(remark, remarks)
        except _DoesNotHoldError as error:
            said = storable(mask(json.dumps(comment, ensure_ascii=False)))
            rejected.append(Rejected(str(error), said[: 2 * MAX_MESSAGE]))
        else:
            remarks.append(remark)
    file = FileDiff(hunk.path, hunk.path, ChangeKind.MODIFIED, (hunk,))
    opinion = document.get("needs_review")
    return Accepted(
        findings=tuple(place(ENGINE, remarks, Diff((file,)))),
        rejected=tuple(rejected),
        needs_review=opinion if isinstance(opinion, bool) else None,
    )


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


def _remark(comment: Any, hunk: Hunk) -> Remark:
    """Raises the reason where the comment does not hold."""
    if not isinstance(comment, Mapping):
        raise _DoesNotHoldError("the comment is not an object")
    number, quote, message = comment.get("line"), comment.get("quote"), comment.get("message")
    if not isinstance(number, int) or isinstance(number, bool):
        raise _DoesNotHoldError("the comment names no line")
    if not isinstance(quote, str) or not isinstance(message, str):
        raise _DoesNotHoldError("the comment has no quote or no message")
    line = _meant(number, quote, hunk)
    text = " ".join(storable(message).split())[:MAX_MESSAGE]
    _refuse_empty(text, line)
    severity = comment.get("severity")
    category = comment.get("category")
    details: dict[str, Json] = {"claimed_severity": storable(severity) if isinstance(severity, str) else None}
    if number != line.new:
        details["moved_from"] = number
    rule = category if isinstance(category, str) and category in CATEGORIES else "other"
    return Remark(
        rule=rule,
        path=hunk.path,
        line=line.new or 0,
        severity=_SEVERITIES[severity] if isinstance(severity, str) and severity in SEVERITIES else Severity.LOW,
        title=rule.replace("-", " ").capitalize(),
        message=text,
        details=details,
    )


def _meant(number: int, quote: str, hunk: Hunk) -> Line:
    """The added line that a comment is about."""
    wanted = _plain(quote)
    if len(wanted) < _SHORTEST_QUOTE:
        raise _DoesNotHoldError("the quote is too short to find")
    holding = [line for line in hunk.added if _holds(line.text, wanted)]
    for line in holding:
        if line.new == number:
            return line
    if len(holding) == 1:
        return holding[0]
    if not holding:
        raise _DoesNotHoldError("the quote does not stand in an added line of this hunk")
    raise _DoesNotHoldError("the quote stands in several added lines, and not in the one that is named")


def _holds(text: str, wanted: str) -> bool:
    """The quote stands in the line, as it is or as the prompt showed it, with credentials masked."""
    return wanted in _plain(text) or wanted in _plain(mask(text))


def _plain(text: str) -> str:
    """Without spacing, without the number and mark that a model copies from the prompt, all quotation marks alike.

    Inside JSON a model would rather write `'` than escape `"`.
    """
    bare = re.sub(r"^\s*\d{1,7}\s+\+\s|^\+\s", "", text).removesuffix("…")
    return "".join(bare.split()).replace('"', "'").replace("`", "'")


def _refuse_empty(message: str, line: Line) -> None:
    if len(message) < _SHORTEST_MESSAGE:
        raise _DoesNotHoldError("the message says nothing")
    if _plain(message) in _plain(line.text) or _plain(line.text) == _plain(message):
        raise _DoesNotHoldError("the message repeats the code")
    if _PRAISE.search(message):
        raise _DoesNotHoldError("the message names no defect")


def _refuse_example(message: str, examples: Sequence[str]) -> None:
    if any(_shingles(message) & _shingles(example) for example in examples):
        raise _DoesNotHoldError("the message repeats the prompt's example")


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}


def _refuse_repeated(remark: Remark, before: list[Remark]) -> None:
    if any(other.line == remark.line or other.message == remark.message for other in before):
        raise _DoesNotHoldError("the comment repeats another one")
