"""Texts of a repository's choosing, so written that Markdown, HTML and a forge leave them alone."""


def escape(text: str) -> str:
    """Text that Markdown and HTML leave alone: no mentions, links, images or tags of a repository's choosing."""
    escapes: dict[str, str | int | None] = {character: f"\\{character}" for character in "\\`*_[]|#!~"}
    escapes |= {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "@\u200b"}
    return one_line(text).translate(str.maketrans(escapes)).replace("://", ":\u200b//")


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
