"""What knowledge is made from, stage by stage: RawDocument → CleanDocument → Chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tidemill.core.classification import Level
from tidemill.core.json import Json


class SourceKind(StrEnum):
    """Where documents are collected from."""

    FOLDER = "folder"
    GIT = "git"
    GITHUB = "github"
    GITLAB = "gitlab"
    WEBSITE = "website"
    FEED = "feed"
    LINKEDIN = "linkedin"
    UPLOAD = "upload"


class DocumentKind(StrEnum):
    """What a document is, for filters."""

    DOCUMENT = "document"
    ARTICLE = "article"
    POST = "post"
    PAGE = "page"
    CODE = "code"
    ISSUE = "issue"
    NOTEBOOK = "notebook"
    TABLE = "table"


class ChunkStrategy(StrEnum):
    """How a text is cut."""

    AUTO = "auto"
    """Code by its definitions, a text with headings by those, any other by sentences."""
    TOKENS = "tokens"
    SENTENCES = "sentences"
    SEMANTIC = "semantic"
    MARKDOWN = "markdown"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Source:
    """Somewhere that documents are collected from, again and again.

    Attributes:
        name: unique; what people call it.
        location: a folder's path, a repository's path or URL, a project's `owner/name`, a site's or feed's URL; empty
            where people upload the documents.
        owner_id: who added it; `None` once that person is erased.
        level: how sensitive its documents are; whoever may not see that level finds none of them.
        departments: who may see them; everyone where it is empty.
        options: of its kind, such as `include`, `branch`, `max_pages`; checked by the crawler.
        sync_every: seconds between syncs; `None` where only people start them.
    """

    id: UUID
    name: str
    kind: SourceKind
    location: str
    owner_id: UUID | None
    created_at: datetime
    level: Level = Level.INTERNAL
    departments: frozenset[UUID] = frozenset()
    strategy: ChunkStrategy = ChunkStrategy.AUTO
    options: Mapping[str, Json] = field(default_factory=dict)
    sync_every: int | None = None
    synced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as it was fetched.

    Attributes:
        path: what names it within its source: a relative path, a URL, `issues/12`. The same at every sync.
        data: its bytes, unchanged.
        media_type: as its origin says or its name suggests; what it is is found out by reading it.
        url: where a person can open it.
        platform: `github`, `medium`, `web` and the like.
        etag: what the origin calls this version, to ask next time whether it has changed.
    """

    path: str
    data: bytes = field(repr=False)
    media_type: str | None = None
    title: str | None = None
    url: str | None = None
    kind: DocumentKind | None = None
    platform: str | None = None
    author: str | None = None
    licence: str | None = None
    published_at: datetime | None = None
    modified_at: datetime | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: the characters (code points) from `start` up to, and without, `end`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The piece itself."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading in a clean text. `depth` is 1 for the outermost; `span` is the heading's own text."""

    depth: int
    title: str
    span: Span


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page, slide or sheet of a document stands in its clean text. `number` counts from 1."""

    number: int
    span: Span


@dataclass(frozen=True, slots=True)
class CleanDocument:
    """The text of a document, as a person would read it, in NFC, with `\\n` for each end of line.

    Attributes:
        kind: what reading it showed it to be.
        markup: `markdown`, `code` or `plain`: what the chunkers may rely on.
        headings: in their order in the text; none for code.
        pages: in their order; none where the format has none.
        title, author, licence, published_at: what the document says of itself, where it does.
    """

    text: str
    kind: DocumentKind
    markup: str = "plain"
    headings: Sequence[Heading] = ()
    pages: Sequence[Page] = ()
    title: str | None = None
    author: str | None = None
    licence: str | None = None
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a clean text, to be found and cited by itself.

    Attributes:
        span: where it stands in the clean text; `span.of(text) == self.text`.
        heading: the path of headings above it, or the qualified name of its definition; may be empty.
        hash: SHA-256, hexadecimal, of what is embedded (heading and text): chunks of one hash share one vector.
        page: on which page it begins, where there are pages.
        tokens: by the counter that cut it.
    """

    ordinal: int
    span: Span
    text: str
    heading: str
    hash: str
    tokens: int
    page: int | None = None


def embedded_text(heading: str, text: str) -> str:
    """What of a chunk is embedded, and hashed: its heading above its text."""
    return f"{heading}\n{text}" if heading else text
