"""Lines that mend a finding, tried out with a project's own formatter and tests: real git, real sandbox."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import reachable
from tidemill.analysis.diff import parse_diff
from tidemill.app.executor import SandboxExecutor, trees_in
from tidemill.app.sandbox import limits_of, sandbox_of
from tidemill.core.change import ChangeSet
from tidemill.core.errors import Configuration
from tidemill.core.execution import Execution, Program
from tidemill.core.finding import Finding, Severity
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.engines import RuffEngine
from tidemill.review.suggesting import Replacement
from tidemill.review.trying import Tried, Trying
from tidemill.sandbox.on_demand import OnDemandSandbox
from tidemill.settings.sandbox import SandboxSettings

CODE = "def is_free(price):\n    return price is 0\n"
TEST = """\
import unittest
from shop.price import is_free


class Free(unittest.TestCase):
    def test_free(self):
        self.assertTrue(is_free(0.0))
        self.assertFalse(is_free(1))
"""
FORMATTER = """\
import pathlib, sys
file = pathlib.Path(sys.argv[1])
file.write_text(file.read_text().replace("0.0", "0"))
"""
TESTS = ("python", "-m", "unittest", "-q")
FINDING = Finding("ruff", "F632", "shop/price.py", 2, Severity.HIGH, "Is literal", "m", "return price is 0", "f")


class Project:
    """A project with a head that is kept as a bare copy, and a change that adds the file with the defect."""

    def __init__(self, folder: Path) -> None:
        work, self.copies, self.scratch = folder / "work", folder / "copies", folder / "scratch"
        for place in (work / "shop", work / "tests", self.copies, self.scratch):
            place.mkdir(parents=True)
        files = {
            "shop/__init__.py": "",
            "shop/price.py": CODE,
            "tests/__init__.py": "",
            "tests/test_price.py": TEST,
            "fmt.py": FORMATTER,
        }
        for path, text in files.items():
            (work / path).write_text(text)
        (work / "outside").symlink_to("/etc/passwd")
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "all")):
            subprocess.run(["git", *command], cwd=work, check=True)
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True, text=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(work), str(self.copies / "a.git")], check=True)
        body = "".join(f"+{line}\n" for line in CODE.splitlines())
        diff = f"--- /dev/null\n+++ b/shop/price.py\n@@ -0,0 +1,2 @@\n{body}"
        self.change = ChangeSet("t", None, head.stdout.strip(), diff, {"shop/price.py": CODE})

    async def tried(self, sandbox: object, line: str, change: ChangeSet | None = None, **policy: object) -> Tried:
        trees = trees_in(self.copies, self.scratch)
        executor = SandboxExecutor(sandbox, limits_of(SandboxSettings()), trees)  # type: ignore[arg-type]
        trying = Trying([RuffEngine()], executor)
        read = change or self.change
        asked = ReviewPolicy(**policy)  # type: ignore[arg-type]
        return await trying.tried(read, parse_diff(read.diff), FINDING, Replacement(2, 2, (line,)), asked)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(reachable(tmp_path) / "project")


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[OnDemandSandbox]:
    made = sandbox_of(SandboxSettings())
    yield made
    await made.aclose()


async def test_a_projects_formatter_and_tests_decide_what_is_offered_for_a_click(
    project: Project, sandbox: OnDemandSandbox
) -> None:
    policy = {"test_command": TESTS, "format_command": ("python", "fmt.py", "{path}")}
    good = await project.tried(sandbox, "    return price == 0.0", **policy)
    assert good.unverified is None, good
    assert good.applied is not None
    assert good.applied.verified == ("applies", "parses", "clears", "formatted", "tests")
    assert good.applied.suggestion.text == "    return price == 0", "as the formatter would have it"
    bad = await project.tried(sandbox, "    return price != 0", **policy)
    assert bad.applied is not None
    assert str(bad.unverified).startswith("the project's tests do not pass with it (exited)")
    assert list(project.scratch.iterdir()) == []


async def test_tests_that_do_not_end_or_want_the_network_are_a_reason_and_no_suggestion(
    project: Project, sandbox: OnDemandSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.review.trying.TEST_SECONDS", 1.0)
    endless = await project.tried(sandbox, "    return price == 0", test_command=("sleep", "60"))
    assert "(timeout)" in str(endless.unverified)
    connect = "import socket; socket.create_connection(('127.0.0.1', 5432), 1)"
    online = await project.tried(sandbox, "    return price == 0", test_command=("python", "-c", connect))
    assert "(exited)" in str(online.unverified)


async def test_without_a_copy_of_the_head_or_a_sandbox_the_lines_are_text_with_the_reason(
    project: Project, sandbox: OnDemandSandbox
) -> None:
    other = replace(project.change, head="0" * 40)
    unknown = await project.tried(sandbox, "    return price == 0", other, test_command=TESTS)
    assert unknown.applied is not None
    assert "no copy of this head" in str(unknown.unverified)

    class Nowhere:
        async def run(self, program: Program) -> Execution:
            raise Configuration("bubblewrap makes no sandbox here: no namespaces.")

    refused = await project.tried(Nowhere(), "    return price == 0", test_command=TESTS)
    assert "no namespaces" in str(refused.unverified)
    assert await asyncio.to_thread(lambda: list(project.scratch.iterdir())) == []
