"""What a chat model adds to a search: other wordings of a question, filters that rules did not read, and a second look
at the best passages. It is asked for whoever searches, whose limits and budgets hold."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidemill.core.chat import ChatCompletion, ChatRequest
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.document import DocumentKind, embedded_text
from tidemill.core.errors import ModelFailed
from tidemill.core.ids import new_id
from tidemill.core.json import Json
from tidemill.core.search import Hit
from tidemill.knowledge.packing import pack
from tidemill.knowledge.questions import given_of
from tidemill.llm.cross_encoder import CrossEncoder
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts

REWORD = "knowledge.reword"
RELEVANCE = "knowledge.relevance"
FILTERS = "knowledge.filters"
RERANKED = 10
"""Passages that a model is asked about at most: each is a request of its own."""
MOST_VARIANTS = 3
LONGEST_VARIANT = 300
LONGEST_PASSAGE = 2_000
"""Characters of a passage that the model reads."""
PASSAGE_TOKENS = 3_000
"""More than so many characters have."""
LIKELIEST = 10
"""Tokens whose log-probabilities are asked for; both answers are among them where the model took the question."""
OWN_WORDS = ("template", "search")
"""Fallbacks of a route whose words are the hub's, and no model's."""
_NUMBERED = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model that helps a search.

    Attributes:
        chat: the model port.
        deployment: which model, found anew for each question.
        prompts: what it is asked with.
    """

    chat: ChatModel
    deployment: Callable[[], Awaitable[Deployment]]
    prompts: Prompts

    async def ask(
        self, name: str, values: Mapping[str, object], asker: Asker, options: Mapping[str, Json]
    ) -> ChatCompletion:
        """The model's answer to one prompt."""
        prompt = self.prompts.current(name, asker.language)
        sampling: Mapping[str, Json] = {"temperature": 0.0, "seed": 7, **options}
        deployment = replace(await self.deployment(), prompt_version=prompt.version, sampling=sampling)
        context = asker.context(new_id(), deployment)
        return await self.chat.complete(ChatRequest(deployment.model, prompt.render(values), sampling, context))


class ModelWriter:
    """Asks a chat model for other wordings."""

    def __init__(self, model: AskedModel) -> None:
        self._model = model

    async def variants(self, question: str, asker: Asker) -> Sequence[str]:
        """At most three questions of the same meaning; none where the model writes none."""
        values = {"question": question, "count": MOST_VARIANTS}
        answer = await self._model.ask(REWORD, values, asker, {"max_tokens": 200})
        lines = [_NUMBERED.sub("", line).strip()[:LONGEST_VARIANT] for line in _said(answer).splitlines()]
        return [line for line in dict.fromkeys(lines) if line and line != question][:MOST_VARIANTS]


class ModelFilterReader:
    """Asks a chat model where a question wants to be looked."""

    def __init__(self, model: AskedModel) -> None:
        self._model = model

    async def said(self, question: str, now: datetime, asker: Asker) -> Mapping[str, object]:
        """What the model named, by filter, none of it held to what there is; nothing where it wrote no JSON object."""
        values = {"question": question, "today": now.date().isoformat(), "kinds": ", ".join(DocumentKind)}
        found = _OBJECT.search(_said(await self._model.ask(FILTERS, values, asker, {"max_tokens": 120})))
        try:
            read = json.loads(found[0]) if found else {}
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}


class CrossReranker:
    """Has a cross-encoder read the passages, on this machine.

    Args:
        most: passages that it is given at most.
    """

    def __init__(self, encoder: CrossEncoder, most: int) -> None:
        self.most = most
        self._encoder = encoder

    async def scores(self, question: str, hits: Sequence[Hit], asker: Asker) -> Sequence[float]:
        """How well each passage, with what it stands under, fits the question."""
        del asker  # nothing leaves the hub, and nothing is spent
        return await self._encoder.scores(question, [embedded_text(one.heading or one.title, one.text) for one in hits])


class ModelReranker:
    """Asks a chat model of each passage whether it helps, and takes how sure the model is of `yes`."""

    most = RERANKED

    def __init__(self, model: AskedModel) -> None:
        self._model = model

    async def scores(self, question: str, hits: Sequence[Hit], asker: Asker) -> Sequence[float]:
        """For each passage the probability of `yes` against `no`; 0 for one that holds nothing but orders to a model.

        Raises:
            ModelFailed: the model gives no log-probabilities.
        """
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._score(question, hit, asker.part(number))) for number, hit in enumerate(hits)
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [one.result() for one in asked]

    async def _score(self, question: str, hit: Hit, asker: Asker) -> float:
        given = given_of(hit)
        shown = pack([replace(given, text=given.text[:LONGEST_PASSAGE])], PASSAGE_TOKENS).values(asker.language)
        if not shown:
            return 0.0
        options: Mapping[str, Json] = {"max_tokens": 1, "logprobs": True, "top_logprobs": LIKELIEST}
        answer = await self._model.ask(RELEVANCE, {"question": question, "passage": shown[0]}, asker, options)
        chances = {"yes": 0.0, "no": 0.0}
        for token, chance in _first_token(answer):
            word = token.strip().lower()
            if word in chances:
                chances[word] += chance
        total = sum(chances.values())
        return chances["yes"] / total if total else 0.0


def _said(answer: ChatCompletion) -> str:
    """What the model wrote; nothing where a fallback spoke in its place."""
    return "" if answer.served is not None and answer.served.fallback in OWN_WORDS else answer.text


def _first_token(answer: ChatCompletion) -> list[tuple[str, float]]:
    """The likeliest first tokens with their probabilities, of OpenAI's `logprobs.content[0].top_logprobs`."""
    try:
        found: Any = answer.choices[0]
        likeliest = found["logprobs"]["content"][0]["top_logprobs"]
        return [(str(one["token"]), math.exp(float(one["logprob"]))) for one in likeliest]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelFailed(
            "The model that answers gives no log-probabilities, which reranking needs. Search without `rerank`, "
            "let another model serve the task `answer`, or set up a cross-encoder with `knowledge.reranker.folder`."
        ) from error
