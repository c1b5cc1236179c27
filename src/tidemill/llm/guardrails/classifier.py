"""The classifier for prompt injection that comes in the wheel of `securevector-guardian-model`: a linear model over
words and parts of words. It is loaded from that wheel's own file alone, which is checked against its digest.

Its weights are read once into arrays, which hold and cost less than the package's own lists.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tidemill.core.errors import Configuration

WORD = re.compile(r"\b\w\w+\b")
WORDS_KEPT = 20_000
"""Words whose parts are not looked up again."""
LONGEST_KEPT = 40
"""Characters of such a word: a text without spaces is one word, and some thousands of those would fill the memory."""


class _Guardian(Protocol):
    """What is read of the package's own model."""

    classes: list[str]
    benign: str
    n_word: int
    word: Mapping[str, object]
    char: Mapping[str, object]
    coef: list[list[float]]
    intercept: list[float]


class InjectionClassifier:
    """Scores texts. Takes 0.3 s and some memory to load, so load it where it is first needed, in a thread."""

    def __init__(self, guardian: _Guardian) -> None:
        self._kinds = list(guardian.classes)
        self._benign = self._kinds.index(guardian.benign)
        self._word, self._char = _Block(guardian.word, 0), _Block(guardian.char, guardian.n_word)
        self._weights = np.ascontiguousarray(np.asarray(guardian.coef, dtype=np.float64).T)
        self._intercept = np.asarray(guardian.intercept, dtype=np.float64)
        self._pieces_kept = lru_cache(WORDS_KEPT)(self._pieces)

    @classmethod
    def load(cls) -> "InjectionClassifier":
        """The classifier of the installed wheel.

        Raises:
            Configuration: the wheel is not whole.
        """
        from svguardian import _runtime  # noqa: PLC0415 - some 40 MB while it is read, which few processes need
        from svguardian.model.pure_infer import PureGuardian  # noqa: PLC0415

        path = _runtime.bundled_path()
        if path is None:
            raise Configuration(
                "The package securevector-guardian-model has no model in it. Install its wheel again: "
                "`pip install --force-reinstall securevector-guardian-model`."
            )
        try:
            return cls(PureGuardian.load(path))
        except ValueError as error:
            raise Configuration(
                "The model of the package securevector-guardian-model is damaged. Install its wheel again: "
                "`pip install --force-reinstall securevector-guardian-model`."
            ) from error

    def score(self, text: str) -> tuple[float, str]:
        """How much one text, as a whole, looks like an attack, and of which kind."""
        lowered = text.lower()
        scores = self._intercept.copy()
        words = WORD.findall(lowered)
        pieces = [
            self._pieces_kept(word) if len(word) <= LONGEST_KEPT else self._pieces(word) for word in lowered.split()
        ]
        for columns, values in (
            self._word.vector(self._word.known([*words, *map(" ".join, pairwise(words))])),
            self._char.vector([column for some in pieces for column in some]),
        ):
            if len(columns):
                scores += values @ self._weights[columns]
        likely = np.exp(scores - scores.max())
        likely /= likely.sum()
        attack = 1 - float(likely[self._benign])
        likely[self._benign] = 0
        return attack, self._kinds[int(likely.argmax())]

    def _pieces(self, word: str) -> tuple[int, ...]:
        return tuple(self._char.known(_parts(word)))


class _Block:
    """One half of the features: their columns and weights."""

    def __init__(self, block: Mapping[str, object], offset: int) -> None:
        vocabulary, idf = block["vocab"], block["idf"]
        assert isinstance(vocabulary, dict)  # noqa: S101 - the file's digest was checked
        assert isinstance(idf, list)  # noqa: S101
        self._columns: dict[str, int] = vocabulary
        self._idf = np.asarray(idf, dtype=np.float64)
        self._offset = offset

    def known(self, grams: Iterable[str]) -> list[int]:
        """The columns of those that have one."""
        return [self._columns[gram] for gram in grams if gram in self._columns]

    def vector(self, known: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns and tf-idf values of length 1, with sublinear tf."""
        counts = Counter(known)
        columns = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        values = np.fromiter((1 + log(count) for count in counts.values()), dtype=np.float64, count=len(counts))
        values *= self._idf[columns]
        norm = float(np.sqrt(values @ values))
        return columns + self._offset, values / norm if norm else values


def _parts(word: str) -> Iterator[str]:
    """The runs of three to five characters in a word with a space on either side; a short one counts once."""
    padded = f" {word} "
    for length in (3, 4, 5):
        if len(padded) <= length:
            yield padded
            return
        yield from (padded[at : at + length] for at in range(len(padded) - length + 1))
