"""The level of texts, found once where several wrappers ask for that of the same ones."""

import threading
from collections.abc import Sequence

from tidemill.core.classification import Classified
from tidemill.core.ids import digest
from tidemill.llm.outside import Classify

MOST = 256


class RememberedLevels:
    """Finds the level of texts, and knows those that it found last by a digest. It keeps no text.

    Args:
        classify: finds the level.
        most: how many it knows.
    """

    def __init__(self, classify: Classify, *, most: int = MOST) -> None:
        self._classify = classify
        self._most = most
        self._known: dict[str, Classified] = {}
        self._lock = threading.Lock()  # long texts are read in threads

    def __call__(self, texts: Sequence[str]) -> Classified:
        """The level of texts that go one way together."""
        key = digest(*texts)
        known = self._known.get(key)
        if known is None:
            known = self._classify(texts)
            with self._lock:
                while len(self._known) >= self._most:
                    del self._known[next(iter(self._known))]
                self._known[key] = known
        return known
