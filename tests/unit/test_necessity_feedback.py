"""Learning from what people made of comments which hunks need their eyes."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidemill.cli.necessity import app
from tidemill.core.errors import InvalidInput
from tidemill.review.necessity import FOLDER, shipped_model
from tidemill.review.necessity_feedback import read_samples, train

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(count: int = 400, *, needed_in_tests: bool = True) -> list[str]:
    """A team whose tests are what people look at, and whose other changes are not; or one that looks at random."""
    chance = random.Random(1)
    found = []
    for number in range(count):
        test = chance.random() < 0.5
        needed = test if needed_in_tests else chance.random() < 0.5
        found.append(
            json.dumps(
                {
                    "forge": "github",
                    "project": "a/b",
                    "number": number % 50,
                    "path": f"tests/test_{number}.py" if test else f"src/m{number}.py",
                    "hunk": f"@@ -1,0 +1,2 @@\n+x = {chance.randrange(99)}\n+check(x)\n",
                    "needed": needed if chance.random() < 0.9 else not needed,
                }
            )
        )
    return found


def test_what_a_team_looks_at_is_learnt_and_held_against_what_it_has_not_seen() -> None:
    made = train(read_samples(rows()), shipped_model(), source="a test", at=NOW)
    assert made.better
    assert made.after.auc > 0.8 > made.before.auc
    assert made.model.weight("test") > 0 > shipped_model().weight("test")
    assert made.model.trained["before"] == shipped_model().version
    assert made.model.weight("document") == shipped_model().weight("document")


def test_a_files_history_is_learnt_where_a_team_looks_at_what_was_mended_often() -> None:
    found = []
    for number, row in enumerate(rows(needed_in_tests=False)):
        one = json.loads(row)
        mends = number % 5
        found.append(json.dumps({**one, "changes": 8, "mends": mends, "needed": mends > 2, "severity": "info"}))
    made = train(read_samples(found), shipped_model(), source="a test", at=NOW)
    assert made.better
    assert made.model.weight("often mended") > 3 * shipped_model().weight("often mended")


def test_a_model_that_learns_nothing_is_not_better() -> None:
    made = train(read_samples(rows(needed_in_tests=False)), shipped_model(), source="a test", at=NOW)
    assert not made.better


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "Line 1 is no example"),
        ("[]", "Line 1 is no example"),
        (
            '{"path": "a.py", "hunk": "@@ -1 +1 @@\\n-a\\n+b", "needed": "yes", "project": "a", "number": 1}',
            "true or false",
        ),
        ('{"path": "a.py", "hunk": "no hunk", "needed": true, "project": "a", "number": 1}', "Line 1 is no example"),
        ('{"path": "a.py", "hunk": "@@ -1,9 +1 @@\\n-a\\n+b", "needed": true, "project": "a", "number": 1}', "Line 1"),
        (
            '{"path": "a\\n+++ b/c", "hunk": "@@ -1 +1 @@\\n-a\\n+b", "needed": true, "project": "a", "number": 1}',
            "Line 1",
        ),
    ],
)
def test_a_line_that_is_no_example_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_samples([line])


@pytest.mark.parametrize("wrong", [{"changes": 1, "mends": 2}, {"changes": 1}, {"changes": True, "mends": 0}])
def test_a_history_that_can_not_be_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=r"Line 1 .* whole numbers"):
        read_samples([json.dumps({**json.loads(rows(1)[0]), **wrong})])


def test_too_few_examples_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidInput, match="There are 100 examples of 50 pull requests"):
        train(read_samples(rows(100)), shipped_model(), source="a test", at=NOW)


def test_a_better_model_is_used_at_once_and_the_one_before_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text("\n".join(rows()))
    (tmp_path / "noise.jsonl").write_text("\n".join(rows(needed_in_tests=False)))
    runner = CliRunner()
    noise = runner.invoke(app, ["train", "noise.jsonl"])
    assert noise.exit_code == 1
    assert "it is not used" in noise.output
    assert not (tmp_path / "data" / FOLDER).exists()
    good = runner.invoke(app, ["train", "good.jsonl"])
    assert good.exit_code == 0, good.output
    current = (tmp_path / "data" / FOLDER / "current").read_text().strip()
    assert f"In use: {current}. Back with `tidemill necessity use {shipped_model().version}`." in good.output
    assert f"* {current}" in runner.invoke(app, ["show"]).output
    assert '"test"' in runner.invoke(app, ["show", current]).output
    assert runner.invoke(app, ["use", shipped_model().version]).exit_code == 0
    assert f"* {shipped_model().version}" in runner.invoke(app, ["show"]).output
