"""One model's answer while it is written: its sentences are checked as they are complete."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

from tidemill.core.answer import CheckedSentence, Unsupported
from tidemill.core.chat import ChatChunk, ChatRequest, Usage
from tidemill.core.errors import (
    Configuration,
    ContextTooLong,
    ModelFailed,
    ModelNotFound,
    NotPermitted,
    TidemillError,
    Unavailable,
)
from tidemill.core.served import Served
from tidemill.knowledge.citations import CitationCheck, Piece, claim_of, complete, is_refusal, split
from tidemill.llm.port import ChatModel

SEED = 7
"""With one, an answer is the same for the same input, and so may be given again from the cache."""
NO_ANSWER = (Unavailable, ModelFailed, Configuration, ModelNotFound, NotPermitted, ContextTooLong)
"""Failures after which what was found is shown, with the reason: no model is there, works, or may be told the texts.
Others are the asker's, who has to know of them."""
ROUND_AGAIN = 3
"""Claims that were said already, after which a model goes round in circles and is not heard any further."""
HUB_ITSELF = frozenset({"template", "search"})
"""Fallbacks with which no model has answered."""


@dataclass(slots=True)
class Draft:
    """What has come of an answer.

    Attributes:
        inference_id: of the inference that makes it; `None` while no model was asked.
        sentences: every sentence as it was checked, with the white space before it.
        waiting: sentences that claim nothing, until one follows that does, such as "The steps are:".
        shown: what is kept so far.
        claims: what was said already: a sentence that says the same again is passed over.
        repeated: how many were.
        failure: why the answer broke off, or did not come.
    """

    unsupported: Unsupported
    inference_id: UUID | None = None
    sentences: list[tuple[Piece, CheckedSentence]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    shown: str = ""
    raw: str = ""
    claims: set[str] = field(default_factory=set)
    repeated: int = 0
    failure: TidemillError | None = None
    served: Served | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def by_model(self) -> bool:
        """Whether a model has answered, and not a fallback in its place."""
        return self.served is None or self.served.fallback not in HUB_ITSELF

    @property
    def kept(self) -> list[CheckedSentence]:
        """The sentences that are supported."""
        return [one for _, one in self.sentences if one.supported]

    @property
    def dropped(self) -> list[tuple[Piece, CheckedSentence]]:
        """The claims that are not."""
        return [(piece, one) for piece, one in self.sentences if one.is_claim and not one.supported]

    @property
    def refused(self) -> bool:
        """Whether the model says that the documents do not answer the question."""
        return any(is_refusal(piece.text) for piece, _ in self.sentences)

    def add(self, piece: Piece, checked: CheckedSentence) -> str:
        """Takes a sentence in; returns what of the answer can be shown now."""
        if checked.is_claim and claim_of(piece.text) in self.claims:
            self.repeated += 1
            return ""
        self.claims.add(claim_of(piece.text))
        self.sentences.append((piece, checked))
        gap = piece.gap if piece.gap.strip(" ") else " "
        if not checked.is_claim:
            if is_refusal(piece.text):
                return self._show(gap + checked.text) if self.shown else ""
            self.waiting.append(gap + checked.text)
            return ""
        if checked.supported or self.unsupported is Unsupported.MARK:
            text = "".join([*self.waiting, gap + checked.text])
            self.waiting.clear()
            return self._show(text)
        return ""

    def _show(self, text: str) -> str:
        text = text if self.shown else text.lstrip()
        self.shown += text
        return text


async def drafted(
    chat: ChatModel, request: ChatRequest, check: CitationCheck, draft: Draft, language: str
) -> AsyncGenerator[tuple[str, CheckedSentence], None]:
    """The sentences that can be shown, as they come; `draft` holds what has come, whatever happens to the stream.

    Raises:
        TidemillError: as `ChatModel.stream` does.
    """
    left = ""
    async with aclosing(chat.stream(request)) as chunks:
        async for chunk in chunks:
            draft.served, draft.usage = chunk.served or draft.served, chunk.usage or draft.usage
            text = _text_of(chunk)
            draft.raw += text
            left += text
            if not draft.by_model or not text:
                continue
            pieces, left = complete(left, language)
            async for shown in _shown(check, pieces, draft):
                yield shown
            if draft.repeated >= ROUND_AGAIN:
                return
    if draft.by_model:
        async for shown in _shown(check, split(left, language), draft):
            yield shown


async def _shown(
    check: CitationCheck, pieces: Sequence[Piece], draft: Draft
) -> AsyncGenerator[tuple[str, CheckedSentence], None]:
    if not pieces:
        return
    for piece, checked in zip(pieces, await check.check(pieces), strict=True):
        if text := draft.add(piece, checked):
            yield text, checked


def _text_of(chunk: ChatChunk) -> str:
    choice = chunk.choices[0] if chunk.choices else {}
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, Mapping) else None
    return content if isinstance(content, str) else ""
