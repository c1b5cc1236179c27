"""What the prompts of recovery are filled with: the note to a model whose provider's filter held an answer back, and
what the hub itself says when no model answers.
"""

from collections.abc import Sequence

from tidemill.core.context import Passage
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.template import PromptTemplate

SAFER = "recovery.safer"
APOLOGY = "recovery.apology"
DECLINED = "recovery.declined"
"""Where models were there, and would not answer this."""
FOUND = "recovery.found"


def safer_messages(prompt: PromptTemplate, messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same conversation, with a note that asks to keep within the provider's policy."""
    place = next((i for i, message in enumerate(messages) if message.get("role") not in ("system", "developer")), 0)
    return [*messages[:place], *prompt.render({}), *messages[place:]]


def said(prompt: PromptTemplate, passages: Sequence[Passage] | None = None) -> str:
    """The text with which the hub answers; with the passages themselves, each with its source, where some are given."""
    values = {} if passages is None else {"passages": [{"reference": p.reference, "text": p.text} for p in passages]}
    return "\n\n".join(str(one["content"]) for one in prompt.render(values))
