"""Settings of guardrails that are refused, and what holds for each task."""

import pytest
from pydantic import ValidationError

from tidemill.core.deployment import Task
from tidemill.core.guardrail import Action, Direction, Guardrail
from tidemill.llm.guardrails.policy import Policy
from tidemill.settings.guardrails import GuardrailSettings


def topics(*patterns: str) -> GuardrailSettings:
    return GuardrailSettings.model_validate({"topics": {"lists": {"one": {"patterns": patterns}}}})


@pytest.mark.parametrize(
    "pattern",
    [
        "a*", "(a+)+", "(a{1,9}){1,9}", "(a|b)*", ".{0,50}.{0,50}", r"(a)\1", "(?=a)b", "(?<!a)b", "a{2,}", "(",
        "a" * 501, r"(?P<x>a)(?P=x)", "[a]*", r"\w+", "a?" * 20 + "a" * 20 + "b",
        "(?:a|a)" * 20 + "b",
    ],
)  # fmt: skip
def test_a_pattern_that_can_take_too_long_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        topics(pattern)


@pytest.mark.parametrize(
    "pattern", [r"\bRR-\d{4}\b", "project (red|blue) river", r"a\*b", "[*+]x", "colou?r", r"x\s{0,3}y"]
)
def test_an_ordinary_pattern_is_taken(pattern: str) -> None:
    assert topics(pattern).topics.lists["one"].patterns == [pattern]


@pytest.mark.parametrize(
    "settings",
    [
        {"toxicity": {"input": "mask"}},
        {"memorised": {"output": "mask"}},
        {"privacy": {"input": "delete"}},
        {"tasks": {"no.such.task": {}}},
        {"topics": {"lists": {"one": {"phrases": [" "]}}}},
        {"length": {"max_input_tokens": 0}},
    ],
)
def test_what_a_guardrail_cannot_do_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GuardrailSettings.model_validate(settings)


def test_a_task_overrides_what_it_names_and_nothing_else() -> None:
    policy = Policy(
        GuardrailSettings.model_validate(
            {"privacy": {"input": "mask"}, "tasks": {"review.comment": {"privacy_input": "allow"}}}
        )
    )
    assert policy.action(Task.CHAT, Guardrail.PRIVACY, Direction.INPUT) is Action.MASK
    assert policy.action(Task.REVIEW_COMMENT, Guardrail.PRIVACY, Direction.INPUT) is Action.ALLOW
    assert policy.action(Task.REVIEW_COMMENT, Guardrail.SECRETS, Direction.OUTPUT) is Action.MASK
    assert policy.action(Task.CHAT, Guardrail.INJECTION, Direction.OUTPUT) is Action.ALLOW
    assert not policy.asks(Guardrail.TOXICITY)
