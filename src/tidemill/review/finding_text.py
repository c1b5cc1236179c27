"""One finding as the text of an inline comment."""

from tidemill.core.finding import Finding, Severity, Suggestion
from tidemill.core.pull_request import Position
from tidemill.review.markdown import code_span, escape
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


def finding_text(finding: Finding, language: str, position: Position) -> str:
    """Markdown without a mark: what is wrong, how it comes about, and a suggestion if it fits the position."""
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
        lines += ["", *suggestion_lines(found[0], language, position, checked=found[1] is None)]
    return "\n".join(lines)


def suggestion_lines(suggestion: Suggestion, language: str, position: Position, *, checked: bool = True) -> list[str]:
    """A block that the forge can apply where it was checked and the comment stands on its very lines; else text."""
    fence = "`" * max(3, _longest_run(suggestion.text) + 1)
    text = [suggestion.text] if suggestion.text else []
    fits = (suggestion.start, suggestion.end) == (position.start, position.end)
    if checked and fits and "applies" in suggestion.verified and "parses" in suggestion.verified:
        return [f"{fence}suggestion", *text, fence]
    return [word(language, "suggestion"), "", f"{fence}text", *text, fence]


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
