"""What the prompt for comments on one hunk is filled with, and the grammar of the answer.

Short, because a small model on two cores reads some 60 tokens a second and writes 18: at most about 1,150 tokens in,
of which a server keeps the first 550 from hunk to hunk, and 220 out.

Measured on qwen2.5-coder-0.5b-instruct q4_k_m, temperature 0, with the hunks that are put to a model of six commits of
examples/orders.bundle: nine hunks of the four commits with defects (two of the nine are sound tests), three of two
sound commits. Comments shown (on the sound commits) and not shown; right as one reader judged them; seconds, with
other work on the machine:

    examples: a defect in a language, or none     shown    not shown  right  needs_review of the twelve    s
    Python (version 1, with needs_review added)   3 (0)    9          0      yes for all                  85
    JavaScript, sound, Python (in use)            2 (0)    0          0      yes for 2, both sound tests  52
    sound, Go                                     6 (1)    6          0      yes for all                 133
    none                                          4 (1)    6          0      no for 2, both with defects 165
    sound, JavaScript, Go; of engines the lines  10 (2)    2          0      yes for all                  68
    JavaScript, sound, Go; of engines the lines   4 (2)    0          0      yes for 2 tests, 2 sound     57

"Of engines the lines" gives only the lines of what engines found, not the titles; "sound, Go" without any of it
was stopped after eight hunks, with six comments shown, none of them right. With version 1 three of the nine repeated
the example and six quoted nothing that the change adds, such as the title of an engine's finding. The one in use shows
the fewest wrong comments, and none on a sound commit; what a model of this size adds to the engines here is nothing.

Earlier, with twelve small defects and two correct hunks (comments that name the defect: by matching words / as one
reader judged them), all without needs_review:

    without an example, free to say nothing     it always says that nothing is wrong
    without an example, one comment forced      2 / 0; eleven of fourteen quotes do not stand in the code
    one example                                 4 / 2; quotes hold; both correct hunks get a comment
    one example and the typical defects         6 / 3; the same
    two examples, one of them without a defect  it always says that nothing is wrong
    three examples with a label for each        it repeats the last example (stopped after seven hunks)
    the fourth, repeats of the example refused  4 / 2; eight comments shown in all, one of them on correct code

One run each, so differences of one or two mean little. A comment of a model of this size is a hint.
"""

import json
from collections.abc import Sequence
from typing import Any

from tidemill.analysis.secrets import mask
from tidemill.analysis.syntax import Definition
from tidemill.core.change import Hunk, Line, LineKind
from tidemill.core.finding import Finding
from tidemill.core.json import Json, JsonObject
from tidemill.llm.prompts.template import PromptTemplate

NAME = "review.comment"

MAX_COMMENTS = 1
"""For each hunk. Of a small model, the second comment was never worth reading."""
MAX_TOKENS = 220
"""Of the answer."""
SEVERITIES = ("low", "medium", "high")
CATEGORIES = ("bug", "security", "performance", "error-handling", "readability", "other")
MAX_QUOTE = 120
MAX_MESSAGE = 400
_HUNK_CHARACTERS = 1500
_DEFINITION_CHARACTERS = 500
_LINE_CHARACTERS = 160
_FINDINGS = 3
_LISTED_LINES = 200
"""A grammar with a choice for each of more lines than this costs more than it holds."""
_FENCE = "~~~~"
_CUT = "…"


def build(
    prompt: PromptTemplate, hunk: Hunk, definition: Definition | None, findings: Sequence[Finding] = ()
) -> list[JsonObject]:
    """The messages that ask for comments on a hunk. Credentials in the code are masked.

    Args:
        prompt: the version of the prompt that the deployment names.
        hunk: its lines are numbered as on the new side.
        definition: the definition around the hunk, for context; left out where the hunk shows all of it.
        findings: what engines found on these lines already, so that the model says something else.
    """
    outline = _outline(definition, hunk) if definition is not None else ""
    around = definition if outline else None
    return prompt.render(
        {
            "path": _one_line(hunk.path),
            "kind": around.kind if around else "",
            "name": _one_line(around.name) if around else "",
            "outline": _fenced(outline) if outline else "",
            "known": _known(hunk, findings),
            "change": _fenced(_numbered(hunk)),
        }
    )


def example_messages(prompt: PromptTemplate) -> list[str]:
    """What the answers in the prompt's examples say, so that a model which repeats one is found out."""
    answers = [_json(text) for role, text in prompt.messages if role == "assistant"]
    comments = [one for answer in answers if isinstance(answer, dict) for one in answer.get("comments", [])]
    return [str(one["message"]) for one in comments if isinstance(one, dict) and "message" in one]


def _json(text: str) -> Any:
    """The example's JSON; one that is none, in a prompt of a team's own, says nothing that could be repeated."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def json_schema(hunk: Hunk) -> JsonObject:
    """The answer's JSON schema: the only lines that can be named are those that the hunk adds and the prompt shows."""
    numbers = [line.new for line in _shown(hunk) if line.kind is LineKind.ADDED and line.new is not None]
    line: dict[str, Json] = {"type": "integer"}
    if 0 < len(numbers) <= _LISTED_LINES:
        line = {"enum": numbers}
    elif numbers:
        line |= {"minimum": min(numbers), "maximum": max(numbers)}
    fields: dict[str, Json] = {
        "line": line,
        "quote": {"type": "string", "maxLength": MAX_QUOTE},
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "category": {"type": "string", "enum": list(CATEGORIES)},
        "message": {"type": "string", "maxLength": MAX_MESSAGE},
    }
    comment: dict[str, Json] = {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "needs_review": {"type": "boolean"},
            "comments": {"type": "array", "items": comment, "maxItems": MAX_COMMENTS},
        },
        "required": ["needs_review", "comments"],
        "additionalProperties": False,
    }


def _numbered(hunk: Hunk) -> str:
    """`12 + text` for an added line, `   - text` for a removed one, `12   text` for context."""
    shown = _shown(hunk)
    marks = {LineKind.ADDED: "+", LineKind.REMOVED: "-", LineKind.CONTEXT: " "}
    rows = [f"{line.new or '':>4} {marks[line.kind]} {_cut(mask(line.text))}" for line in shown]
    left = len(hunk.lines) - len(shown)
    return "\n".join([*rows, f"{_CUT} {left} more lines"] if left else rows)


def _shown(hunk: Hunk) -> list[Line]:
    """The hunk's first lines, as many as there is room for."""
    shown: list[Line] = []
    room = _HUNK_CHARACTERS
    for line in hunk.lines:
        room -= min(len(line.text), _LINE_CHARACTERS) + 8
        if room < 0 and shown:
            break
        shown.append(line)
    return shown


def _outline(definition: Definition, hunk: Hunk) -> str:
    """The definition's lines before the hunk: its signature and what leads to the change."""
    if definition.start >= hunk.new_start:
        return ""
    lines = definition.text.split("\n")[: hunk.new_start - definition.start]
    text = "\n".join(_cut(mask(line)) for line in lines)
    return text if len(text) <= _DEFINITION_CHARACTERS else f"{text[:_DEFINITION_CHARACTERS]}{_CUT}"


def _known(hunk: Hunk, findings: Sequence[Finding]) -> str:
    lines = {line.new for line in hunk.added}
    known = [finding for finding in findings if finding.path == hunk.path and finding.line in lines]
    return "; ".join(f"line {finding.line}: {_one_line(finding.title)}" for finding in known[:_FINDINGS])


def _fenced(text: str) -> str:
    """Data between fences that it can't close."""
    return f"{_FENCE}\n{text.replace(_FENCE, '~ ~ ~ ~')}\n{_FENCE}"


def _one_line(text: str) -> str:
    return _cut("".join(character if character.isprintable() else " " for character in text))


def _cut(text: str) -> str:
    return text if len(text) <= _LINE_CHARACTERS else f"{text[: _LINE_CHARACTERS - 1]}{_CUT}"
