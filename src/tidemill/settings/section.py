"""What every branch of the tree is made of, and the values that several branches have."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""A path that no later change of the working folder moves; `~` is the home folder."""


Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""An amount of US dollars."""
HIGHEST_PRICE = 10_000.0
TokenPrice = Annotated[Dollars, Field(le=HIGHEST_PRICE)]
"""US dollars for a million tokens; what is dearer than any is a slip, and its costs could not be kept."""


def http_url(url: str) -> str:
    """An address that may be shown and stored. What is wrong with it is said without it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\\\x00-\x1f\x7f-\x9f]", url):
        raise ValueError("must be an address that begins with http:// or https:// and a host's name")
    if "@" in parts.netloc:
        raise ValueError(
            "must hold no user and no password. Put the key into an environment variable, and name that in "
            "`api_key_env`"
        )
    if "?" in url or "#" in url:
        raise ValueError(
            "must hold no ? and no #. If a key stands there, put it into an environment variable, and name that in "
            "`api_key_env`"
        )
    return url


class Section(BaseModel):
    """A branch of the tree: frozen, and without room for misspelt keys. An error never repeats a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
