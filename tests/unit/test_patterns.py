"""Patterns of paths mean what git means by them, however they are meant to hurt."""

import subprocess
from pathlib import Path

import pytest

from tidemill.analysis.patterns import PathPatterns, path_pattern

PATHS = [
    "a.py",
    "src/a.py",
    "src/deep/a.py",
    "src/deep/er/b.txt",
    "docs/x.md",
    "docs/sub/y.md",
    "build/out.js",
    "src/build/out.js",
    "a-b/[x].txt",
    "node_modules/p/i.js",
    "x1.log",
    "xa.log",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "*.py",
            "/a.py",
            "src/*.py",
            "src/**/*.py",
            "**/a.py",
            "src/**",
            "docs/*",
            "docs/",
            "build",
            "/build",
            "build/",
        ),
        *("**/build", "src", "src/", "*", "**", "x?.log", "x[0-9].log", "x[!0-9].log", "a-b/\\[x\\].txt"),
        *(
            "src/*/a.py",
            "src/**/er/b.txt",
            "src/deep/**/b.txt",
            "node_modules/**",
            "[",
            "*a*",
            "s*c/d*p",
            "src/**/",
            "a.py/",
        ),
    ],
)
def test_a_pattern_means_what_git_means_by_it(pattern: str, tree: Path) -> None:
    (tree / ".gitignore").write_text(pattern + "\n")
    command = ["git", "-C", str(tree), "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, input="\n".join(PATHS), capture_output=True, text=True)
    ours = [path for path in PATHS if PathPatterns([pattern]).match(path)]
    assert ours == done.stdout.splitlines()


def test_the_last_pattern_that_fits_decides() -> None:
    patterns = PathPatterns(["*.js", "!keep.js", "/lib/"])
    assert [path for path in ("a.js", "keep.js", "lib/keep.js", "b.py") if patterns.match(path)] == [
        "a.js",
        "lib/keep.js",
    ]


def test_a_pattern_of_many_stars_takes_no_longer_than_a_plain_one() -> None:
    assert not path_pattern("*a" * 150 + "b").matches("a" * 4000)
    assert not path_pattern("**/a/" * 60 + "b").matches("a/" * 200 + "c")
