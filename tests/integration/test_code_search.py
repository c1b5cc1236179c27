"""The rest of a local repository, as a review reads it beside a change."""

import subprocess
from pathlib import Path

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.flows.surroundings import surrounded_locally
from tidemill.forges.code_search import GitCodeIndex
from tidemill.forges.git_process import Git
from tidemill.forges.local_git import read_change
from tidemill.review.selection import skipped_files
from tidemill.settings import ReviewSettings

FILES = {
    "shop/orders.py": "from shop.prices import total\n\n\ndef place(order):\n    return order\n",
    "shop/prices.py": "def total(lines):\n    return sum(lines)\n",
    "shop/api.py": "from shop.orders import place\n\n\ndef post(body):\n    return place(body)\n",
    "notes.md": "total place\n",
    "gen/a.py": "x = 1\n",
    ".gitattributes": "gen/** linguist-generated\n",
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True
        )

    git("init", "-q")
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git("add", "-A")
    git("commit", "-qm", "before")
    (tmp_path / "shop/orders.py").write_text(FILES["shop/orders.py"].replace("return order", "return total(order)"))
    (tmp_path / "gen/a.py").write_text("x = 2\n")
    (tmp_path / ".gitattributes").write_text("")
    git("commit", "-qam", "after")
    (tmp_path / "shop/prices.py").write_text("def total(lines):\n    return 'not committed'\n")
    return tmp_path


async def test_what_a_commit_calls_and_who_calls_it_comes_from_that_commit(repo: Path) -> None:
    change = await surrounded_locally(await read_change(repo, None, staged=False, limits=ReviewSettings()), repo)
    assert dict(change.around) == {path: FILES[path] for path in ("shop/prices.py", "shop/api.py")}


async def test_what_git_attributes_of_the_base_say_holds_and_not_what_the_change_says(repo: Path) -> None:
    change = await read_change(repo, None, staged=False, limits=ReviewSettings())
    assert change.attributes == {".gitattributes": FILES[".gitattributes"]}
    skipped = {file.path: file.reason for file in skipped_files(change, parse_diff(change.diff))}
    assert skipped["gen/a.py"] == "generated file, by .gitattributes"


async def test_files_with_the_rarest_names_come_first_and_staged_ones_count(repo: Path) -> None:
    index = GitCodeIndex(Git(repo), None)
    assert list(await index.files_naming(["total", "post"], most=1)) == ["shop/api.py"]
    assert await index.files_naming(["nowhere_at_all"], most=5) == {}
    assert await index.files_naming(["--open-files-in-pager=x", "a b"], most=5) == {}
