"""What a process lets see of itself: its logs' mask, its metrics among those of the others, its traces."""

import re

from tidemill.accounts.api_keys import PREFIX
from tidemill.analysis.secrets import mask

OWN_KEY = re.compile(rf"(?<![\w-]){re.escape(PREFIX)}[\w-]{{20,}}")


def mask_log(text: str) -> str:
    """A line of a log without credentials: those that vendors give out, and the hub's own keys."""
    return OWN_KEY.sub(f"{PREFIX}…", mask(text))
