"""The sentences of a passage that a question is about."""

from collections.abc import Mapping

from tidemill.analysis.sentences import sentences
from tidemill.analysis.terms import terms

ENOUGH = 0.4
"""The share of what the best sentence has that another needs, to stay."""
GAP = " … "


def compressed(text: str, weights: Mapping[str, float], language: str | None) -> str:
    """Those sentences, in their order, with `…` where something was left out; all of it where none stands out.

    A sentence counts by the weight of the question's terms that it has.

    Args:
        weights: of the question's terms; the inverse document frequency.
    """
    spans = sentences(text, language)
    scores = [sum(weights.get(term, 0.0) for term in terms(span.of(text))) for span in spans]
    best = max(scores, default=0.0)
    if best <= 0 or len(spans) < 3:
        return text
    kept = [score >= ENOUGH * best for score in scores]
    parts: list[str] = []
    for place, span in enumerate(spans):
        if not kept[place]:
            continue
        if parts and not kept[place - 1]:
            parts.append(GAP)
        elif parts:
            parts.append(text[spans[place - 1].end : span.start])
        parts.append(span.of(text))
    return "".join(parts)
