"""Quality control of answers: long enough, not too long, sure enough, and with citations."""

from collections.abc import Sequence

from tidemill.core.answer import CheckedSentence, Issue
from tidemill.settings.knowledge import AnswerSettings


def issues_of(text: str, cited: int, confidence: float, settings: AnswerSettings) -> list[Issue]:
    """What is wrong with an answer; nothing where it is good.

    Args:
        text: as it would be shown.
        cited: how many citations it has.
        confidence: of the answer.
        settings: say how much is enough.
    """
    found = []
    if len(text) < settings.min_answer_length:
        found.append(Issue.TOO_SHORT)
    if len(text) > settings.max_answer_length:
        found.append(Issue.TOO_LONG)
    if confidence < settings.confidence_threshold:
        found.append(Issue.LOW_CONFIDENCE)
    if settings.citation_required and not cited:
        found.append(Issue.MISSING_CITATIONS)
    return found


def confidence_of(sentences: Sequence[CheckedSentence]) -> float:
    """How likely what the sentences claim is to hold, on the average; 0 where they claim nothing."""
    claims = [one.confidence for one in sentences if one.is_claim]
    return sum(claims) / len(claims) if claims else 0.0
