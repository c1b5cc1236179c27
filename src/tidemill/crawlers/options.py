"""The options of sources whose documents are files."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill.core.document import Source
from tidemill.core.errors import InvalidInput
from tidemill.crawlers.patterns import Pattern, Patterns

PASSED_OVER = frozenset({"node_modules", "__pycache__", "site-packages"})
"""Folders that hold what others wrote or a program made. So do hidden ones."""

Several = Annotated[list[Pattern], Field(max_length=100)]


class FileOptions(BaseModel):
    """Which files are collected: those that a pattern of `include` matches, or all, but none of `exclude`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    include: Several = []
    exclude: Several = []

    @property
    def patterns(self) -> Patterns:
        """Both, for files."""
        return Patterns(self.include, self.exclude)

    @property
    def left_out(self) -> Patterns:
        """What is left out, for folders: one is written with a `/` at its end."""
        return Patterns((), self.exclude)


class GitOptions(FileOptions):
    """The same, and of which branch; of the repository's own where none is named."""

    branch: str | None = None


class NoOptions(BaseModel):
    """For a kind that has none."""

    model_config = ConfigDict(extra="forbid")


Options = TypeVar("Options", bound=BaseModel)


def options_of(source: Source, form: type[Options]) -> Options:
    """A source's options.

    Raises:
        InvalidInput: one of them is unknown or has a wrong value; names it.
    """
    try:
        return form.model_validate(dict(source.options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:100]
        if first["type"] == "extra_forbidden":
            known = ", ".join(form.model_fields) or "none"
            message = f"A source of the kind {source.kind} has no option {name!r}. Its options: {known}."
        else:
            said = first["msg"].removeprefix("Value error, ")
            message = f"The option `{name}` can't be used: {said[:1].lower()}{said[1:]}."
        raise InvalidInput(message, param="options") from error
