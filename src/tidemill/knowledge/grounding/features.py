"""The signals by which a sentence is held to passages.

A sentence may rest on several sentences of the passages, so what it says is looked for in the one that says most of
it, and in the few that say most of it together; and each of its clauses in two neighbours, since a clause that nothing
says is what most often makes a sentence wrong.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidemill.knowledge.grounding.words import Words, words_of

ALIKE, ALIKE_TO_DENY = 0.45, 0.6
"""The part of the terms that two sentences share at least, for one to be the opposite of the other: by a word such as
`open`, or by a denial, which long sentences hold of other things, too."""
NEARLY = 0.8
"""Of the most that a sentence shares, for another to be about the same."""
GREEDY = 4
"""Sentences of the passages that one sentence may rest on."""
NAMES = (
    "clauses_covered", "terms_covered", "terms_missing", "number_missing", "numbers_missing", "name_missing",
    "contradicted", "cosine",
)  # fmt: skip
"""What each feature is, in their order: the mean part of each clause that two neighbours say; the part of the terms, by
their weight, that the few say; how many terms they do not, in tens; whether a number is missing, and the part of the
numbers that is; whether a name is missing; whether those alike say the opposite; the highest
cosine."""
ACROSS = ("cosine", "cosine_above_mean", "number_missing", "name_missing", "denial_differs")
"""The same where the sentence and the passages are in two languages, and words can't be compared."""
CONTRADICTED = NAMES.index("contradicted")
DENIED, MISSING = ACROSS.index("denial_differs"), ACROSS.index("number_missing")
_CLAUSE = re.compile(r"(?<!\d)[,;:]|[,;:](?!\d)|[()–—]|\b(?:and|but|which|while|where|và|nhưng|còn|trong khi)\b")
_SHORTEST_CLAUSE = 2


@dataclass(frozen=True, slots=True)
class Lexical:
    """What words alone say.

    Attributes:
        best: the place of the sentence that says most of it.
        few: the places of those that say most of it together, the best first.
        overlap: the part of the terms, by their weight, that the best one says.
        values: the features that need no vector, in the order of `NAMES`.
    """

    best: int
    few: tuple[int, ...]
    overlap: float
    values: tuple[float, ...]


def nearest(claim: Words, sentences: Sequence[Words], limit: int) -> list[int]:
    """The places of the sentences that share most with the claim, in their order in the passages."""
    weights = _weights(sentences)

    def mark(one: Words) -> float:
        shared = sum(weights[term] for term in claim.terms if term in one.terms) + 2.0 * len(
            claim.numbers & one.numbers
        )
        return shared / math.sqrt(5 + sum(one.terms.values()))

    marks = [mark(one) for one in sentences]
    return sorted(sorted(range(len(sentences)), key=lambda place: (-marks[place], place))[:limit])


def lexical(claim: str, sentences: Sequence[Words]) -> Lexical:
    """Compares the claim's words with those of the passages' sentences, of which there is one at least."""
    words = words_of(claim)
    known = _weights(sentences)
    rarest = math.log(1 + (len(sentences) + 0.5) / 0.5)
    wanted = {term: known.get(term, rarest) for term in words.terms}
    total = sum(wanted.values()) or 1.0
    single = [sum(weight for term, weight in wanted.items() if term in one.terms) / total for one in sentences]
    marks = [cover + 0.1 * len(words.numbers & one.numbers) for cover, one in zip(single, sentences, strict=True)]
    best = max(range(len(sentences)), key=marks.__getitem__)
    few = _few(words, sentences, best, wanted)
    there = {term for place in few for term in sentences[place].terms}
    missing = [term for term in wanted if term not in there]
    absent = words.numbers - {number for one in sentences for number in one.numbers}
    values = (
        _clauses_covered(claim, words, sentences),
        1.0 - sum(wanted[term] for term in missing) / total,
        len(missing) / 10,
        float(bool(absent)),
        len(absent) / max(1, len(words.numbers)),
        float(bool(words.names - there)),
        float(_contradicted(words, sentences, single)),
    )
    return Lexical(best, few, single[best], values)


def with_cosines(found: Lexical, cosines: Iterable[float]) -> list[float]:
    """All features, in the order of `NAMES`, with the cosines of the claim and sentences of the passages."""
    return [*found.values, max(cosines, default=0.0)]


def across(claim: Words, sentences: Sequence[Words], cosines: Sequence[float]) -> list[float]:
    """The features in the order of `ACROSS`."""
    best = max(range(len(sentences)), key=cosines.__getitem__)
    beside = sentences[max(0, best - 1) : best + 2]
    numbers = {number for one in beside for number in one.numbers}
    spelled = {term for one in sentences for term in one.terms}
    return [
        cosines[best],
        cosines[best] - sum(cosines) / len(cosines),
        float(bool(claim.numbers - numbers)),
        float(any(name.isascii() and name not in spelled for name in claim.names)),
        float(claim.denies != sentences[best].denies),
    ]


def _weights(sentences: Sequence[Words]) -> dict[str, float]:
    """How much each term tells the sentences of the passages apart: BM25's idf."""
    counts = Counter(term for words in sentences for term in words.terms)
    return {term: math.log(1 + (len(sentences) - count + 0.5) / (count + 0.5)) for term, count in counts.items()}


def _few(claim: Words, sentences: Sequence[Words], best: int, wanted: dict[str, float]) -> tuple[int, ...]:
    """The best sentence, and those that add most of what is still missing, as long as they add what counts."""
    chosen = [best]
    terms = {term for term in wanted if term not in sentences[best].terms}
    numbers = set(claim.numbers - sentences[best].numbers)
    least = 0.05 * (sum(wanted.values()) or 1.0)
    while len(chosen) < GREEDY and (terms or numbers):
        gains = [
            sum(wanted[term] for term in terms if term in one.terms) + 2 * len(numbers & one.numbers)
            for one in sentences
        ]
        place = max(range(len(sentences)), key=gains.__getitem__)
        if gains[place] < least or place in chosen:
            break
        chosen.append(place)
        terms -= sentences[place].terms.keys()
        numbers -= sentences[place].numbers
    return tuple(chosen)


def _contradicted(claim: Words, sentences: Sequence[Words], covered: Sequence[float]) -> bool:
    """Whether every sentence that is about the same, and there is one, says the opposite, or names other bounds."""
    least = max(ALIKE, NEARLY * max(covered))
    alike = [(one, cover) for one, cover in zip(sentences, covered, strict=True) if cover >= least]
    moved = not any(claim.bounds_of(one) and claim.numbers <= one.numbers for one in sentences)
    return bool(alike) and all(
        claim.opposes(one)
        or (cover >= ALIKE_TO_DENY and claim.denies != one.denies)
        or (moved and bool(claim.bounds and one.bounds) and not claim.bounds_of(one))
        for one, cover in alike
    )


def _clauses_covered(claim: str, words: Words, sentences: Sequence[Words]) -> float:
    """The mean, over the clauses, of the largest part of one that two neighbouring sentences say."""
    clauses = [words_of(part) for part in _CLAUSE.split(claim) if part]
    parts = [one for one in clauses if len(one.terms) + len(one.numbers) >= _SHORTEST_CLAUSE] or [words]
    windows = [
        (one.terms.keys() | after.terms.keys(), one.numbers | after.numbers)
        for one, after in zip(sentences, [*sentences[1:], sentences[-1]], strict=True)
    ]
    total = 0.0
    for part in parts:
        size = len(part.terms) + len(part.numbers)
        total += max(
            (len(part.terms.keys() & terms) + len(part.numbers & numbers)) / max(1, size) for terms, numbers in windows
        )
    return total / len(parts)
