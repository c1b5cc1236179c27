"""What the prompt that asks whether a person should look at a hunk is filled with."""

from tidemill.core.change import Hunk
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.fences import fenced, numbered, one_line
from tidemill.llm.prompts.template import PromptTemplate

NAME = "review.necessity"
YES, NO = "yes", "no"
MAX_TOKENS = 1
"""The probabilities of the first token are all that is read."""


def build(prompt: PromptTemplate, hunk: Hunk) -> list[JsonObject]:
    """The messages that ask whether a person should look at a hunk."""
    values = {"path": one_line(hunk.path), "change": fenced(numbered(hunk))}
    return prompt.render({name: value for name, value in values.items() if name in prompt.variables})
