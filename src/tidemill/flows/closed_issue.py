"""What a pull request is to achieve, by the issue that its description says it closes."""

import logging
import re

from tidemill.core.errors import NotFound, NotPermitted
from tidemill.core.pull_request import PullRequest
from tidemill.forges.port import Forge, Refused

LONGEST = 4_000
"""Characters of an issue that a review is told."""
_CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?[ \t]+([\w./-]{1,200})?#(\d{1,9})\b", re.IGNORECASE)

log = logging.getLogger(__name__)


def closed_number(text: str, project: str) -> int | None:
    """The first issue of a project that a text in it says it closes."""
    for found in _CLOSES.finditer(text):
        if found[1] is None or found[1].lower() == project.lower():
            return int(found[2])
    return None


async def closed_issue(forge: Forge, pull_request: PullRequest) -> str:
    """Title and text of the issue that a pull request closes, cut; empty without one, or where it can't be read.

    Raises:
        TidemillError: the forge is away.
    """
    project = pull_request.key.project.path
    number = closed_number(f"{pull_request.body}\n{pull_request.title}", project)
    if number is None:
        return ""
    try:
        return (await forge.issue(pull_request.key, number))[:LONGEST]
    except (NotFound, NotPermitted, Refused) as error:
        log.info("The issue %s of %s is not read: %s", number, project, error.message)
        return ""
