"""Files, issues and wikis of projects on GitHub and GitLab are collected, within their forges' limits."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.support.crawling import LOCAL, NOON, documents, failures, known_of, source_of, unchanged
from tests.support.forges import AT, Forge, blob_name, github_issue, gitlab_issue
from tests.support.sites import Page, collected, redirect, running_site
from tidemill.core.document import Source, SourceKind
from tidemill.core.errors import Configuration, InvalidInput, NotFound, NotPermitted, TidemillError, Unavailable
from tidemill.core.repository import LastChange, TreeFile
from tidemill.crawlers.git import Repositories
from tidemill.crawlers.github import GitHubCrawler
from tidemill.crawlers.gitlab import GitLabCrawler
from tidemill.crawlers.port import Found, Known

KINDS = [SourceKind.GITHUB, SourceKind.GITLAB]
FILES = {
    "README.md": b"# Handbook\n\nHow we buy things.\n",
    "docs/mua-hang.md": "# Mua hàng\n\nPhiếu đề nghị phải có chữ ký.\n".encode(),
    "src/main.py": b"print('hello')\n",
    "logo.png": b"\x89PNG",
    ".github/workflow.yml": b"on: push\n",
    "node_modules/left/index.js": b"x",
    "to.link": b"/etc/passwd",
}
TAKEN = {"README.md", "docs/mua-hang.md", "src/main.py"}


class Secrets:
    """The secrets that are stored."""

    def __init__(self, **values: str) -> None:
        self.values = values

    async def reveal(self, name: str) -> str:
        if name not in self.values:
            raise Configuration(f"The secret {name} is needed and not set.")
        return self.values[name]


class Waits:
    """Waits no time, and keeps for how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Wiki:
    """The one repository that can be cloned: a wiki's."""

    def __init__(self, pages: dict[str, bytes] | None, error: TidemillError | None = None) -> None:
        self._pages = pages or {}
        self._error = error
        self.opened: list[str] = []
        self.files = [TreeFile(path, blob_name(data), len(data)) for path, data in self._pages.items()]

    def check(self, location: str, branch: str | None) -> None:
        """Goes on."""

    async def open(self, source_id: UUID, location: str, branch: str | None) -> "Wiki":
        self.opened.append(location)
        if self._error:
            raise self._error
        return self

    async def read(self, files: Sequence[TreeFile]) -> AsyncGenerator[tuple[TreeFile, bytes], None]:
        for file in files:
            yield file, self._pages[file.path]

    async def last_changes(self) -> Mapping[str, LastChange]:
        return {path: LastChange("An", NOON) for path in self._pages}


def source(forge: Forge, kind: SourceKind, **options: Any) -> Source:
    return source_of(kind, forge.location, **options)


async def crawl(
    forge: Forge,
    kind: SourceKind,
    *,
    known: dict[str, Known] | None = None,
    waits: Waits | None = None,
    wiki: Repositories | None = None,
    **options: Any,
) -> list[Found]:
    secrets, sleep = Secrets(**{"source.127.0.0.1": "right", "source.127.0.0.1_old": "wrong"}), waits or Waits()
    crawler = (
        GitHubCrawler(LOCAL, secrets, wiki, clock=lambda: NOON, sleep=sleep)
        if kind is SourceKind.GITHUB
        else GitLabCrawler(LOCAL, secrets, clock=lambda: NOON, sleep=sleep)
    )
    return await collected(crawler.crawl(source(forge, kind, **options), known or {}))


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    made = Forge(files=dict(FILES))
    async with running_site(made.site):
        yield made


@pytest.mark.parametrize("kind", KINDS)
async def test_the_files_of_a_project_are_collected_and_only_those_that_changed_are_fetched_again(
    forge: Forge, kind: SourceKind
) -> None:
    first = await crawl(forge, kind)
    assert set(documents(first)) == TAKEN
    document = documents(first)["docs/mua-hang.md"]
    assert (document.data, document.etag) == (FILES["docs/mua-hang.md"], blob_name(FILES["docs/mua-hang.md"]))
    assert document.url is not None
    assert document.url.endswith("/blob/main/docs/mua-hang.md")
    assert (document.platform, document.licence) == (kind.value, "MIT" if kind is SourceKind.GITHUB else None)
    fetched = len(forge.asked("blobs"))
    forge.files["README.md"] = b"# Changed\n"
    del forge.files["src/main.py"]
    second = await crawl(forge, kind, known=known_of(first))
    assert (set(documents(second)), unchanged(second)) == ({"README.md"}, {"docs/mua-hang.md"})
    assert len(forge.asked("blobs")) == fetched + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_issues_come_with_their_comments_and_are_asked_for_again_only_when_they_changed(
    forge: Forge, kind: SourceKind
) -> None:
    github = kind is SourceKind.GITHUB
    make, more = (github_issue, {"comments": 3}) if github else (gitlab_issue, {"notes": 3})
    forge.files.clear()
    forge.issues = [make(1, "Duyệt mua hàng", "Ai ký?", **more), make(2, "Second"), make(3, "Third")]
    said = [
        {"created_at": AT, "body": f"Answer {n}", "user": {"login": "an"}, "author": {"username": "an"}}
        for n in range(3)
    ]
    forge.comments = {1: said}
    first = await crawl(forge, kind)
    assert set(documents(first)) == {"issues/1", "issues/2", "issues/3"}
    issue = documents(first)["issues/1"]
    text = issue.data.decode()
    assert text.startswith("# Duyệt mua hàng (#1)\n\n2026-01-05 08:00, binh, open, purchasing\n\nAi ký?\n\n## an, ")
    assert "Answer 2" in text
    assert (issue.kind, issue.author, issue.title) == ("issue", "binh", "Duyệt mua hàng (#1)")
    asked = len(forge.site.asked)
    again = await crawl(forge, kind, known=known_of(first))
    assert unchanged(again) == set(documents(first))
    assert len(forge.asked("issues/1/")) == 2
    assert len(forge.site.asked) - asked == (
        4 if github else 5
    )  # the project, its files, two pages of issues, its wiki


async def test_pull_requests_confidential_issues_and_internal_notes_are_left_out(forge: Forge) -> None:
    forge.files.clear()
    forge.issues = [github_issue(1, "Issue"), github_issue(2, "Change", pull_request={"url": "x"})]
    assert set(documents(await crawl(forge, SourceKind.GITHUB))) == {"issues/1"}
    forge.issues = [gitlab_issue(1, "Open", notes=2), gitlab_issue(2, "Secret", confidential=True)]
    forge.comments = {
        1: [
            {"created_at": AT, "body": "kept", "author": None},
            {"created_at": AT, "body": "inside", "internal": True},
        ]
    }
    found = documents(await crawl(forge, SourceKind.GITLAB))
    assert set(found) == {"issues/1"}
    assert b"kept" in found["issues/1"].data
    assert b"inside" not in found["issues/1"].data


async def test_a_gitlab_wiki_is_collected_page_by_page(forge: Forge) -> None:
    forge.files.clear()
    forge.wiki = {"home": "# Home\n", "quy-trinh": "# Quy trình\n", "third": ""}
    found = documents(await crawl(forge, SourceKind.GITLAB))
    assert set(found) == {"wiki:home", "wiki:quy-trinh", "wiki:third"}
    assert (found["wiki:home"].data, found["wiki:home"].media_type) == (b"# Home\n", "text/markdown")


async def test_a_github_wiki_is_cloned_where_that_can_be_done_and_else_says_so_and_keeps_what_there_was(
    forge: Forge,
) -> None:
    forge.files.clear()
    forge.about = {"has_wiki": True}
    wiki = Wiki({"Home.md": b"# Home\n", "Quy-trinh.md": b"# 1\n"})
    first = await crawl(forge, SourceKind.GITHUB, wiki=wiki)
    assert set(documents(first)) == {"wiki:Home.md", "wiki:Quy-trinh.md"}
    assert wiki.opened == [f"{forge.location}.wiki.git"]
    page = documents(first)["wiki:Quy-trinh.md"]
    assert (page.title, page.author, page.url) == ("Quy trinh", "An", f"{forge.location}/wiki/Quy-trinh")
    known = known_of(first)
    assert unchanged(await crawl(forge, SourceKind.GITHUB, wiki=wiki, known=known)) == set(known)
    assert failures(await crawl(forge, SourceKind.GITHUB)) == {"wiki:": "no_clone"}
    assert failures(await crawl(forge, SourceKind.GITHUB, known=known)) == dict.fromkeys(known, "no_clone")
    down = Wiki(None, Unavailable("The host does not answer."))
    assert failures(await crawl(forge, SourceKind.GITHUB, wiki=down, known=known)) == dict.fromkeys(
        known, "unavailable"
    )
    assert await crawl(forge, SourceKind.GITHUB, wiki=Wiki(None, NotFound("There is none."))) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_private_project_needs_its_token(forge: Forge, kind: SourceKind) -> None:
    forge.token = "right"
    assert set(documents(await crawl(forge, kind, token="source.127.0.0.1"))) == TAKEN
    with pytest.raises(NotFound, match="token"):
        await crawl(forge, kind)
    with pytest.raises(NotPermitted, match="does not accept the source's token"):
        await crawl(forge, kind, token="source.127.0.0.1_old")
    with pytest.raises(Configuration, match="not set"):
        await crawl(forge, kind, token="source.127.0.0.1_missing")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("refusal", "waited"),
    [
        (Page(status=429, headers={"retry-after": "17"}), 17),
        (Page(status=403, headers={"retry-after": "17"}), 17),
        (
            Page(
                status=403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOON.timestamp()) + 30)}
            ),
            31,
        ),
        (
            Page(status=429, headers={"ratelimit-remaining": "0", "ratelimit-reset": str(int(NOON.timestamp()) + 30)}),
            31,
        ),
        (Page(b'{"message": "You have exceeded a secondary rate limit."}', 403), 60),
        (Page(status=502), 1),
    ],
)
async def test_limits_are_waited_for(forge: Forge, kind: SourceKind, refusal: Page, waited: float) -> None:
    forge.first = [refusal]
    waits = Waits()
    assert set(documents(await crawl(forge, kind, waits=waits))) == TAKEN
    assert waits.seconds == [waited]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wait_that_is_too_long_ends_the_crawl_and_says_when_to_come_again(
    forge: Forge, kind: SourceKind
) -> None:
    forge.first = [Page(status=429, headers={"retry-after": "200"})] * 2
    waits = Waits()
    with pytest.raises(Unavailable, match="max_wait") as raised:
        await crawl(forge, kind, waits=waits)
    assert (raised.value.retry_after, waits.seconds) == (200, [200])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Page(status=401), NotPermitted, "token"),
        (Page(status=403), NotPermitted, "right to read"),
        (Page(status=404), NotFound, "Check the location"),
        (Page(b"<html>Sign in</html>"), Unavailable, "than its API promises"),
        (Page(status=418), Unavailable, "418"),
        (redirect("https://elsewhere.example/api"), Unavailable, "another host"),
    ],
)
async def test_a_project_that_is_not_given_is_an_error_that_says_what_to_do(
    forge: Forge, kind: SourceKind, answer: Page, error: type[TidemillError], said: str
) -> None:
    forge.first = [answer]
    with pytest.raises(error, match=said):
        await crawl(forge, kind)
    assert len(forge.site.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_too_large_or_not_given_fails_alone(forge: Forge, kind: SourceKind) -> None:
    forge.files["large.md"] = b"x" * 5000
    forge.broken = {blob_name(FILES["src/main.py"])}
    found = await crawl(forge, kind, max_bytes=1000)
    assert set(documents(found)) == {"README.md", "docs/mua-hang.md"}
    assert failures(found)["large.md"] == "too_large"
    assert "src/main.py" in failures(found)


@pytest.mark.parametrize("kind", KINDS)
async def test_bounds_and_patterns_say_what_was_left_out(forge: Forge, kind: SourceKind) -> None:
    few = await crawl(forge, kind, max_files=1)
    assert (len(documents(few)), list(failures(few).values())) == (1, ["too_many"])
    assert set(documents(await crawl(forge, kind, include=["docs/"]))) == {"docs/mua-hang.md"}
    assert set(documents(await crawl(forge, kind, parts=["issues"]))) == set()
    assert set(documents(await crawl(forge, kind, parts="files"))) == TAKEN
    with pytest.raises(NotFound):
        await crawl(forge, SourceKind.GITHUB, branch="missing")


@pytest.mark.parametrize("kind", KINDS)
async def test_issues_that_are_not_given_are_a_failure_and_what_is_known_of_them_stays(
    forge: Forge, kind: SourceKind
) -> None:
    forge.site.answers = lambda asked: Page(status=403) if "/issues?" in asked.target else forge.answer(asked)
    known = {"issues/4": Known("0" * 64, "tag")}
    found = await crawl(forge, kind, known=known)
    assert (set(documents(found)), failures(found)) == (TAKEN, {"issues/4": "permission_denied"})
    assert failures(await crawl(forge, kind)) == {"issues/": "permission_denied"}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_issue_whose_comments_are_not_given_fails_alone(forge: Forge, kind: SourceKind) -> None:
    forge.files.clear()
    make = github_issue if kind is SourceKind.GITHUB else gitlab_issue
    forge.issues = [make(1, "One", **{"comments" if make is github_issue else "notes": 1}), make(2, "Two")]
    forge.site.answers = lambda asked: Page(status=404) if "/issues/1/" in asked.target else forge.answer(asked)
    found = await crawl(forge, kind)
    assert (set(documents(found)), failures(found)) == ({"issues/2"}, {"issues/1": "not_found"})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_forge_that_goes_down_ends_the_crawl(forge: Forge, kind: SourceKind) -> None:
    forge.files = {f"{number}.md": b"%d" % number for number in range(20)}
    forge.broken = {"/blobs/"}
    with pytest.raises(Unavailable, match="stopped answering"):
        await crawl(forge, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_next_page_on_another_host_is_not_asked_for(forge: Forge, kind: SourceKind) -> None:
    away = {"link": '<https://evil.example/page2>; rel="next"', "content-type": "application/json"}
    forge.site.answers = lambda asked: Page(b"[]", headers=away) if "/issues?" in asked.target else forge.answer(asked)
    with pytest.raises(Unavailable, match="another host"):
        await crawl(forge, kind, token="source.127.0.0.1")


async def test_a_project_without_a_commit_has_no_files(forge: Forge) -> None:
    forge.files.clear()
    forge.site.answers = lambda asked: Page(status=409) if "/git/trees/" in asked.target else forge.answer(asked)
    assert await crawl(forge, SourceKind.GITHUB) == []
    forge.about = {"empty_repo": True}
    assert await crawl(forge, SourceKind.GITLAB) == []


async def test_a_tree_that_github_cuts_short_is_listed_folder_by_folder(forge: Forge) -> None:
    forge.truncated = True
    assert set(documents(await crawl(forge, SourceKind.GITHUB))) == TAKEN


@pytest.mark.parametrize(
    ("kind", "location", "options", "said"),
    [
        (SourceKind.GITHUB, "handbook", {}, "owner/name"),
        (SourceKind.GITHUB, "https://github.com/team/handbook/issues", {}, "owner/name"),
        (SourceKind.GITLAB, "team/../handbook", {}, "owner/name"),
        (SourceKind.GITHUB, "team/handbook", {"wikis": True}, "parts"),
        (SourceKind.GITHUB, "team/handbook", {"parts": ["code"]}, "parts"),
        (SourceKind.GITHUB, "team/handbook", {"token": "provider.openai"}, "source.github.com"),
        (SourceKind.GITLAB, "https://git.example.org/a/b", {"token": "source.gitlab.com"}, "source.git.example.org"),
        (SourceKind.GITLAB, "http://git.example.org/a/b", {"token": "source.git.example.org"}, "https"),
    ],
)
def test_a_wrong_location_or_option_is_named(
    kind: SourceKind, location: str, options: dict[str, Any], said: str
) -> None:
    crawler = GitHubCrawler(LOCAL, Secrets()) if kind is SourceKind.GITHUB else GitLabCrawler(LOCAL, Secrets())
    with pytest.raises(InvalidInput, match=said):
        crawler.check(source_of(kind, location, **options))


def test_projects_are_named_briefly_or_by_their_address() -> None:
    for location in ("team/handbook", "https://github.com/team/handbook.git"):
        GitHubCrawler(LOCAL, Secrets()).check(source_of(SourceKind.GITHUB, location, token="source.github.com_team"))
    for location in ("group/sub/handbook", "https://git.example.org/group/sub/sub/handbook"):
        GitLabCrawler(LOCAL, Secrets()).check(source_of(SourceKind.GITLAB, location))
