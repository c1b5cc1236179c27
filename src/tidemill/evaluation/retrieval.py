"""How well a search finds what answers the questions of a set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tidemill.analysis.retrieval_metrics import ndcg, precision, recall, reciprocal_rank
from tidemill.core.errors import InvalidInput
from tidemill.evaluation.data import LabelledQuestion
from tidemill.evaluation.results import Figures

Told = Callable[[str, int, int], None]
"""Is told what is being done, how many of it are done, and how many there are."""


class DocumentSearch(Protocol):
    """The search that is measured."""

    async def documents(self, question: str, limit: int) -> Sequence[str]:
        """The ids of the documents that it finds, the best first, each once."""
        ...


async def measure(
    search: DocumentSearch, questions: Sequence[LabelledQuestion], k: int, told: Told
) -> Mapping[str, Figures]:
    """The metrics of each question that something answers. Raises as `answerable` does."""
    asked = answerable(questions)
    found: dict[str, Figures] = {}
    for place, question in enumerate(asked):
        told("questions", place, len(asked))
        found[question.id] = figures(await search.documents(question.text, k), question.relevant, k)
    told("questions", len(asked), len(asked))
    return found


def answerable(questions: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
    """The questions that some document answers.

    Raises:
        InvalidInput: there are none, so nothing can be measured.
    """
    asked = [question for question in questions if question.relevant]
    if not asked:
        raise InvalidInput(
            "No document of the set answers any of its questions, so retrieval can't be measured.", param="data"
        )
    return asked


def figures(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> dict[str, float]:
    """The metrics of one ranking. `ndcg` takes the grades as they are, `ndcg_binary` none but 0 and 1."""
    return {
        f"ndcg@{k}": ndcg(ranking, relevant, k),
        f"ndcg_binary@{k}": ndcg(ranking, dict.fromkeys(relevant, 1), k),
        f"recall@{k}": recall(ranking, relevant, k),
        f"mrr@{k}": reciprocal_rank(ranking, relevant, k),
        f"precision@{k}": precision(ranking, relevant, k),
    }
