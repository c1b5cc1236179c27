"""Prompts as files: Jinja templates with declared variables, known by what they say.

A prompt's source begins with YAML between two lines of `---`: `description`, `variables` (a name and what it is, each)
and `example` (a value for each). After it come messages, each under a line such as `=== system ===`. The messages are
taken apart before anything is put into them, so that a value can't add one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
import yaml
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tidemill.core.errors import InvalidInput
from tidemill.core.json import Json, JsonObject
from tidemill.core.text import storable

NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
LANGUAGES = ("en", "vi")
LARGEST = 100_000
"""Characters of a prompt's source."""
LONGEST = 1_000_000
"""Characters of what comes out of it."""
_SOURCE = re.compile(r"---\n(?P<head>.*?)^---\n(?P<body>.*)", re.DOTALL | re.MULTILINE)
_MESSAGE = re.compile(r"^=== (system|user|assistant) ===$", re.MULTILINE)
_FIELDS = frozenset({"description", "variables", "example"})
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
_FILTERS = frozenset({"capitalize", "default", "dictsort", "first", "items", "join", "last", "length", "list", "lower",
                      "max", "min", "reverse", "sort", "string", "title", "tojson", "trim", "truncate", "unique",
                      "upper"})  # fmt: skip
_PARTS = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.List, nodes.Tuple, nodes.Name,
          nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.For, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand,
          nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Div, nodes.FloorDiv,
          nodes.Filter, nodes.Test, nodes.Keyword)  # fmt: skip
"""Nothing with which a few letters make what no memory holds: no call, `set`, `*`, `**`, `%` or `~`."""
_DEEPEST_LOOPS = 2
_LONGEST_JOINT = 20
_DEEPEST_VALUES = 20


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of one prompt in one language.

    Attributes:
        name: what it is for, such as `review.comment`.
        language: of its texts: `en` or `vi`.
        number: 0 for the one that ships, then 1, 2, … in the order in which a team set them.
        source: the whole text, as above.
        variables: the names that it needs, and what each is.
        example: a value for each of them.
        messages: the roles, and the template of what each says.
    """

    name: str
    language: str
    number: int
    source: str
    description: str
    variables: Mapping[str, str]
    example: Mapping[str, Json]
    messages: tuple[tuple[str, str], ...]

    @property
    def hash(self) -> str:
        """The SHA-256 of its source, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def version(self) -> str:
        """What inferences are stored with: name, language, number, and the beginning of the hash."""
        return f"{self.name}/{self.language}/{self.number}@{self.hash[:12]}"

    def render(self, values: Mapping[str, Any]) -> list[JsonObject]:
        """The messages, with these values in them.

        Raises:
            InvalidInput: a variable has no value, a value no variable, or what comes out is too long.
        """
        if missing := sorted(self.variables.keys() - values.keys()):
            raise InvalidInput(f"The prompt {self.name} needs a value for {', '.join(missing)}.", param="values")
        if unknown := sorted(values.keys() - self.variables.keys()):
            raise InvalidInput(
                f"The prompt {self.name} declares no variable {', '.join(unknown)}. It has: "
                f"{', '.join(self.variables) or 'none'}.",
                param="values",
            )
        left = LONGEST
        said: list[JsonObject] = []
        try:
            for role, text in self.messages:
                pieces = []
                for piece in _compiled(text).generate(values):
                    left -= len(piece)
                    if left < 0:
                        raise InvalidInput(
                            f"The prompt {self.name} comes to over {LONGEST:,} characters.", param="values"
                        )
                    pieces.append(piece)
                said.append({"role": role, "content": "".join(pieces)})
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise InvalidInput(f"The prompt {self.name} can't be filled in: {error}", param="values") from error
        return said


def parse_template(name: str, language: str, source: str, number: int = 0) -> PromptTemplate:
    """A prompt from its source.

    Raises:
        InvalidInput: it is not in the form that this module's documentation gives, uses a variable that it does not
            declare, or its own example does not fill it in. The message says where.
    """
    if not NAME.fullmatch(name) or len(name) > 100:
        raise InvalidInput("A prompt's name has small letters, digits, `_` and dots between.", param="name")
    if language not in LANGUAGES:
        raise InvalidInput(f"A prompt's language is one of {', '.join(LANGUAGES)}.", param="language")
    if len(source) > LARGEST:
        raise InvalidInput(f"A prompt's source has {LARGEST:,} characters at most.", param="source")
    if storable(source) != source:
        raise _unfit("it holds a NUL or half a character")
    source = source.replace("\r\n", "\n")
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise _unfit("it does not begin with YAML between two lines of `---`")
    description, variables, example = _head(found["head"])
    pieces = _MESSAGE.split(found["body"])
    if pieces[0].strip() or len(pieces) < 3:
        raise _unfit("after the second `---` a line such as `=== user ===` has to come first")
    messages = tuple((role, text.strip("\n")) for role, text in zip(pieces[1::2], pieces[2::2], strict=True))
    used = set().union(*(_variables_of(role, text) for role, text in messages))
    if undeclared := sorted(used - variables.keys()):
        raise _unfit(f"it uses {', '.join(undeclared)} and does not declare that under `variables`")
    template = PromptTemplate(name, language, number, source, description, variables, example, messages)
    template.render(example)
    return template


def _head(text: str) -> tuple[str, dict[str, str], dict[str, Json]]:
    try:
        _check_head(text)
        head = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unfit(f"what stands between the lines of `---` is not YAML: {error}") from error
    if not isinstance(head, dict) or not _FIELDS.issuperset(head) or not isinstance(head.get("description"), str):
        raise _unfit("between the lines of `---` stand `description`, `variables` and `example`, and nothing else")
    variables, example = head.get("variables") or {}, head.get("example") or {}
    if not isinstance(variables, dict) or not all(
        isinstance(name, str) and name.isidentifier() and isinstance(told, str) for name, told in variables.items()
    ):
        raise _unfit("`variables` is a table of names, each with what it is")
    if not isinstance(example, dict) or example.keys() != variables.keys():
        raise _unfit("`example` has a value for each of `variables`, and no other")
    try:
        json.dumps(example)
    except (TypeError, ValueError) as error:
        raise _unfit("`example` holds a value that JSON has not, such as a date; quote it") from error
    return head["description"], variables, example


def _check_head(text: str) -> None:
    """Goes on with YAML that is about as large when it is read as when it is written."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_VALUES:
            raise _unfit(f"what stands between the lines of `---` is nested over {_DEEPEST_VALUES} deep")
        if isinstance(event, yaml.AliasEvent):
            raise _unfit("what stands between the lines of `---` refers to another place in it (`*name`)")


def _variables_of(role: str, text: str) -> set[str]:
    try:
        tree = _ENVIRONMENT.parse(text)
        _check_parts(role, tree)
        _compiled(text)
    except jinja2.TemplateSyntaxError as error:
        raise _unfit(f"in the {role}'s message, line {error.lineno}: {error.message}") from error
    except (RecursionError, MemoryError) as error:  # the latter is how Python's parser says the same
        raise _unfit(f"the {role}'s message is nested too deeply") from error
    return set(meta.find_undeclared_variables(tree)) - _ENVIRONMENT.globals.keys()


def _check_parts(role: str, node: nodes.Node, loops: int = 0) -> None:
    """Goes on where all of it is what a prompt may have; before it is compiled, which works constants out."""
    if isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise _unfit("a prompt can't include another")
    if not isinstance(node, _PARTS) or (isinstance(node, nodes.Filter) and not _is_plain(node)):
        what = node.name if isinstance(node, nodes.Filter) else type(node).__name__
        raise _unfit(f"in the {role}'s message, line {node.lineno}: a prompt can't use {what}")
    loops += isinstance(node, nodes.For)
    if loops > _DEEPEST_LOOPS:
        raise _unfit(f"in the {role}'s message, line {node.lineno}: loops stand {_DEEPEST_LOOPS} deep at most")
    for child in node.iter_child_nodes():
        _check_parts(role, child, loops)


def _is_plain(node: nodes.Filter) -> bool:
    """Whether what comes out of a filter is about as long as what goes in."""
    match node.name:
        case "join":
            return not (node.kwargs or node.dyn_args or node.dyn_kwargs) and all(
                isinstance(one, nodes.Const) and len(str(one.value)) <= _LONGEST_JOINT for one in node.args
            )
        case "tojson":
            return not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    return node.name in _FILTERS


@lru_cache(maxsize=256)
def _compiled(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(text)


def _unfit(why: str) -> InvalidInput:
    return InvalidInput(f"This can't be a prompt: {why}.", param="source")
