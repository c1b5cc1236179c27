"""What the prompt for lines that mend a finding is filled with, and the grammar of the answer."""

from collections.abc import Sequence

from tidemill.core.change import Hunk
from tidemill.core.finding import Finding
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.fences import fenced, line_in, numbered, one_line, quoted
from tidemill.llm.prompts.review_comment import MAX_MESSAGE, Beside, outline_of
from tidemill.llm.prompts.template import PromptTemplate

NAME = "review.refine"
MAX_TOKENS = 260
MAX_LINES = 12
_LONGEST_LINE = 200


def build(prompt: PromptTemplate, hunk: Hunk, finding: Finding, beside: Beside) -> list[JsonObject]:
    """The messages that ask for lines which mend a finding in a hunk."""
    values = {
        "path": one_line(hunk.path),
        "outline": fenced(outline) if (outline := outline_of(beside.definition, hunk)) else "",
        "change": fenced(numbered(hunk)),
        "line": line_in(hunk, finding.line),
        "quote": one_line(finding.quote.strip()),
        "finding": quoted(finding.message, MAX_MESSAGE),
    }
    return prompt.render({name: value for name, value in values.items() if name in prompt.variables})


def json_schema(hunk: Hunk, replaceable: Sequence[int]) -> JsonObject:
    """The answer's JSON schema.

    Args:
        hunk: the hunk that the prompt shows.
        replaceable: the lines of the new side that may be replaced.
    """
    numbers: JsonObject = {"enum": [line_in(hunk, line) for line in replaceable]}
    return {
        "type": "object",
        "properties": {
            "first": numbers,
            "last": numbers,
            "lines": {"type": "array", "items": {"type": "string", "maxLength": _LONGEST_LINE}, "maxItems": MAX_LINES},
        },
        "required": ["first", "last", "lines"],
        "additionalProperties": False,
    }
