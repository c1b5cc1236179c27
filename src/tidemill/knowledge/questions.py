"""What is asked, by whom it can be searched for, and what makes a question one that can't be answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from tidemill.core.answer import Given
from tidemill.core.classification import Level
from tidemill.core.context import Asker
from tidemill.core.errors import InvalidInput, TooLarge
from tidemill.core.search import Filters, Hit, Reader
from tidemill.core.text import storable
from tidemill.knowledge.grounding.words import is_vietnamese
from tidemill.settings.knowledge import AnswerSettings

LONGEST_TURN = 20_000


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was said before the question; `role` is `user` or `assistant`, `level` how sensitive it is."""

    role: str
    content: str
    level: Level = Level.INTERNAL


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the documents.

    Attributes:
        text: as it was asked.
        passages: what the asker brought along; `None` where the documents are searched.
        history: what was said before, oldest first.
        filters: to what the search is narrowed.
        department, access_level: of the asker, to be told to the model, where the asker says so.
        language: of the answer, `en` or `vi`; that of the question where absent.
        conversation_id: of the conversation that it is a part of.
    """

    text: str
    passages: Sequence[Given] | None = None
    history: Sequence[Turn] = ()
    filters: Filters = field(default_factory=Filters)
    department: str | None = None
    access_level: str | None = None
    language: str | None = None
    conversation_id: UUID | None = None


class PassageSearch(Protocol):
    """Finds passages for a question."""

    async def find(self, query: str, reader: Reader, filters: Filters, asker: Asker, *, limit: int) -> Sequence[Hit]:
        """The passages that fit best, best first, among those that exist for this reader; `asker` pays for it."""
        ...


def check_question(question: Question, settings: AnswerSettings) -> str:
    """The question without white space around it.

    Raises:
        InvalidInput: it is empty, or too long; a turn of the history is.
        TooLarge: there are too many passages, or they are too long.
    """
    text = storable(question.text).strip()
    if not any(letter.isalnum() for letter in text):
        raise InvalidInput("There is no question: `query` holds no word.", param="query")
    if len(text) > settings.max_question_characters:
        raise InvalidInput(
            f"The question has {len(text):,} characters, and {settings.max_question_characters:,} are the most. Ask "
            "it in fewer words.",
            param="query",
        )
    if any(len(turn.content) > LONGEST_TURN for turn in question.history):
        raise InvalidInput(
            f"A turn of the history has over {LONGEST_TURN:,} characters. Leave it out, or shorten it.",
            param="conversation_history",
        )
    _check_passages(question.passages or (), settings)
    return text


def _check_passages(passages: Sequence[Given], settings: AnswerSettings) -> None:
    if len(passages) > settings.max_passages:
        raise TooLarge(
            f"`context_chunks` has {len(passages):,} passages, and {settings.max_passages:,} are the most. Send those "
            "that fit best.",
            param="context_chunks",
        )
    size = sum(len(one.text) for one in passages)
    if size > settings.max_passage_characters:
        raise TooLarge(
            f"`context_chunks` has {size:,} characters in all, and {settings.max_passage_characters:,} are the most. "
            "Send those that fit best.",
            param="context_chunks",
        )
    if any(not one.text.strip() for one in passages):
        raise InvalidInput("A passage of `context_chunks` has no text. Leave it out.", param="context_chunks")


def language_of_answer(question: Question, text: str) -> str:
    """`vi` or `en`: what the asker wants, else the language of the question."""
    return question.language or ("vi" if is_vietnamese(text) or _is_bare_vietnamese(text) else "en")


def given_of(hit: Hit) -> Given:
    """A passage that a search found, to be answered from."""
    return Given(
        chunk_id=str(hit.chunk_id),
        text=hit.text,
        title=hit.title or hit.path,
        document_id=str(hit.document_id),
        page=hit.page,
        url=hit.url,
        path=hit.path,
        source=hit.source,
        score=hit.scores.fused,
        level=hit.level,
        start=hit.span.start,
    )


_UNMARKED = "khong nhu nao bao nhieu quy trinh duoc phai trong cua nhung cac the lam gi mua nghi phep khi nguoi can thi"
_BARE = frozenset(_UNMARKED.split())
_LEAST_BARE = 0.4


def _is_bare_vietnamese(text: str) -> bool:
    """Whether it is Vietnamese that was typed without marks."""
    words = text.lower().split()
    return len(words) > 3 and sum(word.strip("?,.!") in _BARE for word in words) >= len(words) * _LEAST_BARE
