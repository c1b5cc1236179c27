"""The documents say what is so: links lead somewhere, settings and commands that they name exist."""

import re
from pathlib import Path, PurePath
from typing import get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tidemill.cli.main import COMMANDS, command
from tidemill.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
OUTSIDE_THE_TREE = {
    "DATABASE_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "TIDEMILL_API_KEY",
    "TIDEMILL_CONFIG",
    "TIDEMILL_ENCRYPTION_KEY",
    "TIDEMILL_HUB_URL",
    "TIDEMILL_SECRET_KEY",
}
"""Environment variables that are read and are no setting of the tree."""


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def prose(page):
    """A page's text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors that forges give to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(page):
    """Every line of a page that shows code: in fences, indented, or between backticks."""
    text = page.read_text("utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    blocks = [*fenced, *re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)]
    return [*"\n".join(blocks).replace("\\\n", " ").splitlines(), *re.findall(r"`([^`\n]+)`", prose(page))]


def leaves(model, path=()):
    """Each setting as (path, field), sections left out; a table of sections, and a section that may be absent, count as
    one and as their parts."""
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, here)
            continue
        yield here, field
        for part in get_args(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from leaves(part, here if type(None) in get_args(field.annotation) else (*here, "NAME"))


SETTINGS = list(leaves(Settings))


def variable(path):
    return f"TIDEMILL_{'__'.join(path).upper()}"


def row(path, field):
    """The line of docs/settings.md that a setting must have."""
    default = field.default
    if default is PydanticUndefined or isinstance(default, PurePath):
        default = None
    shown = "none" if default is None else f"`{default}`"
    if path == ("data_dir",):
        shown = "see below"
    in_table = "NAME" in path
    environment = "none" if in_table else f"`{variable(path)}`"
    if field.is_required():
        shown = "needed"
    return f"| `{'.'.join(path)}` | {environment} | {shown} | {field.description} |"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file), link


@pytest.mark.parametrize(("path", "field"), SETTINGS, ids=[".".join(path) for path, _ in SETTINGS])
def test_each_setting_is_documented_as_it_is(path, field):
    assert field.description
    assert row(path, field) in (ROOT / "docs" / "settings.md").read_text("utf-8").splitlines()


def test_each_setting_that_is_documented_exists():
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    documented = re.findall(r"^\| `([a-z_.A-Z]+)` \| (?:`TIDEMILL_|none)", text, re.MULTILINE)
    assert sorted(documented) == sorted(".".join(path) for path, _ in SETTINGS)


def test_each_variable_outside_the_tree_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)) == OUTSIDE_THE_TREE


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_environment_variable_that_a_page_names_exists(page):
    known = OUTSIDE_THE_TREE | {variable(path) for path, _ in SETTINGS}
    known |= {variable((section,)) for section in Settings.model_fields}
    assert set(re.findall(r"\bTIDEMILL_[A-Z_]*[A-Z]\b", page.read_text("utf-8"))) <= known


def commands(page):
    """Each `tidemill …` that a page shows, as its words; `/tidemill …` is what people write in a comment."""
    for line in code(page):
        for match in re.finditer(r"(?:^|[\s;&|(]|(?<=\w)/)tidemill((?: +(?!\|)[^\s;&#>)]+)*)", line.strip()):
            words = re.sub(r"[\[\]]", " ", match[1]).split()
            if words[:1] == ["tidemill"]:
                words = words[1:]  # the value of a variable before the command ended in the same word
            if words and not line.strip().startswith(("#", "from ", "import ", "$ psql ", "/tidemill")):
                yield words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_command_that_a_page_shows_exists(page):
    shown = list(commands(page))
    if not shown:
        return
    for words in shown:
        names, *rest = words
        if names.startswith("-"):
            assert names in {"--help", "--version"}
            continue
        found = []
        for name in names.split("|"):
            assert name in COMMANDS, " ".join(["tidemill", *words])
            found.append(typer.main.get_command(command(name)))
        group = found[0]
        if hasattr(group, "commands") and rest and not rest[0].startswith("-"):
            # `status|upgrade` names two commands of one group
            below = rest.pop(0).split("|")
            assert set(below) <= set(group.commands), " ".join(["tidemill", *words])
            group = group.commands[below[0]]
        known = {option for parameter in group.params for option in parameter.opts + parameter.secondary_opts}
        known |= {"--help"}
        for word in rest:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0] in known, " ".join(["tidemill", *words])
