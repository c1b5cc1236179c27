"""Which rules of each engine a review uses, and how much each matters. Few and true: bugs, not style."""

from tidemill.analysis.paths import PathKind
from tidemill.core.finding import Category, Severity

SECRETS_VERSION = "3"
"""Raised by hand when `tidemill.analysis.secrets` finds something else than before."""

RUFF: tuple[str, ...] = (
    *("F4", "F5", "F6", "F7", "F8", "F9"),
    *("B002", "B003", "B004", "B005", "B006", "B012", "B014", "B015", "B016", "B018", "B019", "B020", "B021", "B022"),
    *("B023", "B025", "B029", "B030", "B031", "B032", "B034", "B035", "B039", "B904"),
    *("ASYNC100", "ASYNC105", "ASYNC210", "ASYNC212", "ASYNC220", "ASYNC221", "ASYNC222", "ASYNC250", "ASYNC251"),
    "PLE",
    *("PLW0127", "PLW0128", "PLW0129", "PLW0131", "PLW0133", "PLW0177", "PLW0211", "PLW0245", "PLW0406", "PLW0711"),
    *("PLW1501", "PLW1507", "PLW1508", "PLW1509", "PLW2101"),
    "RUF006",
)
"""Rule codes and prefixes. Left out: what only a taste decides (E, W, I, N, most of B and PLW), `S`, which is bandit's
own set again, and bare `except`, which bandit reports where it hides an error."""

_RUFF_SEVERITY: tuple[tuple[str, Severity], ...] = (
    ("invalid-syntax", Severity.HIGH),
    ("F401", Severity.INFO),
    ("F403", Severity.INFO),
    ("F405", Severity.INFO),
    ("F541", Severity.INFO),
    ("F841", Severity.LOW),
    ("F842", Severity.LOW),
    ("F821", Severity.HIGH),
    ("F822", Severity.HIGH),
    ("F823", Severity.HIGH),
    ("F7", Severity.HIGH),
    ("F", Severity.MEDIUM),
    ("B015", Severity.LOW),
    ("B018", Severity.LOW),
    ("B019", Severity.LOW),
    ("B021", Severity.LOW),
    ("B904", Severity.LOW),
    ("B", Severity.MEDIUM),
    ("ASYNC", Severity.MEDIUM),
    ("PLE2502", Severity.CRITICAL),
    ("PLE", Severity.HIGH),
    ("PLW0127", Severity.LOW),
    ("PLW", Severity.MEDIUM),
    ("RUF006", Severity.MEDIUM),
)
"""The first entry that begins the code decides. PLE2502 is text that reads otherwise than it runs (CVE-2021-42574)."""

BANDIT_SKIPPED: tuple[str, ...] = ("B101", "B105", "B106", "B107", "B403", "B404", "B603", "B607")
"""Asserts; passwords, which the secret scanner finds with fewer false alarms; imports and calls that are no defect by
themselves."""

BANDIT_TITLES = {
    "B102": "Use of exec",
    "B110": "Exception ignored",
    "B112": "Exception ignored in a loop",
    "B301": "Unsafe deserialization",
    "B303": "Weak hash",
    "B307": "Use of eval",
    "B311": "Predictable random numbers",
    "B324": "Weak hash",
    "B501": "TLS certificate is not checked",
    "B506": "Unsafe YAML load",
    "B602": "Command run through a shell",
    "B605": "Command run through a shell",
    "B608": "SQL built from strings",
}
"""Words for rules whose own name says little."""

_BANDIT_SEVERITY = {"HIGH": Severity.HIGH, "MEDIUM": Severity.MEDIUM, "LOW": Severity.LOW}
_BANDIT_OWN = {"B102": Severity.HIGH, "B307": Severity.HIGH, "B608": Severity.HIGH, "B324": Severity.MEDIUM}
"""bandit calls the first three medium, but each lets who controls the text run their own code or query; a weak hash it
calls high, whatever it is for."""


def ruff_severity(code: str) -> Severity:
    """How much a rule of ruff matters."""
    return next((severity for prefix, severity in _RUFF_SEVERITY if code.startswith(prefix)), Severity.LOW)


def bandit_severity(rule: str, severity: str, kind: PathKind) -> Severity:
    """How much a rule of bandit matters: its own word, or ours; in tests, low at most."""
    found = _BANDIT_OWN.get(rule) or _BANDIT_SEVERITY.get(severity.upper(), Severity.LOW)
    return Severity.LOW if kind is PathKind.TEST else found


_BANDIT_CATEGORIES = {
    "B102": Category.CODE_INJECTION,
    "B103": Category.MISCONFIGURATION,
    "B104": Category.MISCONFIGURATION,
    "B108": Category.PATH_TRAVERSAL,
    "B110": Category.CORRECTNESS,
    "B112": Category.CORRECTNESS,
    "B113": Category.CORRECTNESS,
    "B201": Category.MISCONFIGURATION,
    "B202": Category.PATH_TRAVERSAL,
    "B301": Category.INSECURE_DESERIALIZATION,
    "B302": Category.INSECURE_DESERIALIZATION,
    "B303": Category.WEAK_HASH,
    "B304": Category.WEAK_CRYPTO,
    "B305": Category.WEAK_CRYPTO,
    "B306": Category.PATH_TRAVERSAL,
    "B307": Category.CODE_INJECTION,
    "B308": Category.XSS,
    "B310": Category.SSRF,
    "B311": Category.WEAK_RANDOM,
    "B312": Category.SENSITIVE_EXPOSURE,
    "B321": Category.SENSITIVE_EXPOSURE,
    "B323": Category.BROKEN_AUTHENTICATION,
    "B324": Category.WEAK_HASH,
    "B401": Category.SENSITIVE_EXPOSURE,
    "B402": Category.SENSITIVE_EXPOSURE,
    "B501": Category.BROKEN_AUTHENTICATION,
    "B505": Category.WEAK_CRYPTO,
    "B506": Category.INSECURE_DESERIALIZATION,
    "B507": Category.BROKEN_AUTHENTICATION,
    "B508": Category.WEAK_CRYPTO,
    "B509": Category.WEAK_CRYPTO,
    "B601": Category.COMMAND_INJECTION,
    "B602": Category.COMMAND_INJECTION,
    "B604": Category.COMMAND_INJECTION,
    "B605": Category.COMMAND_INJECTION,
    "B606": Category.COMMAND_INJECTION,
    "B608": Category.SQL_INJECTION,
    "B609": Category.COMMAND_INJECTION,
    "B610": Category.SQL_INJECTION,
    "B611": Category.SQL_INJECTION,
    "B612": Category.CODE_INJECTION,
    "B613": Category.CODE_INJECTION,
    "B614": Category.INSECURE_DESERIALIZATION,
    "B615": Category.DEPENDENCY,
    "B701": Category.XSS,
    "B702": Category.XSS,
    "B703": Category.XSS,
    "B704": Category.XSS,
}


def bandit_category(rule: str) -> Category:
    """What kind of defect a rule of bandit finds."""
    if rule in _BANDIT_CATEGORIES:
        return _BANDIT_CATEGORIES[rule]
    prefixes = {"B31": Category.XXE, "B40": Category.XXE, "B41": Category.WEAK_CRYPTO, "B50": Category.WEAK_CRYPTO}
    return prefixes.get(rule[:3], Category.OTHER)
