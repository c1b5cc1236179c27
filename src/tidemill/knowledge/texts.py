"""What the prompts of answers are filled with."""

from collections.abc import Sequence

from tidemill.core.classification import Level
from tidemill.core.json import JsonObject
from tidemill.knowledge.packing import Packed
from tidemill.knowledge.questions import Question, Turn
from tidemill.llm.prompts.shipped import Prompts
from tidemill.llm.prompts.template import PromptTemplate

ANSWER = "knowledge.answer"
CONTEXTUAL = "knowledge.contextual"
REWRITE = "knowledge.rewrite"
NO_CONTEXT = "knowledge.no_context"
LOW_CONFIDENCE = "knowledge.low_confidence"
SYSTEM_ERROR = "knowledge.system_error"
SPEAKERS = {"en": {"user": "User", "assistant": "Assistant"}, "vi": {"user": "Người dùng", "assistant": "Trợ lý"}}
TURNS = 6
TURN_CHARACTERS = 1000
"""Of each turn as it is shown for rewriting a question."""


def answer_prompt(prompts: Prompts, question: Question, language: str) -> PromptTemplate:
    """The one that tells a model who asks, where that is known."""
    return prompts.current(CONTEXTUAL if question.access_level else ANSWER, language)


def answer_messages(
    prompt: PromptTemplate, question: Question, text: str, packed: Packed, language: str
) -> list[JsonObject]:
    """What the model is asked: rules, passages in a message of their own, and the question as the last message."""
    values: dict[str, object] = {"passages": packed.values(language), "question": text}
    if "access_level" in prompt.variables:
        values |= {
            "department": on_one_line(question.department or "", 200),
            "access_level": question.access_level or "",
        }
    return prompt.render(values)


def rewrite_messages(prompt: PromptTemplate, history: Sequence[Turn], text: str, language: str) -> list[JsonObject]:
    """What a model is asked for a question that stands alone. Of what may not leave the network it says so."""
    names, told = SPEAKERS[language], history[-TURNS:]
    lines = [f"{names.get(one.role, one.role)}: {on_one_line(one.content)}" for one in told]
    level = max((one.level for one in told), key=lambda level: level.rank, default=Level.INTERNAL)
    if level.rank > Level.INTERNAL.rank:
        lines.insert(0, f"classification: {level.value}")
    return prompt.render({"transcript": "\n".join(lines), "question": text})


def template_text(prompts: Prompts, name: str, language: str, **values: object) -> str:
    """A text that the hub says itself."""
    said = prompts.current(name, language).render(values)
    return "\n\n".join(str(one["content"]) for one in said).strip()


def on_one_line(text: str, limit: int = TURN_CHARACTERS) -> str:
    """On one line, so that nothing in it looks like a rule of its own."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[:limit]} […]"
