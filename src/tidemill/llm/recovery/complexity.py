"""How hard a request looks, from its text alone: what `by_complexity` routes by."""

import re
from collections.abc import Iterable

from tidemill.analysis.classification import texts_in
from tidemill.core.chat import ModelRequest, TextRequest

LENGTH_WEIGHT, DEPTH_WEIGHT, CONSTRUCTS_WEIGHT = 0.3, 0.4, 0.3
"""How the three signals add up; nesting counts most, since it is what small models lose track of."""
LONG = 4000
"""Characters at which the length counts half."""
DEEP = 8
"""Levels of nesting from which on the depth counts whole."""
MANY = 15
"""Constructs at which their number counts half."""
MOST_READ = 100_000
"""Characters that are read; by then the length counts whole anyway."""
CONSTRUCTS = re.compile(
    r"\b(?:if|elif|else|for|foreach|while|switch|case|match|try|catch|except|finally|raise|throw|async|await|yield|"
    r"lambda|class|struct|interface|trait|impl|template|typename|macro|unsafe|goto|select|join|union|where|group by)\b"
    r"|=>|->|&&|\|\||\?\?|::",
    re.IGNORECASE,
)
BRACKETS = re.compile(r"[()\[\]{}]")
INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


def complexity(request: ModelRequest) -> float:
    """From 0 (trivial) to 1: 0.3 of the length, 0.4 of the deepest nesting, 0.3 of the constructs.

    The length and the number of constructs (branches, loops, handlers, types, operators such as `=>`) each count
    `n / (n + half)`, so that they approach 1 slowly; the depth counts `depth / 8`, and 1 from there on. The depth is
    the deeper one of open brackets and of indentation (four columns a level). Prose has few constructs and no nesting,
    so that it is judged by its length alone. All texts of the request are read, up to 100,000 characters.
    """
    text = "\n".join(_texts(request))[:MOST_READ]
    length = len(text) / (len(text) + LONG)
    depth = min(1.0, nesting(text) / DEEP)
    found = sum(1 for _ in CONSTRUCTS.finditer(text))
    return LENGTH_WEIGHT * length + DEPTH_WEIGHT * depth + CONSTRUCTS_WEIGHT * found / (found + MANY)


def nesting(text: str) -> int:
    """The deepest nesting: brackets that are open at once, or levels of indentation."""
    depth = deepest = 0
    for bracket in BRACKETS.finditer(text):
        depth = depth + 1 if bracket.group() in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    indent = max((len(found.group(1).expandtabs(4)) // 4 for found in INDENT.finditer(text)), default=0)
    return max(deepest, indent)


def _texts(request: ModelRequest) -> Iterable[str]:
    if isinstance(request, TextRequest):
        return (request.prompt, request.suffix or "")
    return (text for message in request.messages for text in texts_in(message.get("content")))
