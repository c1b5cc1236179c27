"""Whether a text is an insult or a threat, by the linear classifier in the wheel of `alt-profanity-check`."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from tidemill.core.errors import Configuration

Score = Callable[[list[str]], Sequence[float]]
RULE = "toxic"


def installed() -> None:
    """Goes on where the extra is there; its classifier is loaded when it is first needed.

    Raises:
        Configuration: it is not.
    """
    if find_spec("profanity_check") is None:
        raise Configuration(
            "`guardrails.toxicity` needs a classifier that is not installed. Install it: "
            "`pip install tidemill[toxicity]`, or set `guardrails.toxicity` to allow."
        )


def _load() -> Score:
    from profanity_check import predict_prob  # noqa: PLC0415 - loads scikit-learn, 120 MB

    return lambda texts: [float(score) for score in predict_prob(texts)]


class ToxicityGuard:
    """Scores texts, in a thread of its own.

    Args:
        min_score: the score (0 to 1) from which on a text is toxic.
        load: loads the classifier, where it is first needed.
    """

    def __init__(self, min_score: float, load: Callable[[], Score] = _load) -> None:
        self._min_score = min_score
        self._load = load
        self._score: Score | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="toxicity")

    async def is_toxic(self, texts: Sequence[str]) -> bool:
        """Whether one of the texts is. Each line is judged by itself, since a long text drowns a short insult."""
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        if not lines:
            return False
        scores = await asyncio.get_running_loop().run_in_executor(self._thread, self.scores, lines)
        return max(scores) >= self._min_score

    def scores(self, texts: list[str]) -> Sequence[float]:
        """The scores of texts, on this thread."""
        if self._score is None:
            self._score = self._load()
        return self._score(texts)

    def close(self) -> None:
        """Ends its thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
