"""The example repository is what its patches say, and its table of defects points at real lines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUNDLE = EXAMPLES / "orders.bundle"


def git(*arguments, cwd=None):
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "the orders"
    git("clone", "--quiet", str(BUNDLE), str(folder))
    return folder


def rows():
    table = (EXAMPLES / "README.md").read_text("utf-8")
    return re.findall(r"^\| `(\w+)` \| `(.+?):(\d+)` \| .+ \| (.+) \|$", table, re.MULTILINE)


def defects():
    return [(commit, path, int(line)) for commit, path, line, _ in rows()]


def claimed(pattern):
    return {(path, int(line), rule) for _, path, line, seen_by in rows() for rule in re.findall(pattern, seen_by)}


def report(*command, cwd):
    return json.loads(subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True).stdout)


def test_the_bundle_is_whole(clone):
    git("bundle", "verify", str(BUNDLE), cwd=clone)


def test_the_clone_has_main_checked_out_with_eleven_commits(clone):
    assert git("branch", "--show-current", cwd=clone) == "main"
    assert git("rev-list", "--count", "HEAD", cwd=clone) == "11"


def test_the_patches_build_the_same_commits_again(clone, tmp_path):
    bundle = tmp_path / "again.bundle"
    built = subprocess.run(
        [sys.executable, str(EXAMPLES / "build_orders.py"), str(bundle)], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert built == git("rev-parse", "HEAD", cwd=clone)
    assert built in git("bundle", "list-heads", str(bundle))


def test_the_table_names_defects():
    assert len(defects()) == 15


@pytest.mark.parametrize(("commit", "path", "line"), defects())
def test_each_defect_in_the_table_is_on_a_line_that_its_commit_adds(clone, commit, path, line):
    blame = git("blame", "--porcelain", "-L", f"{line},{line}", commit, "--", path, cwd=clone)
    assert blame.startswith(commit)


def test_the_three_newest_commits_are_a_clean_one_between_two_with_defects(clone):
    newest = git("log", "-3", "--format=%H", cwd=clone).split()
    faulty = {commit for commit, _, _ in defects()}
    assert [head[:7] in faulty for head in newest] == [True, False, True]


def test_ruff_sees_what_the_table_says_that_it_sees(clone):
    claims = claimed(r"(?<!Bandit )\b((?:B|BLE|F|S)\d{3})\b")
    select = ",".join(sorted({rule for _, _, rule in claims}))
    found = report(
        "ruff", "check", "--isolated", "--no-cache", "--select", select, "--output-format", "json", cwd=clone
    )
    seen = {(Path(it["filename"]).relative_to(clone).as_posix(), it["location"]["row"], it["code"]) for it in found}
    assert len(claims) == 11
    assert claims <= seen


def test_bandit_sees_what_the_table_says_that_it_sees(clone):
    claims = claimed(r"Bandit (B\d{3})")
    found = report("bandit", "--quiet", "--recursive", "orders", "--format", "json", cwd=clone)
    seen = {(Path(it["filename"]).as_posix(), it["line_number"], it["test_id"]) for it in found["results"]}
    assert len(claims) == 7
    assert claims <= seen
