"""The filters of a search, as requests and tools have them."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tidemill.core.document import DocumentKind

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Several = Annotated[list[Text], Field(max_length=50)]


class FiltersShown(BaseModel):
    """To what a search is narrowed; all that is given must hold. `paths` are prefixes or globs."""

    model_config = ConfigDict(extra="forbid")

    sources: Several = []
    kinds: list[DocumentKind] = []
    platforms: Several = []
    authors: Several = []
    languages: Several = []
    paths: Several = []
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
