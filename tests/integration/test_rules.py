"""Each rule finds what it should and nothing else: the examples, by the real engine, one run for each language."""

import asyncio
import re
from functools import cache
from pathlib import Path

import pytest

from tidemill.analysis.syntax import Language
from tidemill.core.finding import Category
from tidemill.review.engines import Reading, SemgrepEngine
from tidemill.review.rules.catalog import Rule, rules_of

EXAMPLES = Path(__file__).resolve().parents[1] / "data" / "rules"
LANGUAGES = {
    "python": [Language.PYTHON],
    "javascript": [Language.JAVASCRIPT, Language.TSX],
    "java": [Language.JAVA],
    "go": [Language.GO],
}
EVERYWHERE = {
    *(Category.SQL_INJECTION, Category.COMMAND_INJECTION, Category.CODE_INJECTION, Category.XSS, Category.SSRF),
    *(Category.XXE, Category.XPATH_INJECTION, Category.LDAP_INJECTION, Category.OPEN_REDIRECT),
    *(Category.PATH_TRAVERSAL, Category.INSECURE_DESERIALIZATION, Category.BROKEN_AUTHENTICATION),
    *(Category.SESSION_FIXATION, Category.SENSITIVE_EXPOSURE, Category.HARDCODED_SECRET, Category.MISCONFIGURATION),
    *(Category.CORS, Category.WEAK_CRYPTO, Category.WEAK_RANDOM, Category.WEAK_HASH, Category.INSECURE_COOKIE),
    Category.TRUST_BOUNDARY,
}


@cache
def read(language: str) -> tuple[dict[str, str], Reading]:
    folder = EXAMPLES / language
    files = {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}
    return files, asyncio.run(SemgrepEngine().read(files))


def rules(language: str) -> dict[str, Rule]:
    return dict(rules_of(frozenset(LANGUAGES[language])))


def marked(files: dict[str, str]) -> set[tuple[str, int, str]]:
    return {
        (name, number, rule)
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (mark := re.search(r"finds: ([\w\- ]+)", line))
        for rule in mark[1].split()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_rules_find_what_is_marked_in_the_examples_and_nothing_else(language: str) -> None:
    files, reading = read(language)
    assert {(one.path, one.line, one.rule) for one in reading.remarks} == marked(files)
    assert reading.notes == ()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_has_an_example_and_every_category_a_rule(language: str) -> None:
    files, _ = read(language)
    assert {rule for _, _, rule in marked(files)} == set(rules(language))
    assert {rule.category for rule in rules(language).values()} == EVERYWHERE


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_finding_that_follows_data_shows_its_way_from_source_to_sink(language: str) -> None:
    files, reading = read(language)
    followed = [one for one in reading.remarks if rules(language)[one.rule].follows]
    assert followed
    for one in followed:
        assert [one.trace[0].role, one.trace[-1].role] == ["source", "sink"]
        for step in one.trace:
            assert step.code == files[step.path].splitlines()[step.line - 1].strip()


def test_the_way_names_the_lines_between() -> None:
    _, reading = read("java")
    found = next(one for one in reading.remarks if one.rule == "java-sql-injection" and one.path == "Servlet.java")
    assert [(step.role, step.code) for step in found.trace[:2]] == [
        ("source", 'String name = request.getParameter("name");'),
        ("step", 'String query = "SELECT * FROM people WHERE name = \'" + name + "\'";'),
    ]


def test_the_page_lists_every_rule_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "scan.md").read_text("utf-8")
    listed = re.findall(r"^\| `((?:python|javascript|java|go)-[\w-]+)` \|(.*)\|$", page, re.MULTILINE)
    every = [rule for languages in LANGUAGES for rule in rules(languages).values()]
    assert [(name, tuple(cell.strip() for cell in row.split("|"))) for name, row in listed] == [
        (
            rule.id,
            (
                rule.title,
                rule.category.value,
                str(rule.cwe),
                rule.severity.value,
                f"{rule.confidence:g}",
                "yes" if rule.follows else "",
            ),
        )
        for rule in every
    ]
