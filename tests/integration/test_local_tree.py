"""Files of a commit of a repository that is not trusted, by names that it does not choose."""

from pathlib import Path

from tests.conftest import NOON
from tests.support.pull_requests import BUNDLE
from tidemill.forges.git_process import Git
from tidemill.forges.local_tree import read_files
from tidemill.forges.scripted_git import ScriptedRepository

NAMES = ["a\x0cb.md", "a\x0bb.md", "a\rb.md", "a\u2028b.md", "a\x85b.md", "x blob 4", "gone missing"]


async def test_names_that_end_a_line_or_look_like_an_answer_are_read_or_missing(tmp_path: Path) -> None:
    repository = await ScriptedRepository.clone(BUNDLE, tmp_path / "r.git")
    tip = await repository.commit_of("refs/heads/main")
    files: dict[str, bytes | None] = dict.fromkeys(NAMES[:3], b"text")
    commit = await repository.commit("main", {**files, "z.md": b"last"}, message="m", author="a", at=NOON, parent=tip)
    found = await read_files(Git(repository.folder), commit, [*NAMES, "z.md"], max_bytes=100)
    assert found == {**dict.fromkeys(NAMES[:3], "text"), "z.md": "last"}
    assert await read_files(Git(repository.folder), tip, NAMES, max_bytes=100) == {}
