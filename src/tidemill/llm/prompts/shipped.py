"""The prompts that ship, from the files beside this module, and how everyone asks for one."""

from functools import cache
from importlib.resources import files
from typing import Protocol

from tidemill.core.errors import NotFound
from tidemill.llm.prompts.template import PromptTemplate, parse_template

ENGLISH = "en"


class Prompts(Protocol):
    """Where prompts come from: the files that ship, or what a team has set in their place."""

    def current(self, name: str, language: str = ENGLISH) -> PromptTemplate:
        """The version in force.

        Raises:
            NotFound: there is no such prompt.
        """
        ...

    def pinned(self, version: str) -> PromptTemplate:
        """The version that a deployment names (see `PromptTemplate.version`).

        Raises:
            NotFound: it is not there, or not any more.
        """
        ...


class ShippedPrompts:
    """The prompts that ship, and no others."""

    def current(self, name: str, language: str = ENGLISH) -> PromptTemplate:
        """As the port says."""
        found = shipped().get((name, language))
        if found is None:
            names = ", ".join(sorted({one for one, _ in shipped()}))
            raise NotFound(f"There is no prompt {name!r} in the language {language!r}. There are: {names}.")
        return found

    def pinned(self, version: str) -> PromptTemplate:
        """As the port says."""
        found = next((one for one in shipped().values() if one.version == version), None)
        if found is None:
            raise NotFound(f"There is no version {version!r} of a prompt. `tidemill prompts history NAME` lists them.")
        return found


@cache
def shipped() -> dict[tuple[str, str], PromptTemplate]:
    """Every prompt that ships, by name and language. A file is called `NAME.LANGUAGE.j2`."""
    found = {}
    for file in sorted(files(__package__).iterdir(), key=lambda one: one.name):
        if file.name.endswith(".j2"):
            name, _, language = file.name.removesuffix(".j2").rpartition(".")
            found[name, language] = parse_template(name, language, file.read_text("utf-8"))
    return found
