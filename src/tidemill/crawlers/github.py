"""Projects on GitHub, or on a GitHub Enterprise server: files by a commit's tree, issues, and the wiki's repository.

Follows https://docs.github.com/rest (version 2022-11-28).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel

from tidemill.core.clock import Clock, system_clock
from tidemill.core.document import DocumentKind, RawDocument, Source
from tidemill.core.errors import NotFound, TidemillError, Unavailable
from tidemill.crawlers.fetching import NOT_BOUNDED_HERE, Fetcher, Pace, Sleep
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
from tidemill.crawlers.git import Repositories
from tidemill.crawlers.options import PASSED_OVER, options_of
from tidemill.crawlers.patterns import Patterns
from tidemill.crawlers.port import Failed, Found, Known, Unchanged, failed_part
from tidemill.outbound import Outbound

SITE = "https://github.com"
PUBLIC_API = "https://api.github.com"
VERSION = "2022-11-28"
MOST_FOLDERS = 20_000
PAGE = 100
_RAW = "application/vnd.github.raw+json"
_WIKI = BEGINNINGS[Part.WIKI]
_ALL = Patterns((), ())
_FILE_MODES = frozenset({"100644", "100755"})


class _Licence(BaseModel):
    spdx_id: str | None = None


class _Project(BaseModel):
    default_branch: str
    private: bool = False
    has_issues: bool = True
    has_wiki: bool = True
    license: _Licence | None = None


class _TreeEntry(BaseModel):
    path: str
    mode: str
    type: str
    sha: str
    size: int | None = None


class _Tree(BaseModel):
    tree: list[_TreeEntry]
    truncated: bool = False


class _User(BaseModel):
    login: str


class _Label(BaseModel):
    name: str | None = None


class _Issue(BaseModel):
    number: int
    title: str
    state: str
    html_url: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    user: _User | None = None
    body: str | None = None
    comments: int = 0
    labels: list[_Label | str] = []
    pull_request: dict[str, object] | None = None


class _Comment(BaseModel):
    created_at: AwareDatetime
    user: _User | None = None
    body: str | None = None


class GitHubCrawler:
    """Collects a project's files, issues and wiki.

    Args:
        outbound: makes the connections; refuses private addresses unless they are allowed.
        tokens: gives the secret that a source names.
        repositories: opens the wiki, which is a repository of its own; without them a wiki is a failure that says so.
        clock: the time, for the forge's limits.
        sleep: waits; tests may watch it.
    """

    def __init__(
        self,
        outbound: Outbound,
        tokens: Tokens,
        repositories: Repositories | None = None,
        *,
        clock: Clock = system_clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._outbound = outbound
        self._tokens = tokens
        self._repositories = repositories
        self._clock = clock
        self._sleep = sleep

    def check(self, source: Source) -> None:
        """See `Crawler.check`."""
        check_token(options_of(source, ForgeOptions).token, project_of(source, SITE, most_names=2).site)

    async def crawl(self, source: Source, known: Mapping[str, Known]) -> AsyncGenerator[Found, None]:
        """See `Crawler.crawl`. Paths are those of the files, `issues/12`, and `wiki:` before the wiki's."""
        self.check(source)
        options, project = options_of(source, ForgeOptions), project_of(source, SITE, most_names=2)
        headers = {"x-github-api-version": VERSION}
        if options.token is not None:
            headers["authorization"] = f"Bearer {await self._tokens.reveal(options.token)}"
        base = PUBLIC_API if project.site == SITE else f"{project.site}/api/v3"
        async with self._outbound.client(timeout=options.seconds, max_bytes=NOT_BOUNDED_HERE) as client:
            fetcher = Fetcher(client, Pace(0, self._sleep), seconds=options.seconds)
            api = ForgeApi("GitHub", base, fetcher, headers, Waiting(options.max_wait, self._clock))
            about = await api.one(_Project, f"/repos/{project.path}")
            crawl = _Crawl(api, project, about, options, known)
            parts = [
                (Part.FILES, crawl.files()),
                (Part.ISSUES, crawl.issues()),
                (Part.WIKI, crawl.wiki(source, self._repositories)),
            ]
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
        self._branch = options.branch or about.default_branch
        self._home = f"/repos/{project.path}"
        licence = about.license.spdx_id if about.license else None
        self._licence = licence if licence != "NOASSERTION" else None

    async def files(self) -> AsyncGenerator[Found, None]:
        """The files of the branch's newest commit."""
        taken = self._options.patterns
        entries = [
            FileEntry(path=entry.path, id=entry.sha, size=entry.size)
            for entry in await self._tree()
            if entry.type == "blob" and entry.mode in _FILE_MODES and collected(entry.path.split("/"), taken)
        ]
        async with aclosing(files(entries, self._known, self._options, self._blob, self._document)) as found:
            async for one in found:
                yield one

    async def _tree(self) -> list[_TreeEntry]:
        """All entries of the commit's tree; folder by folder where GitHub does not list them at once."""
        address = f"{self._home}/git/trees/"
        try:
            whole = await self._api.one(_Tree, address + quote(self._branch, safe=""), recursive=1)
        except NotFound:
            if self._options.branch is None and not any(map(_is_file, self._known)):
                return []  # a project without a commit
            raise
        if not whole.truncated:
            return whole.tree
        found: list[_TreeEntry] = []
        waiting = [("", self._branch)]
        for folder, name in waiting:
            if len(waiting) > MOST_FOLDERS:
                raise Unavailable(
                    f"The project has more than {MOST_FOLDERS:,} folders, too many to list over the API. Add it as a "
                    "git repository, which is cloned."
                )
            for entry in (await self._api.one(_Tree, address + quote(name, safe=""))).tree:
                entry = entry.model_copy(update={"path": folder + entry.path})
                if entry.type != "tree":
                    found.append(entry)
                elif _is_entered(entry.path):
                    waiting.append((f"{entry.path}/", entry.sha))
        return found

    async def _blob(self, entry: FileEntry) -> bytes:
        return await self._api.raw(f"{self._home}/git/blobs/{entry.id}", self._options.max_bytes, _RAW)

    def _document(self, entry: FileEntry, data: bytes) -> RawDocument:
        url = f"{self._project.url}/blob/{quote(self._branch)}/{quote(entry.path)}"
        return RawDocument(entry.path, data, url=url, platform="github", licence=self._licence, etag=entry.id)

    async def issues(self) -> AsyncGenerator[Found, None]:
        """The issues with their comments; no pull requests."""
        if not self._about.has_issues:
            return
        listed = self._listed_issues()
        async with aclosing(issues(listed, self._known, self._options, "github", self._comments)) as found:
            async for one in found:
                yield one

    async def _listed_issues(self) -> AsyncIterator[Issue]:
        state: IssueState = self._options.issue_state
        listed = self._api.all(
            _Issue, f"{self._home}/issues", state=state.value, sort="created", direction="asc", per_page=PAGE
        )
        async for one in listed:
            if one.pull_request is None:
                names = [label if isinstance(label, str) else label.name or "" for label in one.labels]
                yield Issue(
                    number=one.number,
                    title=one.title,
                    author=one.user.login if one.user else "",
                    state=one.state,
                    labels=sorted(name for name in names if name),
                    created_at=one.created_at,
                    updated_at=one.updated_at,
                    url=one.html_url,
                    text=one.body or "",
                    tag=f"{one.updated_at.isoformat()}/{one.comments}",
                    has_comments=one.comments > 0,
                )

    async def _comments(self, issue: Issue) -> Sequence[Comment]:
        said: list[Comment] = []
        listed = self._api.all(_Comment, f"{self._home}/issues/{issue.number}/comments", per_page=PAGE)
        async with aclosing(listed) as comments:
            async for one in comments:
                if len(said) == self._options.max_comments:
                    break
                said.append(Comment(one.user.login if one.user else "", one.created_at, one.body or ""))
        return said

    async def wiki(self, source: Source, repositories: Repositories | None) -> AsyncGenerator[Found, None]:
        """The pages of the wiki, which GitHub has as a git repository alone."""
        if not self._about.has_wiki:
            return
        reason = None
        if repositories is None:
            reason = "A GitHub wiki is a git repository, and no way to clone one is set up here."
        elif self._about.private:
            reason = (
                "The wiki of a private project is not cloned, since git is given no token. Add a clone as a folder."
            )
        if reason is not None or repositories is None:
            for failed in failed_part(self._known, _WIKI, "no_clone", reason or ""):
                yield failed
            return
        try:
            tree = await repositories.open(source.id, f"{self._project.url}.wiki.git", None)
        except NotFound:
            return  # a wiki that is switched on, and has no page yet
        except TidemillError as error:
            for failed in failed_part(self._known, _WIKI, error.code, error.message):
                yield failed
            return
        pages = [file for file in tree.files if collected(file.path.split("/"), _ALL)]
        fresh = []
        for page in pages:
            before = self._known.get(_WIKI + page.path)
            if before is not None and before.etag == page.blob:
                yield Unchanged(_WIKI + page.path)
            elif page.bytes > self._options.max_bytes:
                reason = f"{page.path} has more than {self._options.max_bytes:,} bytes (the option `max_bytes`)."
                yield Failed(_WIKI + page.path, "too_large", reason)
            else:
                fresh.append(page)
        changes = await tree.last_changes() if fresh else {}
        async with aclosing(tree.read(fresh)) as contents:
            async for page, data in contents:
                change, name = changes.get(page.path), PurePosixPath(page.path).stem
                yield RawDocument(
                    path=_WIKI + page.path,
                    data=data,
                    title=name.replace("-", " "),
                    url=f"{self._project.url}/wiki/{quote(name)}",
                    kind=DocumentKind.PAGE,
                    platform="github",
                    author=change.author if change else None,
                    licence=self._licence,
                    modified_at=change.at if change else None,
                    etag=page.blob,
                )


def _is_file(path: str) -> bool:
    return not path.startswith((_WIKI, "issues/"))


def _is_entered(folder: str) -> bool:
    name = folder.rpartition("/")[2]
    return not name.startswith(".") and name not in PASSED_OVER
