"""How well support is told from its absence, and how well answers keep to their passages."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill.analysis.grounding_metrics import (
    answer_relevancy,
    citation_precision,
    citation_recall,
    context_precision,
    context_recall,
    covers,
    faithfulness,
    rates,
    roc_area,
)
from tidemill.analysis.sentences import sentences
from tidemill.evaluation.data import Claim, LabelledQuestion
from tidemill.evaluation.results import Figures, means
from tidemill.evaluation.retrieval import Told

NUMBERS = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
BEFORE = re.compile(r"(?:\s*\[\d+(?:\s*,\s*\d+)*\])+")
"""Numbers with which a sentence begins: they belong to the one before it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How surely texts support a claim, from 0 to 1, and the places of the texts that show it."""

    confidence: float
    shown: frozenset[int] = frozenset()


class Judge(Protocol):
    """What is measured: the check of support."""

    async def support(self, claim: str, texts: Sequence[str]) -> Judged:
        """Whether these texts together, in their order, support the claim."""
        ...


class Nearness(Protocol):
    """Compares texts by meaning."""

    async def cosines(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """The cosine of the question with each text."""
        ...


@dataclass(frozen=True, slots=True)
class AnsweredFrom:
    """A passage that an answer was made from, and the id of its document in the set."""

    document: str
    text: str


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer.

    Attributes:
        refused: it says that the documents do not say it.
        passages: what it was made from, the best first.
        cited: the place in `passages` of each number that stands in the text.
    """

    text: str
    refused: bool
    passages: Sequence[AnsweredFrom]
    cited: Mapping[int, int]


class Answering(Protocol):
    """What answers questions."""

    async def answer(self, question: str) -> GivenAnswer:
        """The answer to one question."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics over all, and for each claim or question by its id."""

    metrics: Figures
    questions: Mapping[str, Figures]


async def measure_claims(judge: Judge, claims: Sequence[Claim], threshold: float, told: Told) -> Measured:
    """How well claims that are supported are told from the others.

    A claim counts as supported where its confidence is at least `threshold`. `strict` holds that against the label
    `supported` alone, `partly` against that and `partially_supported`. `evidence_…` says how well the sentences that
    are shown as evidence are among those that people named.
    """
    found: dict[str, Figures] = {}
    confidences: list[float] = []
    for place, claim in enumerate(claims):
        told("claims", place, len(claims))
        judged = await judge.support(claim.text, claim.evidence)
        confidences.append(judged.confidence)
        strict, partly = claim.label == "supported", claim.label != "not_supported"
        named = frozenset[int]().union(*claim.named)
        found[claim.id] = {
            "accuracy_strict": float((judged.confidence >= threshold) == strict),
            "squared_error": (judged.confidence - strict) ** 2,
            "accuracy_partly": float((judged.confidence >= threshold) == partly),
            "evidence_precision": len(judged.shown & named) / len(judged.shown) if named and judged.shown else None,
            "evidence_recall": float(covers(judged.shown, claim.named)) if claim.named else None,
        }
    told("claims", len(claims), len(claims))
    chosen = [confidence >= threshold for confidence in confidences]
    metrics: dict[str, float | None] = {}
    for name, labels in (("strict", ("supported",)), ("partly", ("supported", "partially_supported"))):
        right = [claim.label in labels for claim in claims]
        rated = rates(chosen, right)
        metrics |= {
            f"precision_{name}": rated.precision,
            f"recall_{name}": rated.recall,
            f"f1_{name}": rated.f1,
            f"auroc_{name}": roc_area(confidences, right),
        }
    return Measured({**metrics, **means(found)}, found)


async def measure_answers(
    answering: Answering,
    judge: Judge,
    nearness: Nearness,
    questions: Sequence[LabelledQuestion],
    threshold: float,
    told: Told,
) -> Measured:
    """How well answers keep to their passages, and what can't be answered is refused.

    Whether a sentence is supported says the judge, with `threshold`. The cosines of the answer relevancy are those of
    the question with the answer's sentences. Of passages, one is relevant that is of a document that answers the
    question and, where a quote is known, shares words with it or has it whole.
    """
    found: dict[str, Figures] = {}
    refused, unanswerable = [], []
    for place, question in enumerate(questions):
        told("answers", place, len(questions))
        answer = await answering.answer(question.text)
        refused.append(answer.refused)
        unanswerable.append(not question.relevant)
        found[question.id] = {
            **_of_context(question, answer.passages),
            **({} if answer.refused else await _of_answer(question, answer, judge, nearness, threshold)),
            "refusal_accuracy": float(answer.refused == (not question.relevant)),
        }
    told("answers", len(questions), len(questions))
    rated = rates(refused, unanswerable)
    refusals = {"refusal_precision": rated.precision, "refusal_recall": rated.recall, "refusal_f1": rated.f1}
    return Measured({**means(found), **refusals}, found)


def _of_context(question: LabelledQuestion, passages: Sequence[AnsweredFrom]) -> dict[str, float | None]:
    if not question.relevant:
        return {"context_precision": None, "context_recall": None}
    there = [_plain(one.text) for one in passages if one.document in question.relevant]
    quotes = [_plain(one) for one in question.quotes if one.strip()]
    whole = any(_holds(text, quote) for quote in quotes for text in there)
    relevant = [
        one.document in question.relevant and (not whole or any(_holds(_plain(one.text), quote) for quote in quotes))
        for one in passages
    ]
    recalled = [whole] if quotes else [any(one.document == wanted for one in passages) for wanted in question.relevant]
    return {"context_precision": context_precision(relevant) or 0.0, "context_recall": context_recall(recalled)}


async def _of_answer(
    question: LabelledQuestion, answer: GivenAnswer, judge: Judge, nearness: Nearness, threshold: float
) -> dict[str, float | None]:
    said = list(_said(answer))
    everything = [one.text for one in answer.passages]
    faithful, cited, useful = [], [], []
    for text, places in said:
        faithful.append((await judge.support(text, everything)).confidence >= threshold)
        together = await judge.support(text, [everything[one] for one in places]) if places else Judged(0.0)
        cited.append(together.confidence >= threshold)
        for one in places:
            useful.append(await _helps(judge, text, one, places, everything, threshold, together.confidence))
    numbered = [answer.passages[one].document for _, places in said for one in places]
    right = [document in question.relevant for document in numbered]
    cosines = await nearness.cosines(question.text, [text for text, _ in said]) if said else []
    return {
        "faithfulness": faithfulness(faithful),
        "answer_relevancy": answer_relevancy(cosines),
        "citation_precision": citation_precision(useful),
        "citation_recall": citation_recall(cited),
        "citation_of_right_document": citation_precision(right) if question.relevant else None,
    }


async def _helps(
    judge: Judge, text: str, one: int, places: Collection[int], texts: Sequence[str], threshold: float, together: float
) -> bool:
    """Whether a citation supports its sentence by itself, or the others together do not without it."""
    if together < threshold:
        return False
    if (await judge.support(text, [texts[one]])).confidence >= threshold:
        return True
    others = [texts[other] for other in places if other != one]
    return bool(others) and (await judge.support(text, others)).confidence < threshold


def _said(answer: GivenAnswer) -> list[tuple[str, list[int]]]:
    """The answer's sentences without their numbers, with the places of the passages that each cites."""
    found: list[tuple[str, list[int]]] = []
    for span in sentences(answer.text):
        text = span.of(answer.text)
        before = BEFORE.match(text)
        behind = _places(before[0], answer) if before else []
        if found:  # numbers that stand behind the full stop
            found[-1] = (found[-1][0], list(dict.fromkeys([*found[-1][1], *behind])))
        own = text[before.end() :] if before and found else text
        plain = NUMBERS.sub("", own).strip()
        if any(letter.isalnum() for letter in plain):
            found.append((plain, _places(own, answer)))
    return found


def _places(text: str, answer: GivenAnswer) -> list[int]:
    numbers = [int(one) for match in NUMBERS.finditer(text) for one in match[1].split(",")]
    return list(dict.fromkeys(answer.cited[one] for one in numbers if one in answer.cited))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _holds(text: str, quote: str) -> bool:
    """Whether the quote stands there and is no part of a longer word or number: `20` is not said by `2024`."""
    return re.search(rf"(?<!\w){re.escape(quote)}(?!\w)", text) is not None
