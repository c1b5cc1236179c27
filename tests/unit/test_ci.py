"""CI fails when a test failed or was not run, and says which."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def verdict(folder, tests):
    """Runs these tests in a pytest of their own, then CI's judgement of the report."""
    module, report = folder / "test_it.py", folder / "report.xml"
    module.write_text(tests, "utf-8")
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", folder, f"--junitxml={report}", module]
    subprocess.run(command, env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True)
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "verdict.py"), str(report)], capture_output=True, text=True
    )


def test_a_skipped_test_is_named_with_its_reason(tmp_path):
    result = verdict(
        tmp_path,
        "import pytest\n"
        "def test_runs(): pass\n"
        "@pytest.mark.skip(reason='no root here')\n"
        "def test_becomes_another_user(): pass\n",
    )
    assert result.returncode == 1
    assert "1 of 2 tests" in result.stderr
    assert "test_becomes_another_user: no root here" in result.stderr


def test_a_module_that_skips_itself_counts_as_not_run(tmp_path):
    result = verdict(tmp_path, "import pytest\npytest.importorskip('a_package_that_nobody_has')\n")
    assert result.returncode == 1
    assert "a_package_that_nobody_has" in result.stderr


def test_a_failed_test_is_named_with_its_reason(tmp_path):
    result = verdict(tmp_path, "def test_runs(): pass\ndef test_adds(): assert 1 + 1 == 3, 'arithmetic'\n")
    assert result.returncode == 1
    assert "1 of 2 tests failed" in result.stderr
    assert "test_adds: AssertionError: arithmetic" in result.stderr


def test_a_test_that_can_not_be_set_up_has_failed(tmp_path):
    result = verdict(
        tmp_path,
        "import pytest\n@pytest.fixture\ndef server(): raise OSError('no port left')\ndef test_asks(server): pass\n",
    )
    assert result.returncode == 1
    assert "no port left" in result.stderr


def test_an_expected_failure_has_run(tmp_path):
    result = verdict(tmp_path, "import pytest\n@pytest.mark.xfail\ndef test_fails(): assert False\n")
    assert (result.returncode, result.stdout) == (0, "All 1 tests were run.\n")


def test_no_test_at_all_is_a_failure(tmp_path):
    result = verdict(tmp_path, "")
    assert result.returncode == 1
    assert "No test was run" in result.stderr


def test_both_forges_only_call_the_one_script():
    github = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    gitlab = (ROOT / ".gitlab-ci.yml").read_text("utf-8")
    assert github.count("run: ") == 1
    assert "run: bash .ci/run" in github
    assert gitlab.count("- bash .ci/run") == 1
