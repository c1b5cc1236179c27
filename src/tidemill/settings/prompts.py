"""Which prompts are used."""

from typing import Literal

from pydantic import Field

from tidemill.settings.section import Section


class PromptSettings(Section):
    """The language of the prompts for work that nobody asked for in one."""

    language: Literal["en", "vi"] = Field("en", description="Language of the prompts for reviews: `en` or `vi`.")
