"""The second pass over a comment: what speaks against it, and whether it stands in spite of that."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidemill.analysis.secrets import mask
from tidemill.core.finding import Finding
from tidemill.core.review import Rejected
from tidemill.core.text import storable
from tidemill.llm.prompts.review_comment import MAX_MESSAGE
from tidemill.llm.prompts.review_doubt import MAX_REASON, RIGHT, WRONG
from tidemill.review.asking import Answer
from tidemill.review.checking import alike

_SAME = 0.8
"""Share of terms that a reason has in common with the comment when it is no other text."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What became of one comment.

    Attributes:
        stands: nothing that was said against it holds.
        reason: the strongest reason against it, or why there is no verdict.
        certainty: the probability of the verdict's first token, where the model gives it.
        answered: the model gave a verdict.
    """

    stands: bool
    reason: str
    certainty: float | None = None
    answered: bool = True


def read_doubt(answer: Answer, message: str) -> Doubt:
    """The verdict of an answer on a comment. One that can't be read, or was not given, is none that it survived; nor
    is one whose reason says the comment again, as small models do: nothing was held against it then."""
    if answer.failure is not None:
        return Doubt(False, answer.failure, answered=False)
    try:
        document = json.loads(answer.text)
    except (ValueError, RecursionError):
        document = None
    verdict = document.get("verdict") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or verdict not in (RIGHT, WRONG):
        return Doubt(False, "the answer of the second pass is not JSON, or was cut off", answered=False)
    reason = " ".join(mask(storable(str(document.get("reason", "")))).split())[:MAX_REASON]
    if alike(reason, message, _SAME):
        return Doubt(False, "the second pass only said the comment again", answered=False)
    return Doubt(verdict == RIGHT, reason, verdict_certainty(answer.tokens))


def verdict_certainty(tokens: Sequence[Any]) -> float | None:
    """The probability of the first token that tells the verdict; `None` where the answer has no probabilities."""
    parts = [one for one in tokens if isinstance(one, Mapping) and isinstance(one.get("logprob"), int | float)]
    text = "".join(str(one.get("token", "")) for one in parts)
    key = text.rfind('"verdict"')
    places = [place for word in (RIGHT, WRONG) if (place := text.find(word, key + len('"verdict"'))) >= 0]
    if key < 0 or not places:
        return None
    at = 0
    for one in parts:
        at += len(str(one.get("token", "")))
        if at > min(places):
            return math.exp(float(one["logprob"]))
    return None


def survived(comment: Finding, doubt: Doubt) -> Finding:
    """The comment with the verdict in its details; its confidence is lowered by what the verdict is unsure of."""
    certainty = 1.0 if doubt.certainty is None else doubt.certainty
    return replace(
        comment,
        confidence=round(comment.confidence * certainty, 3),
        details={**comment.details, "doubt": doubt.reason},
    )


def dropped(comment: Finding, doubt: Doubt) -> Rejected:
    """The comment as one that is not shown."""
    reason = f"the second pass: {doubt.reason}" if doubt.answered else f"not doubted: {doubt.reason}"
    said = json.dumps({"line": comment.line, "message": comment.message}, ensure_ascii=False)
    return Rejected(reason, said[: 2 * MAX_MESSAGE], "doubt" if doubt.answered else "no_verdict")
