"""Projects on GitLab, the public one or one's own: files by the branch's tree, issues with their notes, wiki pages.

Follows https://docs.gitlab.com/api/rest (version 4).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel

from tidemill.core.clock import Clock, system_clock
from tidemill.core.document import DocumentKind, RawDocument, Source
from tidemill.core.errors import NotFound, NotPermitted
from tidemill.crawlers.fetching import NOT_BOUNDED_HERE, Fetcher, NotFetched, Pace, Sleep
from tidemill.crawlers.folder import collected
from tidemill.crawlers.forge_api import FileEntry, ForgeApi, Tokens, Waiting, check_token
from tidemill.crawlers.forge_documents import (
    BEGINNINGS,
    Comment,
    ForgeOptions,
    Issue,
    IssueState,
    Part,
    Project,
    files,
    issues,
    project_of,
    taken_parts,
)
from tidemill.crawlers.options import options_of
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.outbound import Outbound

SITE = "https://gitlab.com"
MOST_NAMES = 21
"""A project lies in at most 20 groups (https://docs.gitlab.com/user/group/subgroups/)."""
PAGE = 100
_WIKI = BEGINNINGS[Part.WIKI]
_FILE_MODES = frozenset({"100644", "100755"})
_STATES = {IssueState.OPEN: "opened", IssueState.CLOSED: "closed", IssueState.ALL: "all"}
_FORMATS = {"markdown": "text/markdown", "rdoc": "text/plain", "asciidoc": "text/plain", "org": "text/plain"}
_OFF = "disabled"


class _Project(BaseModel):
    id: int
    default_branch: str | None = None
    empty_repo: bool = False
    issues_access_level: str | None = None
    wiki_access_level: str | None = None
    repository_access_level: str | None = None


class _TreeEntry(BaseModel):
    id: str
    path: str
    type: str
    mode: str


class _User(BaseModel):
    username: str


class _Issue(BaseModel):
    iid: int
    title: str
    state: str
    web_url: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    author: _User | None = None
    description: str | None = None
    user_notes_count: int = 0
    labels: list[str] = []
    confidential: bool = False


class _Note(BaseModel):
    created_at: AwareDatetime
    body: str
    author: _User | None = None
    system: bool = False
    internal: bool = False
    confidential: bool | None = None


class _WikiPage(BaseModel):
    slug: str
    title: str
    format: str = "markdown"
    content: str | None = None


class GitLabCrawler:
    """Collects a project's files, issues and wiki. Confidential issues and internal notes are left out.

    Args:
        outbound: makes the connections; refuses private addresses unless they are allowed.
        tokens: gives the secret that a source names.
        clock: the time, for the forge's limits.
        sleep: waits; tests may watch it.
    """

    def __init__(
        self, outbound: Outbound, tokens: Tokens, *, clock: Clock = system_clock, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._outbound = outbound
        self._tokens = tokens
        self._clock = clock
        self._sleep = sleep

    def check(self, source: Source) -> None:
        """See `Crawler.check`."""
        check_token(options_of(source, ForgeOptions).token, project_of(source, SITE, most_names=MOST_NAMES).site)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """See `Crawler.crawl`. Paths are those of the files, `issues/12`, and `wiki:` before the wiki's."""
        self.check(source)
        options, project = options_of(source, ForgeOptions), project_of(source, SITE, most_names=MOST_NAMES)
        headers = {}
        if options.token is not None:
            headers["authorization"] = f"Bearer {await self._tokens.reveal(options.token)}"
        async with self._outbound.client(timeout=options.seconds, max_bytes=NOT_BOUNDED_HERE) as client:
            fetcher = Fetcher(client, Pace(0, self._sleep), seconds=options.seconds)
            waiting = Waiting(options.max_wait, self._clock)
            api = ForgeApi("GitLab", f"{project.site}/api/v4", fetcher, headers, waiting)
            about = await api.one(_Project, f"/projects/{quote(project.path, safe='')}")
            crawl = _Crawl(api, project, about, options, known)
            parts = [(Part.FILES, crawl.files()), (Part.ISSUES, crawl.issues()), (Part.WIKI, crawl.wiki())]
            async with aclosing(taken_parts(parts, known, options)) as found:
                async for one in found:
                    yield one


class _Crawl:
    """One crawl of one project."""

    def __init__(
        self, api: ForgeApi, project: Project, about: _Project, options: ForgeOptions, known: Mapping[str, Known]
    ) -> None:
        self._api = api
        self._project = project
        self._about = about
        self._options = options
        self._known = known
        self._branch = options.branch or about.default_branch or ""
        self._home = f"/projects/{about.id}"

    async def files(self) -> AsyncGenerator[Found, None]:
        """The files of the branch's newest commit."""
        if self._about.empty_repo or not self._branch or self._about.repository_access_level == _OFF:
            return
        listed = self._api.all(
            _TreeEntry,
            f"{self._home}/repository/tree",
            ref=self._branch,
            recursive="true",
            per_page=PAGE,
            pagination="keyset",
        )
        taken = self._options.patterns
        entries = [
            FileEntry(path=entry.path, id=entry.id)
            async for entry in listed
            if entry.type == "blob" and entry.mode in _FILE_MODES and collected(entry.path.split("/"), taken)
        ]
        async with aclosing(files(entries, self._known, self._options, self._blob, self._document)) as found:
            async for one in found:
                yield one

    async def _blob(self, entry: FileEntry) -> bytes:
        return await self._api.raw(f"{self._home}/repository/blobs/{entry.id}/raw", self._options.max_bytes, "*/*")

    def _document(self, entry: FileEntry, data: bytes) -> RawDocument:
        url = f"{self._project.url}/-/blob/{quote(self._branch)}/{quote(entry.path)}"
        return RawDocument(entry.path, data, url=url, platform="gitlab", etag=entry.id)

    async def issues(self) -> AsyncGenerator[Found, None]:
        """The issues with what people said on them."""
        if self._about.issues_access_level == _OFF:
            return
        listed = self._listed_issues()
        async with aclosing(issues(listed, self._known, self._options, "gitlab", self._notes)) as found:
            async for one in found:
                yield one

    async def _listed_issues(self) -> AsyncIterator[Issue]:
        listed = self._api.all(
            _Issue,
            f"{self._home}/issues",
            state=_STATES[self._options.issue_state],
            scope="all",
            confidential="false",
            order_by="created_at",
            sort="asc",
            per_page=PAGE,
        )
        async for one in listed:
            if not one.confidential:
                yield Issue(
                    number=one.iid,
                    title=one.title,
                    author=one.author.username if one.author else "",
                    state="open" if one.state == "opened" else one.state,
                    labels=sorted(one.labels),
                    created_at=one.created_at,
                    updated_at=one.updated_at,
                    url=one.web_url,
                    text=one.description or "",
                    tag=f"{one.updated_at.isoformat()}/{one.user_notes_count}",
                    has_comments=one.user_notes_count > 0,
                )

    async def _notes(self, issue: Issue) -> Sequence[Comment]:
        said: list[Comment] = []
        listed = self._api.all(
            _Note,
            f"{self._home}/issues/{issue.number}/notes",
            activity_filter="only_comments",
            order_by="created_at",
            sort="asc",
            per_page=PAGE,
        )
        async with aclosing(listed) as notes:
            async for one in notes:
                if len(said) == self._options.max_comments:
                    break
                if not (one.system or one.internal or one.confidential):
                    said.append(Comment(one.author.username if one.author else "", one.created_at, one.body))
        return said

    async def wiki(self) -> AsyncGenerator[Found, None]:
        """The pages of the wiki, each fetched anew: GitLab does not say when one changed."""
        if self._about.wiki_access_level == _OFF:
            return
        async for page in self._api.all(_WikiPage, f"{self._home}/wikis", per_page=PAGE):
            path = _WIKI + page.slug
            try:
                whole = await self._api.one(_WikiPage, f"{self._home}/wikis/{quote(page.slug, safe='')}")
            except (NotFetched, NotFound, NotPermitted) as error:
                yield Failed(path, error.code, error.message)
                continue
            data = (whole.content or "").encode("utf-8", "replace")
            if len(data) > self._options.max_bytes:
                reason = f"{path} has more than {self._options.max_bytes:,} bytes (the option `max_bytes`)."
                yield Failed(path, "too_large", reason)
                continue
            if path in self._known and self._known[path].digest == sha256(data).hexdigest():
                yield Unchanged(path)
                continue
            yield RawDocument(
                path=path,
                data=data,
                media_type=_FORMATS.get(whole.format, "text/plain"),
                title=whole.title,
                url=f"{self._project.url}/-/wikis/{quote(page.slug)}",
                kind=DocumentKind.PAGE,
                platform="gitlab",
            )
