"""The prompts in force: those that ship, and what a team has set in their place."""

import asyncio
import difflib
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tidemill.core.audit import Actor
from tidemill.core.clock import Clock
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.json import JsonObject
from tidemill.llm.prompts.shipped import ENGLISH, ShippedPrompts, shipped
from tidemill.llm.prompts.template import PromptTemplate, parse_template
from tidemill.store.audited import Audited
from tidemill.store.prompts import PromptRepository, PromptRow

LONGEST_NOTE = 500
log = logging.getLogger(__name__)


class PromptLibrary:
    """Finds prompts without asking the database, and keeps what it knows of it up to date.

    Args:
        rows: what the team has set.
        audit: makes each change known.
        clock: gives times.
    """

    def __init__(self, rows: PromptRepository, *, audit: Audited, clock: Clock) -> None:
        self._rows = rows
        self._audit = audit
        self._clock = clock
        self._ships = ShippedPrompts()
        self._mark = ""
        self._known: list[tuple[PromptRow, PromptTemplate]] = []
        self._active: dict[tuple[str, str], PromptTemplate] = {}

    def current(self, name: str, language: str = ENGLISH) -> PromptTemplate:
        """As `Prompts.current`."""
        return self._active.get((name, language)) or self._ships.current(name, language)

    def pinned(self, version: str) -> PromptTemplate:
        """As `Prompts.pinned`."""
        found = next((template for _, template in self._known if template.version == version), None)
        return found or self._ships.pinned(version)

    async def refresh(self) -> None:
        """Learns what other processes have changed. Run at the start, and every second or so."""
        mark = await self._rows.mark()
        if mark == self._mark:
            return
        known = []
        for row in await self._rows.all():
            try:
                known.append((row, await asyncio.to_thread(_template, row)))
            except InvalidInput:
                log.exception("Version %s of the prompt %s is left out.", row.number, row.name)
        self._known = known
        self._active = {(row.name, row.language): template for row, template in known if row.active}
        self._mark = mark

    async def names(self) -> list[tuple[PromptTemplate, datetime | None]]:
        """The version in force of every prompt, and since when a team's own is; `None` for one that ships."""
        await self.refresh()
        since = {(row.name, row.language): row.created_at for row, _ in self._known if row.active}
        return [(self.current(*key), since.get(key)) for key in sorted(shipped())]

    async def find(self, name: str, language: str, number: int | None = None) -> PromptTemplate:
        """One version, the one in force where no number is given.

        Raises:
            NotFound: there is none.
        """
        await self.refresh()
        if number is None:
            return self.current(name, language)
        ships = self._ships.current(name, language)
        if number == 0:
            return ships
        for row, template in self._known:
            if (row.name, row.language, row.number) == (name, language, number):
                return template
        raise NotFound(f"The prompt {name} has no version {number} in {language}. `tidemill prompts history {name}`.")

    async def history(self, name: str, language: str) -> list[PromptRow]:
        """The versions that the team has set, newest first.

        Raises:
            NotFound: there is no such prompt.
        """
        self._ships.current(name, language)
        rows = await self._rows.all()
        return [row for row in reversed(rows) if (row.name, row.language) == (name, language)]

    async def set(
        self, name: str, language: str, source: str, actor: Actor, *, note: str | None = None, activate: bool = True
    ) -> PromptTemplate:
        """Adds a version, and puts it in force if it is to be.

        Raises:
            NotFound: there is no prompt of this name.
            InvalidInput: the source is no prompt, or declares other variables than the one that ships.
        """
        ships = self._ships.current(name, language)
        template = await asyncio.to_thread(parse_template, name, language, source)
        if template.variables.keys() != ships.variables.keys():
            raise InvalidInput(
                f"The prompt {name} is filled in with {', '.join(sorted(ships.variables)) or 'nothing'}, and this "
                f"source declares {', '.join(sorted(template.variables)) or 'nothing'}. Declare the same, used or not.",
                param="source",
            )
        if note is not None and (len(note) > LONGEST_NOTE or not note.isprintable()):
            raise InvalidInput(f"A note has {LONGEST_NOTE} printable characters at most.", param="note")
        row = PromptRow(name, language, 0, template.hash, template.source, activate, self._clock(), note, actor.id)
        async with self._audit.change(actor) as change:
            number = await self._rows.add(change.connection, row)
            template = replace(template, number=number)
            change.note("prompt.set", "prompt", template.version, active=activate)
        await self.refresh()
        return template

    async def activate(self, name: str, language: str, number: int, actor: Actor) -> PromptTemplate:
        """Puts a version in force; 0 is the one that ships.

        Raises:
            NotFound: there is no such version.
        """
        template = await self.find(name, language, number)
        async with self._audit.change(actor) as change:
            if not await self._rows.activate(change.connection, name, language, number):
                raise NotFound(f"The prompt {name} has no version {number} in {language}.")
            change.note("prompt.activated", "prompt", template.version)
        await self.refresh()
        return template


def differences(old: PromptTemplate, new: PromptTemplate) -> str:
    """What differs between two versions' sources, as a unified diff; empty for nothing."""
    lines = difflib.unified_diff(
        old.source.splitlines(), new.source.splitlines(), old.version, new.version, lineterm=""
    )
    return "\n".join(lines)


def filled(template: PromptTemplate, values: Mapping[str, Any] | None) -> list[JsonObject]:
    """The prompt's messages with these values, and its own example's where one is not given."""
    return template.render({**template.example, **(values or {})})


def _template(row: PromptRow) -> PromptTemplate:
    return parse_template(row.name, row.language, row.source, row.number)
