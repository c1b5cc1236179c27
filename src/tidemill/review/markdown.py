"""Texts of a repository's choosing, so written that Markdown, HTML and a forge leave them alone."""

import re

_GAP = "\u200b"
_REFERENCE = re.compile(
    r"""(?<=[#!~&])(?=[\w"]) | (?<=[%$])(?=\d) | (?<=:)(?=//) | (?<=@)"""  # numbers, labels, addresses
    r"""| (?<=\bwww)(?=\.) | (?<=\bgh-)(?=\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_COMMIT = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b", re.IGNORECASE)
_COMMAND = re.compile(r"^(\s*)/(?=\w)", re.MULTILINE)


def escape(text: str) -> str:
    """Text that Markdown, HTML and forges leave alone: no mentions, links, images, tags, references or commands of a
    repository's choosing. Forges look for references in what Markdown has made, where a backslash is gone; so a space
    without width parts them."""
    plain = _COMMIT.sub(lambda found: _GAP.join(re.findall(".{1,6}", found[0])), one_line(text))
    plain = without_commands(_REFERENCE.sub(_GAP, plain))
    escapes: dict[str, str | int | None] = {character: f"\\{character}" for character in "\\`*_[]|#!~"}
    escapes |= {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return plain.translate(str.maketrans(escapes))


def without_commands(text: str) -> str:
    """Lines of which none is a command to GitLab, such as `/approve`, which it obeys at the start of one."""
    return _COMMAND.sub(rf"\1{_GAP}/", text)


def code_span(text: str) -> str:
    """A code span that the text can't close, whatever backticks it has, and that stays inside a table's cell."""
    plain = one_line(text).replace("|", "¦") or " "
    longest = _longest_run(plain)
    ticks, pad = "`" * (longest + 1), " " if longest else ""
    return f"{ticks}{pad}{plain}{pad}{ticks}"


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def one_line(text: str) -> str:
    """On one line, and without the control characters that would move a terminal's cursor or reverse its text."""
    return "".join(character if character.isprintable() else " " for character in text)
