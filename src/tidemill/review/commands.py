"""What people ask of Tidemill in a comment: `/tidemill COMMAND`, at the start of a line."""

import re
from dataclasses import dataclass
from enum import StrEnum

LONGEST_ARGUMENT = 2_000
_LINE = re.compile(r"^[ \t]{0,3}/tidemill(?:[ \t]+(\S{1,40})(?:[ \t]+(.*))?)?[ \t]*$", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})")


class CommandName(StrEnum):
    """What can be asked for."""

    REVIEW = "review"
    ASK = "ask"
    FIX = "fix"
    IGNORE = "ignore"
    EXPLAIN = "explain"
    CONFIG = "config"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `name` is `None` where it is none that there is; `said` is what stood there."""

    name: CommandName | None
    argument: str = ""
    said: str = ""


def command_in(body: str) -> Command | None:
    """The first command of a comment, or `None`. What is quoted or stands in a block of code is none."""
    fence = ""
    lines = body.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            continue
        found = None if fence else _LINE.match(line)
        if found is None:
            continue
        said = (found[1] or "help").lower()
        argument = (found[2] or "").strip()
        if said == CommandName.ASK:
            argument = "\n".join([argument, *lines[number + 1 :]]).strip()
        known = said in {name.value for name in CommandName}
        return Command(CommandName(said) if known else None, argument[:LONGEST_ARGUMENT], said)
    return None
