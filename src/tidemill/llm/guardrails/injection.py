"""Prompt injection in what is asked: the rules first, then the classifier for what they let pass."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tidemill.analysis.injection import find_injection
from tidemill.analysis.plain import plain
from tidemill.core.guardrail import Guardrail
from tidemill.llm.guardrails.finding import Found
from tidemill.llm.guardrails.seen import Seen

if TYPE_CHECKING:
    from tidemill.llm.guardrails.classifier import InjectionClassifier

ATTACKS = frozenset({"prompt_injection", "jailbreak", "data_exfiltration", "model_attack"})
"""Of the classifier's kinds, those that are orders to a model; the others are what other guardrails look for."""
LONGEST = 4_000
"""Characters of a text that the classifier reads: in a longer one an order is drowned, and reading it in parts finds
orders in source code (see docs/guardrails.md)."""
SHORT = 2_000
"""Characters up to which the rules alone are quicker than a thread."""
QUICK = 300
"""Characters up to which the classifier is as quick as a thread, once it is loaded."""


def _load() -> "InjectionClassifier":
    from tidemill.llm.guardrails.classifier import InjectionClassifier  # noqa: PLC0415 - loads numpy

    return InjectionClassifier.load()


class InjectionGuard:
    """Finds prompt injection in texts.

    Args:
        min_score: from which score on the classifier's finding counts; `None` does without it.
        load: loads the classifier, where it is first needed.
    """

    def __init__(self, min_score: float | None, load: "Callable[[], InjectionClassifier]" = _load) -> None:
        self._min_score = min_score
        self._load = load
        self._classifier: InjectionClassifier | None = None
        self._seen: Seen[tuple[Found, ...]] = Seen()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="injection")

    async def find(self, texts: Sequence[str]) -> list[tuple[Found, ...]]:
        """What is found in each text, at its places in the plain text; those of texts that were seen before at once."""
        keys, found = self._known(texts)
        new = [at for at, one in enumerate(found) if one is None]
        some = [texts[at] for at in new]
        if self._is_quick(some):
            read = [self.read(text) for text in some]
        else:
            loop = asyncio.get_running_loop()
            read = await loop.run_in_executor(self._thread, lambda: [self.read(text) for text in some])
        for at, one in zip(new, read, strict=True):
            found[at] = one
            self._seen.keep(keys[at], one)
        return [one or () for one in found]

    def is_quick(self, texts: Sequence[str]) -> bool:
        """Whether `find` takes no thread for these, but reads them at once."""
        _, found = self._known(texts)
        return self._is_quick([text for text, one in zip(texts, found, strict=True) if one is None])

    def _known(self, texts: Sequence[str]) -> tuple[list[bytes], list[tuple[Found, ...] | None]]:
        keys = [self._seen.key(text, "injection") for text in texts]
        return keys, [self._seen.known(key) for key in keys]

    def _is_quick(self, new: Sequence[str]) -> bool:
        if self._min_score is None:
            return sum(map(len, new)) <= SHORT
        return not new or (self._classifier is not None and sum(map(len, new)) <= QUICK)

    def read(self, text: str) -> tuple[Found, ...]:
        """What is found in one text, on this thread."""
        clear = plain(text).text
        ruled = tuple(Found(Guardrail.INJECTION, one.rule, one.start, one.end) for one in find_injection(clear))
        if ruled or self._min_score is None or not clear.strip() or len(clear) > LONGEST:
            return ruled
        if self._classifier is None:
            self._classifier = self._load()
        score, kind = self._classifier.score(clear)
        if score < self._min_score or kind not in ATTACKS:
            return ()
        return (Found(Guardrail.INJECTION, f"classifier-{kind.replace('_', '-')}", 0, len(clear)),)

    def close(self) -> None:
        """Ends its thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
