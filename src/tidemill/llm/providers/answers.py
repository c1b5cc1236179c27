"""What the answers of all providers have in common: their end, what a filter held back, and who gave them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

from tidemill.core.chat import ChatChunk, ChatCompletion, ModelRequest
from tidemill.core.failure import Failure
from tidemill.core.json import JsonObject
from tidemill.core.provider import Provider
from tidemill.core.served import Served
from tidemill.llm.openai_wire import too_few_choices, wanted_choices
from tidemill.llm.providers.failures import broken_off, refused

UNSAID = ("role", "index", "finish_reason")
FILTERED = "content_filter"
"""The finish reason, in OpenAI's words, of what a filter held back."""


class Source:
    """Who answers, as it becomes known: a provider says in its answer which model it served."""

    def __init__(self, provider: Provider, request: ModelRequest) -> None:
        self._provider = provider
        self._asked = request.model
        self.model = model_there(provider, request.model)
        self.said: str | None = None

    @property
    def served(self) -> Served:
        """With the version `kind:model`, and after an `@` the model that the provider says it served."""
        exact = f"@{self.said[:128]}" if self.said and self.said != self.model else ""
        return Served(self._provider.name, self._asked, f"{self._provider.kind}:{self.model}{exact}")

    def says(self, model: object) -> None:
        """Takes what an answer has in its field `model`."""
        if isinstance(model, str) and self.said is None:
            self.said = model


def model_there(provider: Provider, name: str) -> str:
    """A model's own name at its provider, of `provider/model`."""
    return name.removeprefix(f"{provider.name}/")


def unfiltered(completion: ChatCompletion, name: str, leaf: Failure = Failure.CONTENT_SAFETY) -> ChatCompletion:
    """The answer, where a filter let anything of it pass.

    Raises:
        ContentRefused: it held back all of it.
    """
    if completion.choices and all(_held_back(choice, "message") for choice in completion.choices):
        raise refused(leaf, name)
    return completion


async def with_ends(
    chunks: AsyncGenerator[ChatChunk, None], request: ModelRequest, source: Source
) -> AsyncGenerator[ChatChunk, None]:
    """The chunks of a stream with who answers on the first and the last one, and the usage on the last one alone.

    What says nothing yet, as the role does, waits for what does: until then another model may take over unnoticed.

    Raises:
        ModelFailed: it ended without a finish reason.
        ContentRefused: a filter held back all of it.
    """
    finished: set[object] = set()
    held: list[ChatChunk] = []
    said, first, usage = False, True, None
    async with aclosing(chunks):
        async for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said = said or not _silent(choice.get("delta") or choice)
                if choice.get("finish_reason"):
                    finished.add(choice.get("index", 0))
                    if choice["finish_reason"] == FILTERED and not said:
                        raise refused(Failure.CONTENT_SAFETY, request.model)
            if chunk.choices:
                plain = chunk.usage is None and chunk.served is None
                held.append(chunk if plain else replace(chunk, usage=None, served=None))
            if said or finished:
                for one in held:
                    yield replace(one, served=source.served) if first else one
                    first = False
                held.clear()
    if not finished:
        raise broken_off(request.model)
    if len(finished) < wanted_choices(request):
        raise too_few_choices(request, len(finished))
    yield ChatChunk([], usage, source.served)


def _held_back(choice: JsonObject, part: str) -> bool:
    return choice.get("finish_reason") == FILTERED and _silent(choice.get(part) or choice)


def _silent(said: object) -> bool:
    return isinstance(said, Mapping) and not any(value for name, value in said.items() if name not in UNSAID)
