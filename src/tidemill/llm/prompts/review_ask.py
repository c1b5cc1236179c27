"""What the prompt for a person's question about a change is filled with, and the grammar of the answer."""

from collections.abc import Sequence

from tidemill.core.change import Hunk
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.fences import fenced, numbered, one_line, quoted
from tidemill.llm.prompts.template import PromptTemplate

NAME = "review.ask"
MAX_TOKENS = 400
MAX_ANSWER = 1200
_MAX_QUESTION = 1000


def build(prompt: PromptTemplate, question: str, title: str, hunks: Sequence[Hunk]) -> list[JsonObject]:
    """The messages that ask a question about some hunks."""
    parts = [f"[{number}] {one_line(hunk.path)}\n{fenced(numbered(hunk))}" for number, hunk in enumerate(hunks, 1)]
    values = {
        "title": quoted(title, 200),
        "change": "\n\n".join(parts),
        "question": quoted(question, _MAX_QUESTION),
    }
    return prompt.render({name: value for name, value in values.items() if name in prompt.variables})


def json_schema(hunks: int) -> JsonObject:
    """The answer's JSON schema; sources are the numbers of the hunks that the answer comes from."""
    return {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "maxLength": MAX_ANSWER},
            "sources": {
                "type": "array",
                "items": {"type": "integer", "enum": list(range(1, hunks + 1))},
                "maxItems": hunks,
            },
        },
        "required": ["answer", "sources"],
        "additionalProperties": False,
    }
