"""Lines that mend a finding, as a person reads them outside of a forge."""

from collections.abc import Mapping

from tidemill.core.finding import Finding, Suggestion
from tidemill.core.json import Json, JsonObject
from tidemill.review.markdown import one_line


def offered(finding: Finding) -> tuple[Suggestion, str | None] | None:
    """What is offered for a finding: checked lines, or lines to be read with the reason why they are that alone."""
    if finding.suggestion is not None:
        return finding.suggestion, None
    proposal = finding.details.get("proposal")
    if not isinstance(proposal, Mapping):
        return None
    verified = proposal.get("verified")
    suggestion = Suggestion(
        start=_number(proposal.get("start")),
        end=_number(proposal.get("end")),
        text=str(proposal.get("text", "")),
        verified=tuple(str(one) for one in verified) if isinstance(verified, list | tuple) else (),
        replaces=str(proposal.get("replaces", "")),
    )
    return suggestion, str(proposal.get("reason") or "it could not be checked")


def diff_lines(finding: Finding) -> list[str]:
    """What is offered, as a diff under a heading; empty where nothing is."""
    found = offered(finding)
    if found is None:
        return []
    suggestion, reason = found
    lines = f"{suggestion.start}" if suggestion.start == suggestion.end else f"{suggestion.start}-{suggestion.end}"
    checked = (
        f"checked: {', '.join(suggestion.verified)}" if reason is None else f"not to be applied as it is: {reason}"
    )
    old = suggestion.replaces.split("\n") if suggestion.replaces else []
    new = suggestion.text.split("\n") if suggestion.text else []
    return [
        f"mend line{'' if suggestion.start == suggestion.end else 's'} {lines} ({one_line(checked)}):",
        *(f"- {_code(line)}" for line in old),
        *(f"+ {_code(line)}" for line in new),
    ]


def sarif_fix(finding: Finding, uri: str) -> JsonObject | None:
    """A `fix` object of SARIF 2.1.0 (section 3.55); `None` where there are no checked lines."""
    suggestion = finding.suggestion
    if suggestion is None:
        return None
    region: dict[str, Json] = {"startLine": suggestion.start, "startColumn": 1, "endLine": suggestion.end}
    if not suggestion.text:
        region |= {"endLine": suggestion.end + 1, "endColumn": 1}
    replacement: JsonObject = {"deletedRegion": region, "insertedContent": {"text": suggestion.text}}
    return {
        "description": {"text": f"Checked: {', '.join(suggestion.verified)}."},
        "artifactChanges": [{"artifactLocation": {"uri": uri}, "replacements": [replacement]}],
    }


def _code(line: str) -> str:
    """With its tabs as they are, and nothing else that a terminal would obey."""
    return "\t".join(one_line(part) for part in line.split("\t"))


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
