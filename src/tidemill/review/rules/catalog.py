"""Tidemill's own rules for Semgrep, one file for each language: `python.yml`, `javascript.yml`, `java.yml`, `go.yml`.

The files are in a short form, of which `definition` makes Semgrep's (https://semgrep.dev/docs/writing-rules/rule-syntax):

    id, severity, title, message    as a finding says them
    category, cwe, confidence       a category of `core.finding`, a number, 0 to 1
    sources, sanitizers, sinks      of a rule that follows data
    any, not, not-inside            of a rule that looks at one place: one of these patterns fits, and none of those

A pattern is a text of Semgrep's; where it names `$SINK` or `$SOURCE`, that part alone counts. Or it is a mapping:
`code` (such a text, or several), `where` (a regular expression for each metavariable), `not`, `inside`, `not-inside`.
Or it is a mapping of Semgrep's own. Lists in lists are one list, so that YAML's aliases can be put together. `shared`
holds what several rules have in common; `needs` what every file holds that takes anything from `shared.request`.
A rule's own `needs`, one regular expression or several, must all occur in a file, or Semgrep is not asked about it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from tidemill.analysis.syntax import Language
from tidemill.core.finding import Category, Severity

FILES: Mapping[Language, str] = {
    Language.PYTHON: "python",
    Language.JAVASCRIPT: "javascript",
    Language.TYPESCRIPT: "javascript",
    Language.TSX: "javascript",
    Language.JAVA: "java",
    Language.GO: "go",
}
_ANALYZERS: Mapping[str, tuple[str, ...]] = {"javascript": ("javascript", "typescript")}
_FOCUS = ("$SINK", "$SOURCE")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what findings of it say, and its definition, as Semgrep reads it.

    `follows` tells that it follows data from a source to a sink. `needs` all occur in every file in which it can find
    anything.
    """

    id: str
    title: str
    message: str
    severity: Severity
    category: Category
    cwe: int
    confidence: float
    follows: bool
    needs: tuple[re.Pattern[str], ...]
    definition: Mapping[str, Any]


@cache
def rules_text(language: Language) -> str:
    """The file of a language's rules."""
    return files(__package__).joinpath(f"{FILES[language]}.yml").read_text("utf-8")


@cache
def rules_of(languages: frozenset[Language]) -> Mapping[str, Rule]:
    """The rules of some languages, by id."""
    found: dict[str, Rule] = {}
    for name, text in {FILES[language]: rules_text(language) for language in sorted(languages)}.items():
        document = yaml.safe_load(text)
        entries = [document["shared"][entry] for entry in ("request", "page") if entry in document["shared"]]
        for number, short in enumerate(document["rules"]):
            sources = short.get("sources", [])
            outside = bool(sources) and all(any(part is entry for entry in entries) for part in sources)
            needs = [*([document["needs"]] if outside else []), *_several(short.get("needs"))]
            found[short["id"]] = _rule(short, _ANALYZERS.get(name, (name,)), number, needs)
    return found


def copy_stem(text: str, language: Language) -> str:
    """The name, without its suffix, under which Semgrep reads a file: it tells which rules can find anything in it."""
    occurs: dict[re.Pattern[str], bool] = {}

    def fits(rule: Rule) -> bool:
        for one in rule.needs:
            if one not in occurs:
                occurs[one] = one.search(text) is not None
            if not occurs[one]:
                return False
        return bool(rule.needs)

    numbered = enumerate(rules_of(frozenset([language])).values())
    return ".".join(["code", *(_mark(number) for number, rule in numbered if fits(rule))])


def _mark(number: int) -> str:
    return f"n{number}"


def _rule(short: Mapping[str, Any], analyzers: tuple[str, ...], number: int, needs: Sequence[str]) -> Rule:
    return Rule(
        id=short["id"],
        title=short["title"],
        message=" ".join(short["message"].split()),
        severity=Severity(short["severity"]),
        category=Category(short["category"]),
        cwe=int(short["cwe"]),
        confidence=float(short["confidence"]),
        follows="sinks" in short,
        needs=tuple(re.compile(one) for one in needs),
        definition={
            **definition(short, analyzers),
            **({"paths": {"include": [f"*.{_mark(number)}.*"]}} if needs else {}),
        },
    )


def definition(short: Mapping[str, Any], analyzers: tuple[str, ...]) -> Mapping[str, Any]:
    """Semgrep's form of a rule in the short one."""
    base = {
        "id": short["id"],
        "languages": list(analyzers),
        "severity": short["severity"].upper(),
        "message": short["title"],
    }
    if "sinks" not in short:
        nots = [{"pattern-not": text} for text in _flat(short.get("not", []))]
        nots += [{"pattern-not-inside": text} for text in _flat(short.get("not-inside", []))]
        return {**base, "patterns": [{"pattern-either": [_pattern(one) for one in _flat(short["any"])]}, *nots]}
    return {
        **base,
        "mode": "taint",
        "pattern-sources": [_pattern(one) for one in _flat(short["sources"])],
        "pattern-sanitizers": [_pattern(one) for one in _flat(short.get("sanitizers", []))],
        "pattern-sinks": [_pattern(one) for one in _flat(short["sinks"])],
        **({"pattern-propagators": list(_flat(short["propagators"]))} if "propagators" in short else {}),
    }


def _flat(items: Any) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _pattern(one: Any) -> Mapping[str, Any]:
    if isinstance(one, str):
        one = {"code": one}
    if "code" not in one:
        return dict(one)
    codes = one["code"] if isinstance(one["code"], list) else [one["code"]]
    parts: list[Mapping[str, Any]] = [
        {"pattern": codes[0]} if len(codes) == 1 else {"pattern-either": [{"pattern": code} for code in codes]}
    ]
    parts += [{"pattern-inside": text} for text in [one.get("inside")] if text]
    parts += [{"pattern-not": text} for text in one.get("not", [])]
    parts += [{"pattern-not-inside": text} for text in _several(one.get("not-inside"))]
    parts += [{"metavariable-regex": {"metavariable": name, "regex": regex}} for name, regex in _where(one)]
    focus = [name for name in _FOCUS if name in codes[0]]
    parts += [{"focus-metavariable": focus[0]}] if focus else []
    return parts[0] if len(parts) == 1 else {"patterns": parts}


def _several(texts: Any) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts or ())


def _where(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(str(name), str(regex)) for name, regex in one.get("where", {}).items()]
