"""A repository's `.tidemill.yml`: what it asks for, and what is said of its mistakes."""

import re
from pathlib import Path

import pytest

from tidemill.core.finding import Severity
from tidemill.core.gate import GateName
from tidemill.core.review_policy import GatePolicy, ReviewPolicy
from tidemill.review.policy import MAX_BYTES, policy_keys, read_policy

WHOLE = b"""
enabled: false
drafts: yes
language: vi
max_comments: 3
min_severity: medium
ignore: ["*.sql", docs/]
include: vendor/ours/**
instructions:
  src/billing/**: |
    Amounts are decimals.
    Never floats.
disabled: [ruff:F401, B311]
severities: {B608: critical, "secrets:password-literal": low}
test_command: python -m pytest -q 'a b'
format_command: [black, -q, "{path}"]
gates:
  coverage: 72.5
  coverage_report: build/coverage.xml
  duplication: 3%
  complexity: off
  advisories: security/osv.jsonl
  critical: high
  audit: all
  required: [coverage, dependencies]
"""


def test_every_key_is_read() -> None:
    policy = read_policy(WHOLE)
    assert policy == ReviewPolicy(
        enabled=False,
        drafts=True,
        language="vi",
        max_comments=3,
        min_severity=Severity.MEDIUM,
        ignore=("*.sql", "docs/"),
        include=("vendor/ours/**",),
        instructions={"src/billing/**": "Amounts are decimals.\nNever floats."},
        disabled=frozenset({"ruff:F401", "B311"}),
        severities={"B608": Severity.CRITICAL, "secrets:password-literal": Severity.LOW},
        test_command=("python", "-m", "pytest", "-q", "a b"),
        format_command=("black", "-q", "{path}"),
        gates=GatePolicy(
            coverage=72.5,
            coverage_report="build/coverage.xml",
            duplication=3.0,
            complexity=None,
            advisories="security/osv.jsonl",
            critical=Severity.HIGH,
            audit="all",
            required=frozenset({GateName.COVERAGE, GateName.DEPENDENCIES}),
        ),
    )


@pytest.mark.parametrize("data", [None, b"", b"# nothing yet\n", b"---\n"])
def test_no_file_and_an_empty_one_ask_for_the_defaults(data: bytes | None) -> None:
    assert read_policy(data) == ReviewPolicy()


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"a: 1\n", "line 1: there is no key `a`. The keys are `enabled`,"),
        (b"\nmax_coments: 3\n", "line 2: there is no key `max_coments`. Did you mean `max_comments`?"),
        (b"gates:\n  complexitty: 3\n", "line 2: there is no key `complexitty` under `gates`. Did you mean"),
        (b"coverage: 80\n", "line 1: there is no key `coverage` here; it stands under `gates`."),
        (b"enabled: perhaps\n", "line 1: `enabled` must be `true` or `false`, not `perhaps`."),
        (b"max_comments: true\n", "line 1: `max_comments` must be a whole number from 0 to 50, not `true`."),
        (b"max_comments: 51\n", "not `51`."),
        (b"min_severity: hihg\n", "Did you mean `high`?"),
        (b"language: [en]\n", "line 1: `language` must be one of `en`, `vi`, not a list or keys with values."),
        (b"ignore:\n- a\n- {b: c}\n", "line 3: `ignore[2]` must be a text"),
        (b"gates:\n  coverage: 101\n", "line 2: `gates.coverage` must be a percentage from 0 to 100, or `off`"),
        (b"gates:\n  coverage: .nan\n", "line 2: `gates.coverage` must be a percentage"),
        (b"gates:\n  coverage_report: ../../etc/passwd\n", "must be a path inside the repository"),
        (b"gates: 80\n", "line 1: `gates` must hold keys with values"),
        (b'test_command: "pytest \'a"\n', "line 1: `test_command` can't be split into words: No closing quotation."),
        (b"drafts: true\ndrafts: false\n", "line 2: `drafts` stands on line 1 already, and that one counts."),
        (b"severities: {B1: awful}\n", "line 1: `severities.B1` must be one of `info`,"),
    ],
)
def test_a_mistake_is_said_with_its_line_and_the_rest_counts(data: bytes, note: str) -> None:
    policy = read_policy(data + b"disabled: [B101]\n")
    assert len(policy.notes) == 1
    assert note in policy.notes[0]
    assert policy.notes[0].startswith(".tidemill.yml, line ")
    assert policy.disabled == {"B101"}


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"a: &x [1]\nb: *x\n", 1, "anchors and aliases"),
        (b"\n" + b"[" * 30_000, 2, "more than 8 deep"),
        (b"a:\n" + b"- " * 30_000, 2, "more than 8 deep"),
        (b"a: b\nc: \xff\n", 2, "not UTF-8"),
        (b"a: \x07", 1, "does not allow"),
        (b"a: b\nb: 'x\n", 3, "not YAML"),
        (b"- a\n", 1, "must hold keys with values"),
        (b"#" * (MAX_BYTES + 1), 1, "65,536 at most"),
        (b"a: 1\n---\nb: 2\n", 2, "not YAML"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_note_and_the_defaults(data: bytes, line: int, says: str) -> None:
    policy = read_policy(data)
    assert len(policy.notes) == 1
    assert policy.notes[0].startswith(f".tidemill.yml, line {line}: ")
    assert says in policy.notes[0]
    assert policy == ReviewPolicy(notes=policy.notes)


def test_a_thousand_mistakes_are_twenty_notes_and_a_count() -> None:
    notes = read_policy(b"".join(b"k%d: 1\n" % number for number in range(1000))).notes
    assert len(notes) == 21
    assert notes[-1] == ".tidemill.yml: 980 more mistakes."


def test_tags_make_no_objects() -> None:
    policy = read_policy(b"language: !!python/object/apply:os.system ['true']\nmax_comments: !!python/name:os.x 3\n")
    assert len(policy.notes) == 2
    assert policy.language == "en"


def test_the_document_lists_each_key_with_its_default() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "gates.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| (?:`([^`]*)`|none) \|", text, re.MULTILINE)
    assert dict(rows) == {key.name: said(key.default) for key in policy_keys()}


def said(default: object) -> str:
    """A default as the document writes it; empty for none."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default) if default else ""
