"""What stands in the place of what was masked."""

import re

from tidemill.core.guardrail import Guardrail
from tidemill.llm.guardrails.finding import Found

_LABELS = {
    Guardrail.SECRETS: "SECRET",
    Guardrail.INJECTION: "INJECTION",
    Guardrail.TOPICS: "TOPIC",
    Guardrail.MEMORISED: "MEMORISED",
}
_NOT_WORD = re.compile(r"\W")


class Masks:
    """The placeholders of one request and its answer: the same thing has the same one in both."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._originals: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def placeholder(self, found: Found, value: str) -> str:
        """What stands for a value, such as `[EMAIL_1]`. Spaces, dashes and case make no other value of it."""
        label = _LABELS.get(found.guardrail) or found.rule.upper().replace("-", "_")
        key = (label, _NOT_WORD.sub("", value).casefold())
        if key not in self._names:
            self._counts[label] = self._counts.get(label, 0) + 1
            self._names[key] = f"[{label}_{self._counts[label]}]"
            self._originals[self._names[key]] = value
        return self._names[key]

    def original(self, placeholder: str) -> str | None:
        """What it stands for; `None` where it is no placeholder of this request."""
        return self._originals.get(placeholder)

    def __len__(self) -> int:
        """How many values were masked."""
        return len(self._names)
