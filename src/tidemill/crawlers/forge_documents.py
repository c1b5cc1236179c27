"""What GitHub and GitLab have in common: the options of their sources, and their files and issues as documents."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field

from tidemill.core.document import DocumentKind, RawDocument, Source
from tidemill.core.errors import InvalidInput, NotFound, NotPermitted, TidemillError, Unavailable
from tidemill.core.text import storable
from tidemill.crawlers.fetching import NotFetched
from tidemill.crawlers.forge_api import FileEntry
from tidemill.crawlers.options import FileOptions, Several
from tidemill.crawlers.port import Failed, Found, Known, Unchanged, failed_part
from tidemill.crawlers.urls import canonical_url

MOST_FAILURES = 5
"""After so many files in a row that the forge does not give, it counts as down."""


class Part(StrEnum):
    """What of a project is collected."""

    FILES = "files"
    ISSUES = "issues"
    WIKI = "wiki"


BEGINNINGS = {Part.ISSUES: "issues/", Part.WIKI: "wiki:"}
"""Of the paths of those parts' documents; a file's path is its own."""


class IssueState(StrEnum):
    """Which issues are collected."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


def _several(value: object) -> object:
    """One name for a list of that one, as people write it."""
    return [value] if isinstance(value, str) else value


class ForgeOptions(FileOptions):
    """The options of a project on a forge."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    include: Several = Field(
        default_factory=list,
        description="Patterns of the files that are taken, such as `docs/**/*.md`; all where empty.",
    )
    exclude: Several = Field(default_factory=list, description="Patterns of the files that are not.")
    branch: str | None = Field(
        None, min_length=1, max_length=250, description="Whose files are taken; the project's own default where absent."
    )
    parts: Annotated[list[Part], BeforeValidator(_several), Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: list(Part), description="What is taken: `files`, `issues`, `wiki`."
    )
    issue_state: IssueState = Field(IssueState.ALL, description="Which issues are: `open`, `closed` or `all`.")
    max_files: int = Field(20_000, ge=1, le=500_000, description="Files that are taken at most.")
    max_issues: int = Field(10_000, ge=1, le=500_000, description="Issues that are taken at most.")
    max_comments: int = Field(500, ge=0, le=10_000, description="Comments of one issue that are taken at most.")
    max_bytes: int = Field(2_000_000, ge=1000, le=100_000_000, description="Bytes of the largest file.")
    max_wait: int = Field(
        300, ge=0, le=7200, description="Seconds that one crawl waits in all for the forge's limits of requests."
    )
    seconds: int = Field(30, ge=1, le=600, description="How long one request may take.")
    token: str | None = Field(
        None,
        max_length=100,
        description="The name of the secret with an access token: `source.` and the forge's host, and after that, "
        "where there are several, `_` and a word.",
    )


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project is: the site of its forge, without a slash at its end, and its path there."""

    site: str
    path: str

    @property
    def host(self) -> str:
        """The forge's host."""
        return urlsplit(self.site).hostname or ""

    @property
    def url(self) -> str:
        """Where people open it."""
        return f"{self.site}/{self.path}"


def project_of(source: Source, site: str, *, most_names: int) -> Project:
    """The project that a location names: `owner/name` on the public forge, or an address.

    Args:
        source: whose location it is.
        site: of the public forge.
        most_names: how many names a project's path has at most.

    Raises:
        InvalidInput: it names none.
    """
    location = source.location.strip()
    address = canonical_url(location if "://" in location else f"{site}/{location}")
    parts = urlsplit(address or "")
    path = parts.path.strip("/").removesuffix(".git")
    names = path.split("/")
    if address is None or parts.query or not 2 <= len(names) <= most_names or not all(map(_is_name, names)):
        raise InvalidInput(
            f"The location of a source of the kind {source.kind} is a project: `owner/name`, or its address, such as "
            f"{site}/owner/name.",
            param="location",
        )
    return Project(f"{parts.scheme}://{parts.netloc}", path)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 255 and name not in {".", "..", "-"} and "%" not in name


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody said on an issue."""

    author: str
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue. `tag` changes whenever it or its comments do."""

    number: int
    title: str
    author: str
    state: str
    labels: Sequence[str]
    created_at: datetime
    updated_at: datetime
    url: str
    text: str
    tag: str
    has_comments: bool


async def files(
    entries: Sequence[FileEntry],
    known: Mapping[str, Known],
    options: ForgeOptions,
    read: Callable[[FileEntry], Awaitable[bytes]],
    document: Callable[[FileEntry, bytes], RawDocument],
) -> AsyncGenerator[Found, None]:
    """Each file that is taken. One that has not changed by its digest is not fetched.

    Raises:
        Unavailable: the forge stopped answering.
    """
    failures = 0
    for entry in entries[: options.max_files]:
        before = known.get(entry.path)
        if before is not None and before.etag == entry.id:
            yield Unchanged(entry.path)
            continue
        if entry.size is not None and entry.size > options.max_bytes:
            yield _too_large(entry.path, options)
            continue
        try:
            data = await read(entry)
        except NotFetched as error:
            if error.reason_code == "too_large":
                yield _too_large(entry.path, options)
                continue
            failures += 1
            if failures >= MOST_FAILURES:
                raise Unavailable(f"The forge stopped answering: {error.message}") from error
            yield Failed(entry.path, error.reason_code, error.message)
        except (NotFound, NotPermitted) as error:
            yield Failed(entry.path, error.code, error.message)
        else:
            failures = 0
            yield document(entry, data)
    if len(entries) > options.max_files:
        left = len(entries) - options.max_files
        yield Failed(
            entries[options.max_files].path,
            "too_many",
            f"The project has more files than the source takes: {left:,} from this one on were left out. Raise the "
            f"option `max_files` (now {options.max_files:,}), or narrow it with `include`.",
        )


async def taken_parts(
    parts: Sequence[tuple[Part, AsyncGenerator[Found, None]]], known: Mapping[str, Known], options: ForgeOptions
) -> AsyncGenerator[Found, None]:
    """The documents of the parts that are taken. Issues and a wiki that are not given are failures, files an error."""
    for part, documents in parts:
        async with aclosing(documents):
            if part not in options.parts:
                continue
            seen = set[str]()
            refused: TidemillError | None = None
            try:
                async for one in documents:
                    seen.add(one.path)
                    yield one
            except (NotFound, NotPermitted) as error:
                if part is Part.FILES:
                    raise
                refused = error
            if refused is not None:
                left = {path: before for path, before in known.items() if path not in seen}
                for failed in failed_part(left, BEGINNINGS[part], refused.code, refused.message):
                    yield failed


async def issues(
    found: AsyncIterator[Issue],
    known: Mapping[str, Known],
    options: ForgeOptions,
    platform: str,
    comments: Callable[[Issue], Awaitable[Sequence[Comment]]],
) -> AsyncGenerator[Found, None]:
    """Each issue with its comments. Those of one that has not changed are not fetched.

    Raises:
        NotFound, NotPermitted, Unavailable: the forge does not give them.
    """
    count = failures = 0
    async for issue in found:
        path = f"{BEGINNINGS[Part.ISSUES]}{issue.number}"
        count += 1
        if count > options.max_issues:
            yield Failed(
                path,
                "too_many",
                "The project has more issues than the source takes: those from this one on were left out. Raise the "
                f"option `max_issues` (now {options.max_issues:,}).",
            )
            return
        before = known.get(path)
        if before is not None and before.etag == issue.tag:
            yield Unchanged(path)
            continue
        said: Sequence[Comment] = ()
        if issue.has_comments and options.max_comments:
            try:
                said = await comments(issue)
            except (NotFetched, NotFound, NotPermitted) as error:
                failures += 1
                if failures >= MOST_FAILURES and isinstance(error, NotFetched):
                    raise Unavailable(f"The forge stopped answering: {error.message}") from error
                yield Failed(path, error.code, error.message)
                continue
        failures = 0
        yield RawDocument(
            path=path,
            data=_text_of(issue, said).encode("utf-8", "replace"),
            media_type="text/markdown",
            title=storable(f"{issue.title} (#{issue.number})"),
            url=issue.url,
            kind=DocumentKind.ISSUE,
            platform=platform,
            author=storable(issue.author) or None,
            published_at=issue.created_at,
            modified_at=issue.updated_at,
            etag=issue.tag,
        )


def _too_large(path: str, options: ForgeOptions) -> Failed:
    return Failed(path, "too_large", f"{path} has more than {options.max_bytes:,} bytes (the option `max_bytes`).")


def _text_of(issue: Issue, comments: Sequence[Comment]) -> str:
    labels = f", {', '.join(issue.labels)}" if issue.labels else ""
    parts = [
        f"# {' '.join(issue.title.split())} (#{issue.number})",
        f"{_moment(issue.created_at)}, {issue.author}, {issue.state}{labels}",
        issue.text.strip(),
    ]
    for comment in comments:
        parts += [f"## {comment.author}, {_moment(comment.at)}", comment.text.strip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
