"""One finding as the text of an inline comment."""

from tidemill.core.finding import Finding, Severity, Suggestion
from tidemill.core.pull_request import ForgeKind, Position
from tidemill.review.markdown import code_span, escape, without_commands
from tidemill.review.pull_request_text import trace_lines
from tidemill.review.suggestion_text import offered
from tidemill.review.wording import word

_MARKS = {
    Severity.CRITICAL: "🔴",
    Severity.HIGH: "🟠",
    Severity.MEDIUM: "🟡",
    Severity.LOW: "🔵",
    Severity.INFO: "⚪",
}
_MOST_GITLAB_LINES = 100
"""Above the one that a suggestion is anchored at:
https://docs.gitlab.com/user/project/merge_requests/reviews/suggestions/#multi-line-suggestions"""


def finding_text(
    finding: Finding, language: str, position: Position, forge: ForgeKind = ForgeKind.GITHUB, *, crlf: bool = False
) -> str:
    """Markdown without a mark: what is wrong, how it comes about, and a suggestion if it fits the position.

    Args:
        finding: what is said.
        language: in which it is said.
        position: where the comment stands.
        forge: whose Markdown it is.
        crlf: whether the lines of the file end in CRLF.
    """
    name = code_span(f"{finding.engine}:{finding.rule}")
    lines = [f"{_MARKS[finding.severity]} **{finding.severity.value}** {escape(finding.message)} ({name})"]
    if finding.trace:
        lines += [
            "",
            f"<details><summary>{word(language, 'trace')}</summary>",
            "",
            *trace_lines(finding),
            "",
            "</details>",
        ]
    found = offered(finding)
    if found is not None:
        suggestion, reason = found
        if reason is None:
            lines += ["", *suggestion_lines(suggestion, language, position, forge, crlf=crlf)]
        else:
            lines += ["", *_proposal_lines(suggestion, language, reason)]
    return "\n".join(lines)


def suggestion_lines(
    suggestion: Suggestion,
    language: str,
    position: Position,
    forge: ForgeKind = ForgeKind.GITHUB,
    *,
    crlf: bool = False,
) -> list[str]:
    """A block that the forge can apply where it was checked and the comment stands on its very lines; else text."""
    if not {"applies", "parses"} <= set(suggestion.verified):
        return [word(language, "suggestion"), "", *_block("text", suggestion)]
    head = _head(suggestion, position, forge, crlf=crlf)
    if head is None:
        return [word(language, "by_hand", lines=_numbers(suggestion)), "", *_block("text", suggestion)]
    return _block(head, suggestion)


def _head(suggestion: Suggestion, position: Position, forge: ForgeKind, *, crlf: bool) -> str | None:
    """What stands behind the fence of a block that the forge applies to these lines; `None` where it has no such."""
    above = suggestion.end - suggestion.start
    if forge is ForgeKind.GITEA or (suggestion.start, suggestion.end) != (position.start, position.end):
        return None
    if forge is not ForgeKind.GITLAB:
        return "suggestion"
    if without_commands(suggestion.text) != suggestion.text:
        return None  # GitLab could take a line of the block for a command to itself
    mixed = crlf and "\n" in suggestion.text  # GitLab ends the last line as it was, and those before it in LF
    return None if mixed or above > _MOST_GITLAB_LINES else f"suggestion:-{above}+0"


def _proposal_lines(suggestion: Suggestion, language: str, reason: str) -> list[str]:
    """Lines that could not be checked in full, folded, with the reason."""
    return [
        f"<details><summary>{word(language, 'suggestion')}</summary>",
        "",
        word(language, "unchecked", lines=_numbers(suggestion), reason=escape(reason)),
        "",
        *_block("text", suggestion),
        "",
        "</details>",
    ]


def _numbers(suggestion: Suggestion) -> str:
    same = suggestion.start == suggestion.end
    return f"{suggestion.start}" if same else f"{suggestion.start}–{suggestion.end}"


def _block(head: str, suggestion: Suggestion) -> list[str]:
    fence = "`" * max(3, _longest_run(suggestion.text) + 1)
    text = without_commands(suggestion.text) if head == "text" else suggestion.text
    return [f"{fence}{head}", *([text] if text else []), fence]


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
