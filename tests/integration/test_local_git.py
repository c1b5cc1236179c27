"""Changes read from real repositories, friendly and hostile."""

import os
import subprocess
from pathlib import Path

import pytest
import uvloop

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeKind, ChangeSet, FileHistory
from tidemill.core.errors import Configuration, InvalidInput, NotFound, NotPermitted, TidemillError, TooLarge
from tidemill.forges.git_process import ADDRESSES, Git
from tidemill.forges.limits import check_files
from tidemill.forges.local_git import file_at, read_change, recent_commits
from tidemill.forges.roots import resolve_repository
from tidemill.settings import ReviewSettings

LIMITS = ReviewSettings()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "a repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    command = ["git", *identity, "-c", "commit.gpgsign=false", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, title: str, **files: str | bytes | None) -> str:
    for name, content in files.items():
        write(folder, name, content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", title)
    return git(folder, "rev-parse", "HEAD")


def write(folder: Path, name: str, content: str | bytes | None) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


async def read(folder: Path, revision: str | None = None, *, staged: bool = False) -> ChangeSet:
    return await read_change(folder, revision, staged=staged, limits=LIMITS)


async def test_a_first_commit_is_compared_with_nothing(repo: Path) -> None:
    head = commit(repo, "Begin: đường", a="1\n")
    change = await read(repo)
    assert (change.title, change.base, change.head, dict(change.files)) == ("Begin: đường", None, head, {"a": "1\n"})
    assert parse_diff(change.diff).files[0].kind is ChangeKind.ADDED


async def test_a_commit_is_compared_with_its_first_parent_even_a_merge(repo: Path) -> None:
    commit(repo, "one", a="1\n")
    git(repo, "checkout", "-q", "-b", "side")
    commit(repo, "side", b="2\n")
    git(repo, "checkout", "-q", "main")
    main = commit(repo, "two", a="3\n")
    git(repo, "merge", "-q", "--no-ff", "-m", "merge", "side")
    change = await read(repo, "HEAD")
    assert (change.base, list(change.files)) == (main, ["b"])


async def test_ranges_compare_both_ends_or_begin_at_the_merge_base(repo: Path) -> None:
    base = commit(repo, "one", a="1\n")
    git(repo, "checkout", "-q", "-b", "side")
    commit(repo, "side", b="2\n")
    git(repo, "checkout", "-q", "main")
    main = commit(repo, "two", a="3\n")
    two, three, open_end = await read(repo, "main..side"), await read(repo, "main...side"), await read(repo, "side..")
    assert (two.base, [file.path for file in parse_diff(two.diff).files]) == (main, ["a", "b"])
    assert (three.base, list(three.files), three.title) == (base, ["b"], "main...side")
    assert open_end.head == main


async def test_the_index_is_read_with_and_without_commits(repo: Path) -> None:
    write(repo, "a", "1\n")
    git(repo, "add", "a")
    first = await read(repo, staged=True)
    assert (first.base, first.head, dict(first.files)) == (None, None, {"a": "1\n"})
    head = commit(repo, "one")
    write(repo, "a", "2\n")
    git(repo, "add", "a")
    write(repo, "a", "not staged\n")
    change = await read(repo, staged=True)
    assert (change.base, dict(change.files)) == (head, {"a": "2\n"})
    with pytest.raises(InvalidInput, match="not of both"):
        await read(repo, "HEAD", staged=True)


async def test_an_empty_change_is_no_error(repo: Path) -> None:
    commit(repo, "one", a="1\n")
    assert (await read(repo, staged=True)).diff == ""
    commit(repo, "nothing")
    assert (await read(repo)).diff == ""


async def test_every_kind_of_file_change_is_read(repo: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    commit(library, "lib", x="1\n")
    long = "".join(f"line {number}\n" for number in range(50))
    commit(repo, "one", gone="x\n", script="#!\n", crlf="a\r\nb\r\n", **{"old name.py": long})
    git(repo, "submodule", "add", "-q", str(library), "lib")
    (repo / "script").chmod(0o755)
    git(repo, "mv", "old name.py", 'đường "mới".py')
    (repo / "link").symlink_to("script")
    commit(
        repo,
        "two",
        gone=None,
        crlf="a\r\nB\r\n",
        bad=b"caf\xe9\n",
        image=b"\x89PNG\0\0",
        **{'đường "mới".py': long.replace("line 7\n", "line seven\n"), "end": "no newline"},
    )
    change = await read(repo)
    files = {file.path: file for file in parse_diff(change.diff).files}
    assert files["gone"].kind is ChangeKind.DELETED
    assert files["script"].kind is ChangeKind.MODE
    renamed = files['đường "mới".py']
    assert (renamed.kind, renamed.old_path, len(renamed.hunks)) == (ChangeKind.RENAMED, "old name.py", 1)
    assert files["lib"].submodule
    assert files["image"].binary
    assert files["bad"].hunks[0].added[0].text == "caf\ufffd"
    assert files["end"].hunks[0].added[0].eol == ""
    assert files["crlf"].hunks[0].added[0].eol == "\r\n"
    assert set(change.files) == {"script", 'đường "mới".py', "crlf", "bad", "end", ".gitmodules"}
    assert change.files["bad"] == "caf\ufffd\n"
    assert change.files["crlf"] == "a\r\nB\r\n"


async def test_no_text_holds_a_character_that_a_database_refuses(repo: Path) -> None:
    text = b"x" * 8000 + b"\n\0 \xed\xa0\x80\n"
    commit(repo, "one", late=text, early=b"a\0b\nc\n", **{".gitattributes": "* diff\n"})
    change = await read(repo, None)
    ranged = await read(repo, "HEAD..HEAD")
    files = {file.path: file for file in parse_diff(change.diff).files}
    assert [line.text for line in files["early"].hunks[0].added] == ["a\ufffdb", "c"]
    assert change.files["late"].startswith("x" * 8000 + "\n\ufffd ")
    assert "early" not in change.files
    for said in (change.diff, change.title, ranged.title, *change.files, *change.files.values()):
        assert "\0" not in said
        said.encode()


async def test_a_large_file_is_left_to_its_diff(repo: Path) -> None:
    commit(repo, "one", big="x" * 2000 + "\n", small="y\n", same="y\n")
    change = await read_change(repo, None, staged=False, limits=ReviewSettings(max_file_bytes=1000))
    assert dict(change.files) == {"small": "y\n", "same": "y\n"}
    assert "x" * 2000 in change.diff


async def test_the_limit_holds_for_the_text_that_is_kept(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repo, "one", latin=b"\xe9" * 500 + b"\n", small="đ\n", third="x" * 900)
    limits = ReviewSettings(max_file_bytes=1000)
    change = await read_change(repo, None, staged=False, limits=limits)
    assert list(change.files) == ["small", "third"]
    check_files(change.files, limits)
    with pytest.raises(TooLarge, match=r"'b' has 1,002 bytes.*max_file_bytes"):
        check_files({"a": "x" * 1000, "b": "đ" * 501}, limits)
    monkeypatch.setattr("tidemill.forges.limits.MAX_TOTAL_BYTES", 1000)
    with pytest.raises(TooLarge, match="1,800 bytes together"):
        check_files({"a": "x" * 900, "b": "x" * 900}, limits)
    assert list((await read_change(repo, None, staged=False, limits=limits)).files) == ["small"]


async def test_a_diff_over_the_limit_says_both_numbers(repo: Path) -> None:
    commit(repo, "one", big="some text of a line\n" * 700_000)
    with pytest.raises(TooLarge, match=r"The diff has 14,700,\d+ bytes.*at most 10,000,000"):
        await read(repo)
    with pytest.raises(TooLarge, match="more than"):
        await read_change(repo, None, staged=False, limits=ReviewSettings(max_diff_bytes=1000))


async def test_a_huge_text_of_short_lines_is_not_compared_and_git_has_little_memory(repo: Path) -> None:
    commit(repo, "one", big="a\n" * 10_000_000, small="y\n")
    files = {file.path: file for file in parse_diff((await read(repo)).diff).files}
    assert [files["big"].binary, files["small"].binary] == [True, False]
    limits = await Git(repo, settings=["alias.limits=!ulimit -v"]).run("limits")
    assert int(limits) == ADDRESSES // 1024


@pytest.mark.parametrize(
    "revision",
    ["nope", "--upload-pack=touch x", "-h", "--help..HEAD", "HEAD..--output=x", "HEAD^{tree}", "HEAD:a", "a b"],
)
async def test_a_revision_that_is_none_is_named_and_never_an_option(repo: Path, revision: str) -> None:
    commit(repo, "one", a="1\n")
    with pytest.raises(NotFound, match="git fetch"):
        await read(repo, revision)
    assert sorted(os.listdir(repo)) == [".git", "a"]  # noqa: PTH208 - async code lists a folder without pathlib


@pytest.mark.parametrize("revision", ["", "a\nb", "a\0b", "x" * 2000])
async def test_what_can_not_be_a_revision_is_refused(repo: Path, revision: str) -> None:
    with pytest.raises(InvalidInput, match="can't be a revision"):
        await read(repo, revision)


async def test_places_without_commits_are_explained(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="no commits yet"):
        await read(repo)
    assert await recent_commits(repo, 5) == []
    with pytest.raises(InvalidInput, match="no git repository"):
        await read(tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        await read(tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Configuration, match="git is not installed"):
        await read(repo)


async def test_a_shallow_clone_is_not_taken_for_a_first_commit(repo: Path, tmp_path: Path) -> None:
    commit(repo, "one", a="1\n")
    commit(repo, "two", a="2\n")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    with pytest.raises(NotFound, match="deepen"):
        await read(tmp_path / "shallow")


async def test_a_files_history_is_what_the_year_before_did_to_it(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(day: str) -> None:
        monkeypatch.setenv("GIT_AUTHOR_DATE", f"{day}T00:00:00Z")
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{day}T00:00:00Z")

    at("2020-01-01")
    commit(repo, "Begin", **{"sổ.py": "1\n", "b.py": "1\n"})
    at("2024-06-01")
    commit(repo, "Fix what is over a year old", **{"sổ.py": "2\n"})
    at("2025-09-01")
    commit(repo, "Fixed: the sum", **{"sổ.py": "3\n"})
    commit(repo, "Sửa lỗi tính tổng", **{"sổ.py": "4\n"})
    commit(repo, "Prefix the names", **{"sổ.py": "5\n"})
    git(repo, "checkout", "-q", "-b", "side")
    commit(repo, "fix(b): less", **{"b.py": "2\n"})
    git(repo, "checkout", "-q", "main")
    commit(repo, "A file more", c="1\n")
    git(repo, "merge", "-q", "--no-ff", "-m", "Merge a fix", "side")
    git(repo, "mv", "sổ.py", "d.py")
    head = commit(repo, "Move", e="new\n", **{"b.py": "3\n"})

    change = await read(repo)
    assert change.history == {"d.py": FileHistory(3, 2), "b.py": FileHistory(1, 1)}
    write(repo, "d.py", "6\n")
    git(repo, "add", "-A")
    assert (await read(repo, staged=True)).history == {"d.py": FileHistory(1, 0)}  # it is new under this name
    git(tmp_path, "clone", "-q", "--depth=3", f"file://{repo}", "shallow")
    shallow = await read(tmp_path / "shallow")
    assert (shallow.head, shallow.files, shallow.history) == (head, change.files, {})


async def test_a_history_that_is_too_long_is_not_read_and_the_change_is(
    repo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tidemill.forges.file_history.MOST_BYTES", 2000)
    commit(repo, "one", a="1\n")
    commit(repo, "two", **{f"file-{number}": "1\n" for number in range(100)})
    commit(repo, "three", a="2\n")
    change = await read(repo)
    assert (change.files, change.history) == ({"a": "2\n"}, {})
    assert "How often the files of" in caplog.text


@pytest.mark.parametrize(
    ("date", "counted"), [("-5", None), ("0", 0), ("99999999999", 1), ("9" * 15, 1), ("9" * 30, 1), ("9" * 5000, 1)]
)
async def test_a_commit_of_any_date_has_a_history(repo: Path, date: str, counted: int | None) -> None:
    first = commit(repo, "one", a="1\n")
    tree = git(repo, "rev-parse", f"{commit(repo, 'two', a='2')}^{{tree}}")
    text = f"tree {tree}\nparent {first}\nauthor A <a@b> {date} +0000\ncommitter A <a@b> {date} +0000\n\nFix it\n"
    write(repo, "../commit", text)
    strange = git(repo, "hash-object", "-t", "commit", "--literally", "-w", "../commit")
    git(repo, "update-ref", "refs/heads/main", strange)
    git(repo, "reset", "-q", "--hard", "main")
    commit(repo, "three", a="3\n")
    change = await read(repo)
    assert change.files == {"a": "3\n"}
    if counted is not None:  # what git takes a time before 1970 for is its own affair
        assert change.history == dict.fromkeys(["a"][:counted], FileHistory(1, 1))


async def test_unrelated_branches_have_no_merge_base(repo: Path) -> None:
    commit(repo, "one", a="1\n")
    git(repo, "checkout", "-q", "--orphan", "other")
    commit(repo, "two", a="2\n")
    with pytest.raises(InvalidInput, match="no commit in common"):
        await read(repo, "main...other")


async def test_nothing_that_a_repository_names_is_run(repo: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\necho ran >> '{proof}'\ncat \"$1\" 2>/dev/null\n")
    program.chmod(0o755)
    commit(repo, "one", a="1\n", **{".gitattributes": "* diff=evil filter=evil\n"})
    commit(repo, "two", a="2\n")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (hooks / name).symlink_to(program)
    for key in (
        *(
            "diff.external",
            "diff.evil.command",
            "diff.evil.textconv",
            "core.fsmonitor",
            "core.pager",
            "pager.diff-tree",
        ),
        *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.sshCommand", "gpg.program"),
    ):
        git(repo, "config", key, str(program))
    for key, value in {
        "core.hooksPath": str(hooks),
        "log.showSignature": "true",
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.submodule": "log",
        "diff.context": "0",
        "color.ui": "always",
        "alias.diff-tree": f"!{program}",
        "format.pretty": "raw",
    }.items():
        git(repo, "config", key, value)
    proof.unlink(missing_ok=True)
    change = await read(repo)
    await read(repo, staged=True)
    assert [one.title for one in await recent_commits(repo, 5)] == ["two", "one"]
    assert not proof.exists()
    assert change.files["a"] == "2\n"
    assert parse_diff(change.diff).files[0].path == "a"


async def test_a_repositorys_settings_do_not_lead_git_to_other_places(repo: Path, tmp_path: Path) -> None:
    commit(repo, "one", a="1\n\n2\n")
    commit(repo, "two", a="1\n\n3\n")
    expected = await read(repo)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".gitattributes").write_text("* -diff\n")
    for key, value in {
        "core.attributesFile": str(outside / ".gitattributes"),
        "core.bigFileThreshold": "1",
        "diff.suppressBlankEmpty": "true",
    }.items():
        git(repo, "config", key, value)
    assert await read(repo) == expected
    git(repo, "config", "core.worktree", str(outside))
    for folder in (repo, repo / ".git"):
        with pytest.raises(InvalidInput, match=r"core\.worktree"):
            await read(folder)


async def test_git_does_not_climb_from_broken_data_to_the_repository_above(repo: Path) -> None:
    commit(repo, "one", a="1\n")
    (repo / "below" / ".git" / "objects").mkdir(parents=True)
    (repo / "below" / ".git" / "refs").mkdir()
    (repo / "below" / ".git" / "HEAD").write_text("nonsense")
    with pytest.raises(InvalidInput, match="broken"):
        await read(repo / "below")
    (repo / "src").mkdir()
    assert (await read(repo / "src")).files == {"a": "1\n"}


@pytest.mark.unmeasured
def test_fifty_reads_in_a_row_under_uvloop(repo: Path) -> None:
    commit(repo, "one", a="1\n")

    async def reads() -> list[ChangeSet]:
        return [await read(repo) for _ in range(50)]

    assert [change.files for change in uvloop.run(reads())] == [{"a": "1\n"}] * 50


def test_git_that_ends_before_it_reads_says_why_under_uvloop(repo: Path) -> None:
    async def fail() -> None:
        for _ in range(20):
            with pytest.raises(TidemillError, match="git cat-file failed"):
                await Git(repo).run("cat-file", "--batch", "--nonsense", stdin=b"x" * 1_000_000)

    uvloop.run(fail())


async def test_a_missing_object_is_never_fetched(repo: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    commit(repo, "one", a="1\n")
    commit(repo, "two", a="2\n")
    blob = git(repo, "rev-parse", "HEAD:a")
    (repo / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    write(repo, "a", None)
    git(repo, "config", "remote.origin.url", f"ext::sh -c 'touch {proof}'")
    git(repo, "config", "remote.origin.promisor", "true")
    git(repo, "config", "core.repositoryFormatVersion", "1")
    git(repo, "config", "extensions.partialClone", "origin")
    git(repo, "config", "protocol.ext.allow", "always")
    with pytest.raises(TidemillError, match="git diff-tree failed"):
        await read(repo)
    assert not proof.exists()


async def test_replacement_objects_do_not_change_what_is_read(repo: Path) -> None:
    one = commit(repo, "one", a="1\n")
    two = commit(repo, "two", a="2\n")
    git(repo, "replace", two, one)
    assert (await read(repo, two)).files["a"] == "2\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
async def test_a_repository_of_another_user_is_refused_with_the_way_out(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repo, "one", a="1\n")
    for path in (repo, repo / ".git"):
        os.chown(path, 12345, 12345)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(NotPermitted, match=r"safe\.directory"):
        await read(repo)


async def test_recent_commits_come_newest_first(repo: Path) -> None:
    for title in ("one", "hai — ba", "three \x1e\x1f %H"):
        commit(repo, title)
    commits = await recent_commits(repo, 2)
    assert [(one.title, one.author) for one in commits] == [("three \x1e\x1f %H", "A"), ("hai — ba", "A")]
    assert (await read(repo)).title == "three \x1e\x1f %H"
    assert commits[0].committed_at.tzinfo is not None
    assert commits[0].sha == git(repo, "rev-parse", "HEAD")


class TestResolve:
    """Which repositories a request may name."""

    def test_a_repository_under_a_root_is_found_from_its_folders_too(self, repo: Path) -> None:
        (repo / "src").mkdir()
        assert resolve_repository(repo, [repo.parent]) == repo
        assert resolve_repository(str(repo / "src"), [repo.parent]) == repo
        assert resolve_repository(repo, [repo]) == repo

    def test_bare_repositories_and_linked_work_trees_are_found(self, repo: Path, tmp_path: Path) -> None:
        commit(repo, "one", a="1\n")
        git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
        git(repo, "worktree", "add", "-q", str(tmp_path / "tree"))
        assert resolve_repository(tmp_path / "bare.git", [tmp_path]) == tmp_path / "bare.git"
        assert resolve_repository(tmp_path / "tree", [tmp_path]) == tmp_path / "tree"

    def test_elsewhere_is_refused_alike_whether_it_exists_or_not(self, repo: Path, tmp_path: Path) -> None:
        allowed = tmp_path / "allowed"
        allowed.mkdir()
        (allowed / "link").symlink_to(repo)
        (allowed / "gitlink").mkdir()
        (allowed / "gitlink" / ".git").write_text(f"gitdir: {repo}/.git\n")
        (allowed / "dotlink").mkdir()
        (allowed / "dotlink" / ".git").symlink_to(repo / ".git")
        (allowed / "shared").mkdir()
        git(allowed / "shared", "init", "-q")
        (allowed / "shared" / ".git" / "commondir").write_text(str(repo / ".git"))
        for path in (
            *(
                repo,
                tmp_path / "missing",
                allowed / "link",
                allowed / "gitlink",
                allowed / "dotlink",
                allowed / "shared",
            ),
            *(allowed / ".." / "a repo", Path("allowed"), f"{allowed}-more", f"{allowed}\0"),
        ):
            with pytest.raises(NotPermitted, match=r"review\.roots"):
                resolve_repository(path, [allowed])
        with pytest.raises(NotPermitted):
            resolve_repository(repo, [])

    def test_objects_are_borrowed_only_from_under_the_roots(self, repo: Path, tmp_path: Path) -> None:
        commit(repo, "one", a="1\n")
        allowed = tmp_path / "allowed"
        allowed.mkdir()
        git(tmp_path, "clone", "-q", "--shared", str(repo), "allowed/first")
        git(tmp_path, "clone", "-q", "--shared", str(allowed / "first"), "allowed/second")
        git(allowed, "init", "-q", "base")
        git(allowed, "clone", "-q", "--shared", str(allowed / "base"), "inside")
        assert resolve_repository(allowed / "inside", [allowed]) == allowed / "inside"
        assert resolve_repository(allowed / "second", [tmp_path]) == allowed / "second"
        (allowed / "relative").mkdir()
        git(allowed / "relative", "init", "-q")
        alternates = allowed / "relative" / ".git" / "objects" / "info" / "alternates"
        (allowed / "link").symlink_to(repo)
        for line in ("../../../../a repo/.git/objects", f'"{repo}/.git/objects"', "../../../link/.git/objects", "a\0b"):
            alternates.write_text(f"# a comment\n\n{line}\n")
            with pytest.raises(NotPermitted):
                resolve_repository(allowed / "relative", [allowed])
        alternates.write_text("../../../base/.git/objects\n.\n")
        assert resolve_repository(allowed / "relative", [allowed]) == allowed / "relative"
        for name in ("first", "second"):
            with pytest.raises(NotPermitted, match=r"review\.roots"):
                resolve_repository(allowed / name, [allowed])

    @pytest.mark.parametrize("place", ["pack", "info", "ab", "pack/pack-1.pack", "ab/cdef", "info/alternates"])
    def test_links_among_the_objects_do_not_lead_out(self, repo: Path, tmp_path: Path, place: str) -> None:
        outside = tmp_path / "outside"
        (outside / "folder").mkdir(parents=True)
        (outside / "file").write_text("")
        link = repo / ".git" / "objects" / place
        link.parent.mkdir(exist_ok=True)
        if link.is_dir():
            link.rmdir()
        link.symlink_to(outside / ("file" if "/" in place else "folder"))
        with pytest.raises(NotPermitted, match=r"review\.roots"):
            resolve_repository(repo, [repo])
        assert resolve_repository(repo, [tmp_path]) == repo

    def test_a_file_that_says_where_gits_data_is_is_read_as_git_reads_it(self, repo: Path, tmp_path: Path) -> None:
        allowed = tmp_path / "allowed"
        (allowed / "tree").mkdir(parents=True)
        git(allowed, "init", "-q", "good")
        (allowed / "good .git").symlink_to(repo / ".git")
        good = allowed / "good" / ".git"
        (allowed / "tree" / ".git").write_text(f"gitdir: {good}\n")
        assert resolve_repository(allowed / "tree", [allowed]) == allowed / "tree"
        for text in (
            *(f"gitdir: {allowed}/good .git\n", f"gitdir: {good}\0\n", f"{good}\n", "gitdir: ", ""),
            *("gitdir: " + "x" * 3000, "gitdir: " + "x/" * 50_000),
        ):
            (allowed / "tree" / ".git").write_text(text)
            with pytest.raises(NotPermitted, match=r"review\.roots"):
                resolve_repository(allowed / "tree", [allowed])

    @pytest.mark.parametrize("name", ["x" * 3000, "/".join(["x" * 200] * 40), "\0", "\ud800", "loop", "fifo/a"])
    def test_names_that_no_file_system_takes_are_refused_like_any_other(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises((NotPermitted, InvalidInput), match=r"review\.roots|no git repository"):
            resolve_repository(tmp_path / name, [tmp_path])

    def test_data_that_can_not_be_read_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".git").write_text("gitdir: x\n")

        def unreadable(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "read_bytes", unreadable)
        with pytest.raises(NotPermitted, match=r"review\.roots"):
            resolve_repository(tmp_path, [tmp_path])

    def test_a_folder_under_a_root_does_not_lead_to_a_repository_above_it(self, repo: Path) -> None:
        (repo / "root").mkdir()
        with pytest.raises(InvalidInput, match="no git repository"):
            resolve_repository(repo / "root", [repo / "root"])


async def test_the_old_sides_texts_come_under_the_new_paths(repo: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(40))
    commit(repo, "Begin", **{"old.py": text, "same.py": "x = 1\n", "gone.py": "y = 1\n"})
    files = {"old.py": None, "new.py": text.replace("line 3\n", "line three\n"), "gone.py": None, "added.py": "z\n"}
    commit(repo, "Change", **files)
    change = await read_change(repo, None, staged=False, limits=LIMITS)
    assert change.before == {"new.py": text}
    assert set(change.files) == {"new.py", "added.py"}
    small = await read_change(repo, None, staged=False, limits=ReviewSettings(max_file_bytes=10))
    assert (small.files, small.before) == ({"added.py": "z\n"}, {})


async def test_a_file_is_read_by_its_exact_path_and_no_pattern(repo: Path) -> None:
    head = commit(repo, "Begin", **{"a[1].py": "one\n", "a1.py": "two\n", "folder/b.py": "three\n"})
    assert await file_at(Git(repo), head, "a[1].py", max_bytes=100) == b"one\n"
    assert await file_at(Git(repo), head, "a*.py", max_bytes=100) is None
    assert await file_at(Git(repo), head, "folder", max_bytes=100) is None
    with pytest.raises(TooLarge):
        await file_at(Git(repo), head, "a1.py", max_bytes=3)


async def test_a_secret_setting_reaches_git_without_standing_in_its_arguments(repo: Path) -> None:
    git_there = Git(repo, secret_settings={"http.extraHeader": "Authorization: hidden"})
    assert await git_there.run("config", "http.extraHeader") == b"Authorization: hidden\n"
