"""What requests and answers are read for, and what follows."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tidemill.core.deployment import Task
from tidemill.core.guardrail import Action
from tidemill.settings.section import Section, http_url

PlainAction = Literal[Action.ALLOW, Action.FLAG, Action.REFUSE]
"""Of guardrails that judge a text as a whole, and so can mask nothing."""

MOST_REPEATED = 1000
"""Ways in which a pattern's repetitions can be combined at most, which bounds the time that it takes."""
_REPEAT = re.compile(r"(?<!\\)(?:\\\\)*(?:([*+])|\{(\d*)(,?)(\d*)\})")
_OPTIONAL = re.compile(r"(?<![(*+?}])\?")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_GROUP_REPEATED = re.compile(r"(?<!\\)\)(?:[*+]|\{\d*,?\d*\})")
_REFERS = re.compile(r"\\[1-9]|\(\?P=|\(\?[=!<(]")


def _pattern(text: str) -> str:
    """A regular expression whose time is bounded."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    bare = re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "C", re.sub(r"\\.", "E", text))
    if len(text) > 500 or _REFERS.search(text) or _GROUP_REPEATED.search(bare):
        raise ValueError(
            "has over 500 characters, looks around, refers back or repeats a group, which can take too long"
        )
    ways = 2 ** len(_OPTIONAL.findall(bare)) * _choices(bare)
    for star, least, comma, most in _REPEAT.findall(bare):
        if star or (comma and not most):
            raise ValueError("repeats without an end, which can take too long: write {0,50} for * and {1,50} for +")
        ways *= max(1, int(most or least or 1))
    if ways > MOST_REPEATED:
        raise ValueError(f"can repeat in {ways} ways, which can take too long: {MOST_REPEATED} are the most")
    return text


def _choices(bare: str) -> int:
    """In how many ways one can go through the alternatives of all groups."""
    ways = 1
    while group := _INNERMOST.search(bare):
        ways *= 1 + group[1].count("|")
        bare = bare[: group.start()] + "G" + bare[group.end() :]
    return ways


def _phrase(text: str) -> str:
    """Words to look for."""
    if not text.strip() or len(text) > 200:
        raise ValueError("is empty or has over 200 characters")
    return text


class LengthSettings(Section):
    """How long requests and answers may be."""

    max_input_tokens: int | None = Field(
        None, ge=1, description="A longer request is refused or shortened; estimated from its bytes."
    )
    max_answer_tokens: int | None = Field(None, ge=1, description="The longest answer that a model is asked for.")
    too_long: Literal["refuse", "truncate"] = Field(
        "refuse", description="Whether a request that is too long is refused, or loses its oldest turns and its middle."
    )


class SecretGuardSettings(Section):
    """Credentials and keys."""

    input: Action = Field(Action.FLAG, description="What becomes of credentials in what is asked.")
    output: Action = Field(
        Action.MASK, description="What becomes of credentials in an answer that were not in what was asked."
    )


class PrivacyGuardSettings(Section):
    """What identifies people and their accounts."""

    input: Action = Field(Action.FLAG, description="What becomes of personal data in what is asked.")
    output: Action = Field(
        Action.FLAG, description="What becomes of personal data in an answer that were not in what was asked."
    )
    ip_addresses: bool = Field(False, description="Whether IP addresses count as personal data.")
    presidio_url: Annotated[str, AfterValidator(http_url)] | None = Field(
        None, description="A Presidio analyzer that is asked as well, at its base URL."
    )
    presidio_language: str = Field("en", description="The language that Presidio is told.")
    presidio_min_score: float = Field(0.6, ge=0, le=1, description="What Presidio finds with less is left out.")


class InjectionGuardSettings(Section):
    """Texts that try to give a model orders."""

    input: Action = Field(Action.FLAG, description="What becomes of prompt injection in what is asked.")
    classifier: bool = Field(True, description="Whether the classifier reads what the rules let pass.")
    min_score: float = Field(0.86, ge=0, le=1, description="The score from which on the classifier's finding counts.")


class TopicSettings(Section):
    """One topic."""

    phrases: list[Annotated[str, AfterValidator(_phrase)]] = Field(
        default_factory=list, description="Words and phrases, found with or without accents and in any case."
    )
    patterns: list[Annotated[str, AfterValidator(_pattern)]] = Field(
        default_factory=list, description="Regular expressions without look-around, references and endless repetition."
    )


class TopicGuardSettings(Section):
    """Topics that are not spoken of."""

    input: Action = Field(Action.REFUSE, description="What becomes of a blocked topic in what is asked.")
    output: Action = Field(Action.REFUSE, description="What becomes of a blocked topic in an answer.")
    lists: dict[str, TopicSettings] = Field(default_factory=dict, description="The blocked topics by name.")


class MemorisedGuardSettings(Section):
    """Stored texts of a higher level than the asker may see."""

    output: PlainAction = Field(Action.REFUSE, description="What becomes of an answer that repeats such a text.")
    min_words: int = Field(30, ge=12, description="The words in a row from which on an answer repeats it.")


class ToxicityGuardSettings(Section):
    """Insults and threats; needs the extra `toxicity`."""

    input: PlainAction = Field(Action.ALLOW, description="What becomes of what is asked when it is toxic.")
    output: PlainAction = Field(Action.ALLOW, description="What becomes of an answer when it is toxic.")
    min_score: float = Field(0.9, ge=0, le=1, description="The score from which on a text is toxic.")


class TaskGuardSettings(Section):
    """What differs for one task; what is absent is as for the others."""

    secrets_input: Action | None = Field(None, description="Credentials in what is asked.")
    secrets_output: Action | None = Field(None, description="Credentials in the answer.")
    privacy_input: Action | None = Field(None, description="Personal data in what is asked.")
    privacy_output: Action | None = Field(None, description="Personal data in the answer.")
    injection_input: Action | None = Field(None, description="Prompt injection in what is asked.")
    topics_input: Action | None = Field(None, description="Blocked topics in what is asked.")
    topics_output: Action | None = Field(None, description="Blocked topics in the answer.")
    memorised_output: PlainAction | None = Field(None, description="Texts of a higher level in the answer.")
    toxicity_input: PlainAction | None = Field(None, description="Toxicity in what is asked.")
    toxicity_output: PlainAction | None = Field(None, description="Toxicity in the answer.")


class GuardrailSettings(Section):
    """What stands between whoever asks and every model."""

    unmask: bool = Field(
        False, description="Whether what was masked in a request is put back into its answer, for the same asker."
    )
    length: LengthSettings = LengthSettings()
    secrets: SecretGuardSettings = SecretGuardSettings()
    privacy: PrivacyGuardSettings = PrivacyGuardSettings()
    injection: InjectionGuardSettings = InjectionGuardSettings()
    topics: TopicGuardSettings = TopicGuardSettings()
    memorised: MemorisedGuardSettings = MemorisedGuardSettings()
    toxicity: ToxicityGuardSettings = ToxicityGuardSettings()
    tasks: dict[Task, TaskGuardSettings] = Field(
        default_factory=dict, description="What differs for a task, by its name."
    )
