"""What the prompt that looks for what speaks against a comment is filled with, and the grammar of the answer.

The reason comes before the verdict, since a model that has to decide first does not weigh.
"""

from tidemill.core.change import Hunk
from tidemill.core.finding import Finding
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.fences import fenced, line_in, numbered, one_line, quoted
from tidemill.llm.prompts.review_comment import MAX_MESSAGE, Beside, outline_of
from tidemill.llm.prompts.template import PromptTemplate

NAME = "review.doubt"
MAX_TOKENS = 120
MAX_REASON = 240
RIGHT, WRONG = "right", "wrong"


def build(prompt: PromptTemplate, hunk: Hunk, comment: Finding, beside: Beside) -> list[JsonObject]:
    """The messages that ask what speaks against a comment on a hunk."""
    values = {
        "path": one_line(hunk.path),
        "outline": fenced(outline) if (outline := outline_of(beside.definition, hunk)) else "",
        "change": fenced(numbered(hunk)),
        "line": line_in(hunk, comment.line),
        "quote": one_line(comment.quote.strip()),
        "comment": quoted(comment.message, MAX_MESSAGE),
    }
    return prompt.render({name: value for name, value in values.items() if name in prompt.variables})


def json_schema() -> JsonObject:
    """The answer's JSON schema."""
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": MAX_REASON},
            "verdict": {"type": "string", "enum": [RIGHT, WRONG]},
        },
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }
