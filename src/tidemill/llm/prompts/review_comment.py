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

All of these were made with the file's line numbers in the prompt. Since lines are counted from the hunk's first, and a
name is asked for, docs/review.md has the figures.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.analysis.secrets import mask
from tidemill.analysis.syntax import Definition
from tidemill.core.change import Hunk, LineKind
from tidemill.core.finding import Finding
from tidemill.core.guidelines import Guideline
from tidemill.core.hunk_context import Excerpt, ExcerptRole
from tidemill.core.json import Json, JsonObject
from tidemill.core.review_brief import EarlierComment, Stated
from tidemill.llm.prompts.fences import CUT, cut, fenced, line_in, numbered, one_line, quoted, shown_lines
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
_DEFINITION_CHARACTERS = 500
_STATED_CHARACTERS = 500
_GUIDELINE_CHARACTERS = 600
_CONTEXT_CHARACTERS = 1600
_EARLIER_CHARACTERS = 400
_FINDINGS = 3
_EARLIER = 3
_LISTED_LINES = 200
"""A grammar with a choice for each of more lines than this costs more than it holds."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a model is told beside a hunk. All of it is data.

    Attributes:
        definition: the definition around the hunk; its lines are left out where the hunk shows them.
        known: what engines found, so that the model says something else.
        stated: what the author says of the change.
        guidelines: what the repository asks of changes to this file.
        excerpts: other code that the hunk touches: what it calls, who calls it.
        earlier: what people said of this file. What Tidemill said itself is not told: a comment that is said again is
            found out afterwards, and the prompt, hence the answer, stays the same from push to push.
    """

    definition: Definition | None = None
    known: Sequence[Finding] = ()
    stated: Stated = field(default_factory=Stated)
    guidelines: Sequence[Guideline] = ()
    excerpts: Sequence[Excerpt] = ()
    earlier: Sequence[EarlierComment] = ()


def build(prompt: PromptTemplate, hunk: Hunk, beside: Beside | None = None) -> list[JsonObject]:
    """The messages that ask for comments on a hunk. Credentials are masked.

    A team's own prompt that was set before a variable was added is filled in without it.
    """
    beside = beside or Beside()
    outline = outline_of(beside.definition, hunk)
    around = beside.definition if outline else None
    people = [one.text for one in beside.earlier if not one.own and one.path == hunk.path]
    values = {
        "path": one_line(hunk.path),
        "kind": around.kind if around else "",
        "name": one_line(around.name) if around else "",
        "outline": fenced(outline) if outline else "",
        "known": _known(hunk, beside.known),
        "stated": _stated(beside.stated),
        "guidelines": quoted("\n".join(_advice(one) for one in beside.guidelines), _GUIDELINE_CHARACTERS),
        "context": quoted("\n".join(_excerpt(one) for one in beside.excerpts), _CONTEXT_CHARACTERS),
        "earlier": quoted("\n".join(f"- {one_line(text)}" for text in people[:_EARLIER]), _EARLIER_CHARACTERS),
        "change": fenced(numbered(hunk)),
    }
    return prompt.render({name: value for name, value in values.items() if name in prompt.variables})


def _stated(stated: Stated) -> str:
    parts = (("", stated.title), ("", stated.description), ("Issue: ", stated.issue))
    return quoted("\n".join(f"{head}{text.strip()}" for head, text in parts if text.strip()), _STATED_CHARACTERS)


def _excerpt(excerpt: Excerpt) -> str:
    """Without line numbers, which change from push to push. The enclosing definition has a place of its own."""
    if excerpt.role is ExcerptRole.ENCLOSING:
        return ""
    return f"# {excerpt.role.value}: {one_line(excerpt.name)} in {one_line(excerpt.path)}\n{excerpt.text}"


def _advice(guideline: Guideline) -> str:
    head = f"{guideline.title}: " if guideline.title else ""
    return f"- {head}{' '.join(guideline.text.split())}"


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
    shown = [line.new for line in shown_lines(hunk) if line.kind is LineKind.ADDED and line.new is not None]
    numbers = [line_in(hunk, line) for line in shown]
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


def outline_of(definition: Definition | None, hunk: Hunk) -> str:
    """The definition's lines before the hunk: its signature and what leads to the change. Empty for none."""
    if definition is None or definition.start >= hunk.new_start:
        return ""
    lines = definition.text.split("\n")[: hunk.new_start - definition.start]
    text = "\n".join(cut(mask(line)) for line in lines)
    return text if len(text) <= _DEFINITION_CHARACTERS else f"{text[:_DEFINITION_CHARACTERS]}{CUT}"


def _known(hunk: Hunk, findings: Sequence[Finding]) -> str:
    lines = {line.new for line in hunk.added}
    known = [finding for finding in findings if finding.path == hunk.path and finding.line in lines]
    return "; ".join(f"line {line_in(hunk, finding.line)}: {one_line(finding.title)}" for finding in known[:_FINDINGS])
