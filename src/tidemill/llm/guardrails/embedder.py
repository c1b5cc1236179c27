"""A wrapper of the embedding port: texts are read before they become vectors; what is found is masked or refused."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from tidemill.analysis.plain import plain
from tidemill.core.clock import Clock
from tidemill.core.embedding import EmbeddingRequest, Embeddings
from tidemill.core.errors import TidemillError
from tidemill.core.guardrail import Action, Direction, Guardrail, GuardrailEvent
from tidemill.llm.embeddings import Embedder
from tidemill.llm.guardrails.finding import Found
from tidemill.llm.guardrails.guards import HOLDING, Guards
from tidemill.llm.guardrails.ledger import Ledger
from tidemill.llm.guardrails.masks import Masks
from tidemill.llm.guardrails.passing import TextInPassing, edited, find_all, together
from tidemill.store.guardrails import GuardrailRepository

IN = Direction.INPUT
LARGE = 20_000
"""Characters from which on texts are read in a thread, so that no other request waits."""


class GuardedEmbedder:
    """Reads texts for credentials, personal data and blocked topics; a vector takes no orders and says nothing.

    The placeholders of each text are counted by themselves, so that a text has the same vector whatever came with it.

    Args:
        inner: the model that gives vectors, cached ones included.
        guards: the guardrails.
        events: where rows about findings go.
        clock: gives their time.
        observe: is told of each row; the metrics are one.
    """

    def __init__(
        self,
        inner: Embedder,
        guards: Guards,
        events: GuardrailRepository,
        *,
        clock: Clock,
        observe: Callable[[GuardrailEvent], None] = lambda event: None,
    ) -> None:
        self._inner = inner
        self._guards = guards
        self._events = events
        self._clock = clock
        self._observe = observe

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As the port says; raises `ContentRefused` for what a guardrail does not let pass."""
        if request.context is None:
            raise TidemillError("A request for embeddings reached the guardrails without saying who asks.")
        ledger = Ledger(request.context, self._guards.policy)
        try:
            texts = [
                _edited(text, some, ledger)
                for text, some in zip(request.texts, await self._found(request.texts, ledger), strict=True)
            ]
        finally:
            if events := ledger.events(self._clock):
                await self._events.add(events)
                for event in events:
                    self._observe(event)
        return await self._inner.embed(request if texts == list(request.texts) else replace(request, texts=texts))

    async def _found(self, texts: Sequence[str], ledger: Ledger) -> list[list[Found]]:
        finders = list(self._guards.finders(ledger.task, IN, (Action.FLAG, *HOLDING)).values())
        weigh = _weigh(ledger)

        def read() -> list[list[Found]]:
            return [find_all(plain(text), finders, weigh) for text in texts]

        found = read() if sum(map(len, texts)) <= LARGE else await asyncio.to_thread(read)
        presidio = self._guards.presidio
        if presidio is not None and ledger.action(Guardrail.PRIVACY, IN) is not Action.ALLOW:
            for text, some in zip(texts, found, strict=True):
                some += await presidio.find(plain(text).text)
        return found


def _edited(text: str, found: Sequence[Found], ledger: Ledger) -> str:
    if not found:
        return text
    masks = Masks()

    def decide(one: Found, value: str) -> str | None:
        action = ledger.action(one.guardrail, IN)
        ledger.note(one.guardrail, IN, action, one.rule)
        return masks.placeholder(one, value) if action is Action.MASK else None

    weigh = _weigh(ledger)
    return edited(text, TextInPassing((), decide, weigh=weigh).end(text, together(found, weigh)))


def _weigh(ledger: Ledger) -> Callable[[Found], int]:
    weight = ledger.weight(IN)
    return lambda found: weight(found.guardrail)
