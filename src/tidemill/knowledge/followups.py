"""Follow-up questions: which of them can't be understood by themselves, and what they ask when put in full."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tidemill.core.chat import ChatRequest, Usage
from tidemill.core.context import Asker
from tidemill.core.deployment import Deployment
from tidemill.core.ids import new_id
from tidemill.core.served import Served
from tidemill.knowledge.drafting import HUB_ITSELF, NO_ANSWER, SEED
from tidemill.knowledge.grounding.words import words_of
from tidemill.knowledge.questions import Question
from tidemill.knowledge.texts import REWRITE, rewrite_messages
from tidemill.llm.port import ChatModel
from tidemill.llm.prompts.shipped import Prompts

REWRITE_TOKENS = 96
LONGEST_REWRITE = 500
ENOUGH_WORDS = 3
"""Words with a meaning, and numbers, of a question that says by itself what it is about."""
_REFERRING = re.compile(
    r"\b(?:it|its|he|she|him|his|her|hers|they|them|their|this|that|these|those|ones|same|others?|former|latter|such|"
    r"both|else|also|too|instead|again|previous|above)\b"
    r"|\b(?:nó|đó|này|ấy|kia|họ|vậy|đấy|thế|nữa|trên đây|nói trên|ở trên)\b"
    r"|\A\W*(?:and|or|but|so|then|what about|how about|còn|vậy|thì|nhưng|và|hay|thế)\b",
    re.IGNORECASE,
)
_HOW = re.compile(r"\b(?:như )?thế nào\b", re.IGNORECASE)
"""Vietnamese for "how", which refers to nothing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A question that stands alone, and what it took to write it: no usage where no model has answered."""

    text: str
    usage: Usage | None = None
    served: Served | None = None


def stands_alone(text: str) -> bool:
    """Whether a question can be understood without what was said before, as far as its words show."""
    plain = _HOW.sub(" ", text)
    words = words_of(plain)
    return _REFERRING.search(plain) is None and len(words.terms) + len(words.numbers) >= ENOUGH_WORDS


class FollowUps:
    """Puts follow-up questions in full.

    Args:
        chat: the model port.
        deployment: what serves the task `answer`.
        prompts: what the model is asked with.
    """

    def __init__(self, chat: ChatModel, deployment: Callable[[], Awaitable[Deployment]], prompts: Prompts) -> None:
        self._chat = chat
        self._deployment = deployment
        self._prompts = prompts

    async def standing_alone(self, question: Question, text: str, language: str, asker: Asker) -> Rewritten:
        """The question as one that can be understood, and searched for, by itself.

        A model is asked only where something was said before that the question needs; where it writes nothing of use,
        the question before stands in front of this one.
        """
        if not question.history or stands_alone(text):
            return Rewritten(text)
        prompt = self._prompts.current(REWRITE, language)
        try:
            deployment = replace(await self._deployment(), prompt_version=prompt.version)
            request = ChatRequest(
                model=deployment.model,
                messages=rewrite_messages(prompt, question.history, text, language),
                options={"temperature": 0, "max_tokens": REWRITE_TOKENS, "seed": SEED, "stop": ["\n"]},
                context=asker.context(new_id(), deployment),
            )
            completion = await self._chat.complete(request)
        except NO_ANSWER as error:
            log.warning("A follow-up question is searched for with the one before it. %s", error.message)
            return Rewritten(_joined(question, text))
        served = completion.served
        if served is not None and served.fallback in HUB_ITSELF:
            return Rewritten(_joined(question, text), completion.usage, served)
        line = _line_of(completion.text, question, text)
        return Rewritten(line or _joined(question, text), completion.usage, served)


def _line_of(said: str, question: Question, text: str) -> str | None:
    """The first line of what the model said, where that can be a question: of words that were said before, and no
    heading such as small models repeat."""
    line = next((one for line in said.splitlines() if (one := line.strip(" \"'`*"))), "")
    if not line or len(line) > LONGEST_REWRITE or line.endswith(":"):
        return None
    known = {term for one in (text, *(turn.content for turn in question.history)) for term in words_of(one).terms}
    return line if known.intersection(words_of(line).terms) else None


def _joined(question: Question, text: str) -> str:
    """The question behind the last one that was asked before it."""
    before = next((one.content.strip() for one in reversed(question.history) if one.role == "user"), "")
    return f"{before} {text}" if before and len(before) <= LONGEST_REWRITE else text
