"""What a review says: findings of engines and comments of a model, each on one line of the new side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidemill.core.json import Json


class Severity(StrEnum):
    """How much a finding matters, least first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the least severe; for comparing."""
        return list(Severity).index(self)


class Category(StrEnum):
    """What kind of defect a finding is: the classes of vulnerabilities that are looked for, and what is none."""

    SQL_INJECTION = "sql_injection"
    COMMAND_INJECTION = "command_injection"
    CODE_INJECTION = "code_injection"
    XSS = "xss"
    SSRF = "ssrf"
    XXE = "xxe"
    XPATH_INJECTION = "xpath_injection"
    LDAP_INJECTION = "ldap_injection"
    OPEN_REDIRECT = "open_redirect"
    PATH_TRAVERSAL = "path_traversal"
    INSECURE_DESERIALIZATION = "insecure_deserialization"
    BROKEN_AUTHENTICATION = "broken_authentication"
    SESSION_FIXATION = "session_fixation"
    SENSITIVE_EXPOSURE = "sensitive_exposure"
    HARDCODED_SECRET = "hardcoded_secret"  # noqa: S105 - the name of a kind of defect
    MISCONFIGURATION = "misconfiguration"
    CORS = "cors"
    WEAK_CRYPTO = "weak_crypto"
    WEAK_RANDOM = "weak_random"
    WEAK_HASH = "weak_hash"
    INSECURE_COOKIE = "insecure_cookie"
    TRUST_BOUNDARY = "trust_boundary"
    DEPENDENCY = "dependency"
    CORRECTNESS = "correctness"
    MAINTAINABILITY = "maintainability"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One place on the way of a value from where it comes in to where it does harm.

    Attributes:
        role: `source`, `step` or `sink`.
        path: the file, on the new side.
        line: 1-based line, on the new side.
        code: that line's text, masked where it holds a secret.
    """

    role: str
    path: str
    line: int
    code: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Lines to put in the place of others.

    Attributes:
        start: first line that is replaced, 1-based, on the new side; `end` the last.
        text: what stands there instead, without the last line feed; empty to remove the lines.
        verified: what was checked and held: `applies`, `parses`, `clears` (what found the defect finds it no more),
            `formatted`, `tests`.
        replaces: what stands there now, masked where it holds a secret; empty where it is not known.
    """

    start: int
    end: int
    text: str
    verified: tuple[str, ...] = ()
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an engine or a model found.

    Attributes:
        engine: what found it: `ruff`, `bandit`, `secrets`, `model`.
        rule: the engine's own identifier of the rule (for a model: the category).
        path: the file, on the new side.
        line: 1-based line, on the new side.
        severity: how much it matters.
        title: the rule in a few words.
        message: what is wrong and what to do, for a person. Never holds a secret.
        quote: the text of that line as the new side has it (masked where it holds a secret).
        fingerprint: the same finding has the same fingerprint however often a review runs.
        details: more for machines (CWE, link); JSON.
        category: the kind of defect.
        confidence: how likely it is right, between 0 and 1.
        trace: the way of the value, source first, where the engine follows data.
        suggestion: a change that mends it and was checked.
    """

    engine: str
    rule: str
    path: str
    line: int
    severity: Severity
    title: str
    message: str
    quote: str
    fingerprint: str
    details: Mapping[str, Json] = field(default_factory=dict)
    category: Category = Category.OTHER
    confidence: float = 0.5
    trace: tuple[TraceStep, ...] = ()
    suggestion: Suggestion | None = None


@dataclass(frozen=True, slots=True)
class Necessity:
    """How much a hunk deserves a person's (or the model's) time, and why.

    `score` is between 0 and 1; `signals` maps each signal's name to what it added to the score before the
    squashing, so that a person can add it up.
    """

    score: float
    signals: Mapping[str, float]
