"""What each guardrail finds in one text, to try them out: nothing is asked, masked or written."""

from dataclasses import dataclass

from tidemill.analysis.plain import plain
from tidemill.core.deployment import Task
from tidemill.core.guardrail import Action, Direction, Guardrail
from tidemill.llm.guardrails.finding import Found
from tidemill.llm.guardrails.guards import HOLDING, Guards
from tidemill.llm.guardrails.length import estimated_tokens
from tidemill.llm.guardrails.toxicity import RULE


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something stands, by line and column from 1, and what would follow. It holds nothing of the text."""

    guardrail: Guardrail
    rule: str
    action: Action
    line: int
    column: int
    length: int


async def check_text(guards: Guards, text: str, task: Task, direction: Direction) -> list[Finding]:
    """Everything that the guardrails which need no database find in a text."""
    clear = plain(text)
    finders = guards.finders(task, direction, (Action.FLAG, *HOLDING))
    found = [one for finder in finders.values() for one in finder.find(clear)]
    if guards.presidio is not None:
        found += await guards.presidio.find(clear.text)
    if guards.policy.action(task, Guardrail.INJECTION, direction) is not Action.ALLOW:
        for some in await guards.injection.find([text]):
            found += some
    most = guards.settings.length.max_input_tokens
    if direction is Direction.INPUT and most is not None and estimated_tokens(text) > most:
        found.append(Found(Guardrail.LENGTH, "too-long", 0, len(clear.text)))
    judged = guards.policy.action(task, Guardrail.TOXICITY, direction) is not Action.ALLOW
    if judged and guards.toxicity is not None and await guards.toxicity.is_toxic([text]):
        found.append(Found(Guardrail.TOXICITY, RULE, 0, len(clear.text)))
    findings = []
    for one in sorted(found, key=lambda one: (one.start, one.guardrail)):
        start, end = clear.span(one.start, one.end)
        line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
        action = guards.policy.action(task, one.guardrail, direction)
        findings.append(Finding(one.guardrail, one.rule, action, line, column, end - start))
    return findings
