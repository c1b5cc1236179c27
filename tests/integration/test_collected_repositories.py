"""Git repositories as sources: those on this machine, and those behind an address."""

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.git_server import git_server
from tidemill.core.document import RawDocument, Source, SourceKind
from tidemill.core.errors import Configuration, InvalidInput, NotFound, NotPermitted, TidemillError, TooLarge
from tidemill.crawlers.git import GitCrawler
from tidemill.crawlers.port import Failed, Found, Known, Unchanged
from tidemill.forges.repositories import CollectedRepositories
from tidemill.outbound import Outbound, Refused

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def git(repo: Path, *words: str, given: str = "") -> str:
    command = ["git", "-C", str(repo), "-c", "user.name=Mai Trần", "-c", "user.email=mai@example.org", *words]
    return subprocess.run(command, input=given, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = tmp_path / "served" / "shop"
    made.mkdir(parents=True)
    git(made, "init", "--quiet", "--initial-branch=main")
    write(made, {"README.md": "# Shop\n", "src/cart.py": "def total(): ...\n", ".github/x.yml": "a: 1\n",
                 "logo.png": "\x89PNG", "vendor/big.txt": "x" * 5000})  # fmt: skip
    (made / "link.md").symlink_to("/etc/hostname")
    git(made, "add", "-A")
    git(made, "commit", "--quiet", "-m", "Open the shop")
    return made


def write(repo: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text(text)


def opened(tmp_path: Path, *, allow: tuple[str, ...] = ("127.0.0.1",), most: int = 10_000_000) -> CollectedRepositories:
    return CollectedRepositories(tmp_path / "copies", Outbound(allow), most)


async def crawled(crawler: GitCrawler, source: Source, known: Mapping[str, Known] | None = None) -> dict[str, Found]:
    crawler.check(source)
    return {one.path: one async for one in crawler.crawl(source, known or {})}


def source(location: str, **options: object) -> Source:
    return Source(uuid4(), "shop", SourceKind.GIT, location, None, NOON, options=options)  # type: ignore[arg-type]


async def test_a_repository_of_this_machine_gives_its_files_with_who_changed_them(repo: Path, tmp_path: Path) -> None:
    crawler = GitCrawler(opened(tmp_path), 1000)
    shop = source(str(repo))
    found = await crawled(crawler, shop)
    assert sorted(found) == ["README.md", "src/cart.py", "vendor/big.txt"]
    readme = found["README.md"]
    assert isinstance(readme, RawDocument)
    assert (readme.data, readme.author, readme.platform) == (b"# Shop\n", "Mai Trần", "git")
    assert readme.modified_at is not None
    big = found["vendor/big.txt"]
    assert isinstance(big, Failed)
    assert big.code == "too_large"
    known = {"README.md": Known("digest", readme.etag), "src/cart.py": Known("digest", "another")}
    again = await crawled(crawler, shop, known)
    assert isinstance(again["README.md"], Unchanged)
    assert isinstance(again["src/cart.py"], RawDocument)
    write(repo, {"README.md": "not committed"})
    assert isinstance((await crawled(crawler, shop, known))["README.md"], Unchanged)
    left = await crawled(crawler, source(f"file://{repo}", exclude=["vendor/"], include=["**/*.md", "vendor/"]))
    assert sorted(left) == ["README.md"]


async def test_a_repository_behind_an_address_is_copied_and_fetched_again(repo: Path, tmp_path: Path) -> None:
    git(repo, "branch", "old")
    repositories = opened(tmp_path)
    with git_server(repo.parent) as url:
        shop = source(f"{url}/shop/.git", exclude=["vendor/"])
        crawler = GitCrawler(repositories, 1000)
        assert sorted(await crawled(crawler, shop)) == ["README.md", "src/cart.py"]
        write(repo, {"README.md": "# The shop\n", "new.md": "new\n"})
        git(repo, "add", "-A")
        git(repo, "commit", "--quiet", "-m", "Say more")
        fresh = await crawled(crawler, shop)
        assert sorted(fresh) == ["README.md", "new.md", "src/cart.py"]
        assert isinstance(fresh["README.md"], RawDocument)
        assert fresh["README.md"].data == b"# The shop\n"
        assert fresh["README.md"].author is None, "a copy without history does not know who changed what"
        old = await crawled(crawler, source(f"{url}/shop/.git", branch="old", exclude=["vendor/"]))
        assert sorted(old) == ["README.md", "src/cart.py"]
        with pytest.raises(NotFound, match="no branch 'none'"):
            await crawled(crawler, source(f"{url}/shop/.git", branch="none"))
        with pytest.raises(TidemillError, match="could not be fetched"):
            await crawled(crawler, source(f"{url}/other/.git"))
    repositories.forget(shop.id)
    assert not (tmp_path / "copies" / f"{shop.id}.git").exists()


async def test_an_address_of_ones_own_network_is_refused_unless_it_is_allowed(repo: Path, tmp_path: Path) -> None:
    with git_server(repo.parent) as url:
        for address in (url, url.replace("127.0.0.1", "localhost"), "https://169.254.169.254"):
            with pytest.raises(Refused):
                await crawled(GitCrawler(opened(tmp_path, allow=()), 1000), source(f"{address}/shop/.git"))
    assert not (tmp_path / "copies").exists()


async def test_no_redirect_is_followed(repo: Path, tmp_path: Path) -> None:
    with (
        git_server(repo.parent) as url,
        git_server(repo.parent, redirect=url) as elsewhere,
        pytest.raises(TidemillError, match="could not be fetched"),
    ):
        await crawled(GitCrawler(opened(tmp_path), 1000), source(f"{elsewhere}/shop/.git"))


async def test_a_repository_that_is_too_large_is_not_kept(repo: Path, tmp_path: Path) -> None:
    with git_server(repo.parent) as url:
        shop = source(f"{url}/shop/.git")
        with pytest.raises(TooLarge, match="max_repository_bytes"):
            await crawled(GitCrawler(opened(tmp_path, most=100), 1000), shop)
    assert not (tmp_path / "copies" / f"{shop.id}.git").exists()


def test_a_copy_of_anothers_repository_is_no_source(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo.parent)
    repositories = CollectedRepositories(tmp_path / "copies", Outbound(), 1_000_000, [repo.parent])
    for location in (str(repo), f"file://{repo}", str(tmp_path / "link" / "shop")):
        with pytest.raises(NotPermitted, match="own data"):
            GitCrawler(repositories, 1000).check(source(location))


async def test_a_git_that_would_look_an_address_up_by_itself_is_not_used(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.forges.repositories.PINNING_GIT", (99, 1))
    with git_server(repo.parent) as url, pytest.raises(Configuration, match=r"need git 99\.1 or newer"):
        await crawled(GitCrawler(opened(tmp_path), 1000), source(f"{url}/shop/.git"))


async def test_few_trees_that_stand_for_millions_of_files_are_refused(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.forges.repositories.LISTING_BYTES", 1_000_000)
    blob = git(repo, "rev-parse", "HEAD:README.md")
    tree = git(repo, "mktree", given="".join(f"100644 blob {blob}\tf{number}\n" for number in range(10)))
    for _ in range(6):
        tree = git(repo, "mktree", given="".join(f"040000 tree {tree}\td{number}\n" for number in range(10)))
    git(repo, "update-ref", "refs/heads/main", git(repo, "commit-tree", tree, "-m", "Ten million files"))
    with pytest.raises(TooLarge, match="list of the files"):
        await crawled(GitCrawler(opened(tmp_path), 1000), source(str(repo)))


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("ssh://example.org/shop", {}),
        ("git@example.org:shop.git", {}),
        ("https://mai:secret@example.org/shop.git", {}),
        ("https://-x.example.org/shop.git", {}),
        ("https://+x.example.org/shop.git", {}),
        ("https://ex%61mple.org/shop.git", {}),
        ("https://example.org./shop.git", {}),
        ("https://ex\u00e4mple.org/shop.git", {}),
        ("https://*/shop.git", {}),
        ("ext::sh -c id", {}),
        ("--upload-pack=id", {}),
        ("relative/path", {}),
        ("file:///srv/%00", {}),
        ("https://example.org/shop.git", {"branch": "--exec=id"}),
        ("https://example.org/shop.git", {"branch": "a..b"}),
        ("https://example.org/shop.git", {"include": "no list"}),
        ("https://example.org/shop.git", {"depth": 3}),
    ],
)
def test_what_is_no_repository_or_option_is_said(tmp_path: Path, location: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        GitCrawler(opened(tmp_path), 1000).check(source(location, **options))
    assert "secret" not in caught.value.message
