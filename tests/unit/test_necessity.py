"""Which hunks come first, and which a model never reads."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.hunk_features import FEATURES, hunk_features
from tidemill.analysis.necessity import BY_HAND, made_model, score_hunk
from tidemill.analysis.necessity_training import (
    Fitted,
    Sample,
    area,
    average_precision,
    calibration_error,
    fit,
    fold_of,
    held_out,
    quality,
)
from tidemill.analysis.paths import PathKind, kind_of
from tidemill.core.change import ChangeSet, FileDiff, FileHistory, change_from_json
from tidemill.core.errors import InvalidInput, NotFound
from tidemill.core.finding import Finding, Necessity, Severity
from tidemill.core.review_policy import ReviewPolicy
from tidemill.review.attributes import Attributes
from tidemill.review.necessity import NecessityModels, shipped_model
from tidemill.review.selection import NO_BUDGET, NO_MODEL, plan, skip_reason, skipped_files
from tidemill.settings import ReviewSettings


def change(path: str, new: list[str], old: list[str] | None = None) -> str:
    body = [f"-{line}\n" for line in old or []] + [f"+{line}\n" for line in new]
    head = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
    old_start = 5 if old else 4
    return f"{head}@@ -{old_start},{len(old or [])} +5,{len(new)} @@\n{''.join(body)}"


def score(path: str, new: list[str], old: list[str] | None = None, findings: tuple[Finding, ...] = ()) -> Necessity:
    file = parse_diff(change(path, new, old)).files[0]
    return score_hunk(file.hunks[0], file, findings, model=shipped_model())


def finding(severity: Severity, line: int = 5) -> Finding:
    return Finding("ruff", "F821", "a.py", line, severity, "t", "m", "q", "f")


def test_the_score_is_the_logistic_of_the_signals_sum() -> None:
    found = score("src/auth/login.py", ["try:", "    run(x, check(password))", "except OSError:", "    raise"])
    assert found.score == pytest.approx(1 / (1 + math.exp(-sum(found.signals.values()))))
    assert set(found.signals) >= {"base", "size", "risky path", "error handling", "calls"}
    assert set(found.signals) <= {"base", *FEATURES, *BY_HAND}


def test_more_changed_lines_of_a_kind_score_higher_up_to_a_limit() -> None:
    scores = [score("a.py", ["value = other"] * count).score for count in (1, 4, 16, 64, 256)]
    assert scores == sorted(scores)
    assert scores[0] < scores[1] < scores[2] < scores[3] == scores[4]


@pytest.mark.parametrize(
    ("new", "old", "signal"),
    [
        (["# what it does", "", "# more"], None, "only comments"),
        (["x = f( a,b )"], ["x = f(a, b)"], "only spacing"),
        (["import os", "from a import (", "    b as c,", "    d,", ")"], None, "only imports"),
        (["a = 1", "b = 2"], ["b = 2", "a = 1"], "moved"),
        ([], ["a = 1", "b = 2"], "only removed"),
    ],
)
def test_changes_of_little_substance_score_low(new: list[str], old: list[str] | None, signal: str) -> None:
    found = score("a.py", new, old)
    assert found.signals[signal] < 0
    assert found.score < 0.2


def test_a_changed_condition_scores_higher_than_a_new_constant() -> None:
    condition = score("a.py", ["    if user.is_staff and check(token):"], ["    if user.is_staff:"])
    assert condition.score > score("a.py", ["LIMIT = 5"]).score


def test_an_indentation_change_is_spacing_in_javascript_and_behaviour_in_python() -> None:
    new, old = ["    done()"], ["        done()"]
    assert "only spacing" in score("a.js", new, old).signals
    assert "only spacing" not in score("a.py", new, old).signals


def test_a_finding_on_the_hunk_raises_it_and_one_elsewhere_does_not() -> None:
    plain = score("a.py", ["x = y"]).score
    assert score("a.py", ["x = y"], findings=(finding(Severity.HIGH, 99),)).score == plain
    assert score("a.py", ["x = y"], findings=(finding(Severity.INFO),)).score == plain
    assert score("a.py", ["x = y"], findings=(finding(Severity.LOW),)).score > plain
    assert score("a.py", ["x = y"], findings=(finding(Severity.CRITICAL),)).score > 0.3


def test_a_file_that_is_often_changed_or_mended_scores_higher() -> None:
    file = parse_diff(change("a.py", ["x = y"])).files[0]

    def of(history: FileHistory | None) -> float:
        return score_hunk(file.hunks[0], file, history=history, model=shipped_model()).score

    seldom, often, mended = FileHistory(1, 0), FileHistory(40, 0), FileHistory(40, 30)
    scores = [of(None), of(seldom), of(often), of(mended)]
    assert scores == sorted(set(scores))
    assert of(FileHistory(10**6, 0)) == of(FileHistory(63, 0))  # up to a limit
    assert of(FileHistory(1, 1)) < of(FileHistory(20, 20))  # one mend tells little


def test_a_changes_history_counts_in_the_scores_of_its_hunks() -> None:
    text = change("a.py", ["x = y"]) + change("b.py", ["x = y"])
    whole = ChangeSet("t", None, None, text, history={"b.py": FileHistory(8, 4)})
    stored = change_from_json(json.loads(json.dumps(asdict(whole))))
    assert stored == whole
    first, second = plan(stored, parse_diff(text), (), ReviewSettings(), with_model=False).hunks
    assert first.necessity is not None
    assert second.necessity is not None
    assert second.necessity.score > first.necessity.score
    assert set(second.necessity.signals) - set(first.necessity.signals) == {"often changed", "often mended"}


def test_code_comes_before_tests_and_tests_before_documents_and_lock_files() -> None:
    lines = [f"if x == {number}: go()" for number in range(20)]
    paths = ["src/a.py", "tests/test_a.py", "docs/a.md", "poetry.lock"]
    scores = [score(path, lines).score for path in paths]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.05


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/a.py", PathKind.SOURCE),
        ("requirements/ci.txt", PathKind.SOURCE),
        ("contest/latest.py", PathKind.SOURCE),
        ("web/a.test.tsx", PathKind.TEST),
        ("a/tests/b.py", PathKind.TEST),
        ("docs/a.MD", PathKind.DOCUMENT),
        ("web/package-lock.json", PathKind.LOCK),
        ("web/app.min.js", PathKind.GENERATED),
        ("api/a_pb2.py", PathKind.GENERATED),
        ("web/node_modules/x/i.js", PathKind.VENDORED),
        ("third_party/x.c", PathKind.VENDORED),
    ],
)
def test_a_path_tells_what_a_file_is(path: str, kind: PathKind) -> None:
    assert kind_of(path) is kind


def only(text: str) -> FileDiff:
    return parse_diff(text).files[0]


@pytest.mark.parametrize(
    ("text", "source", "reason"),
    [
        (change("vendor/a.py", ["x"]), None, "third-party code"),
        (change("yarn.lock", ["x"]), None, "lock file"),
        (change("a.min.js", ["x"]), None, "generated file"),
        (change("a.py", ["x"]), "# Code generated by tool. DO NOT EDIT.\nx", "generated file"),
        (change("a.ts", ["// @generated"]), None, "generated file"),
        (change("a.js", ["x" * 6000]), None, "generated file"),
        ("diff --git a/i b/i\nBinary files a/i and b/i differ\n", None, "binary file"),
        ("Submodule lib 1111111..2222222:\n", None, "submodule"),
        ("diff --git a/s b/s\nold mode 100644\nnew mode 100755\n", None, "only its mode changed"),
        ("diff --git a/o b/n\nrename from o\nrename to n\n", None, "only renamed"),
        ("diff --git a/n b/n\nnew file mode 100644\n", None, "empty file"),
        (
            "diff --git a/n b/n\ndeleted file mode 100644\n--- a/n\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
            None,
            "deleted file",
        ),
        (change("a.py", ["x"]), "def f(): ...\n", None),
        (change("a.py", ["raise E('generated by hand')"]), "\n" * 40 + "# @generated", None),
    ],
)
def test_files_that_no_model_reads_have_a_reason(text: str, source: str | None, reason: str | None) -> None:
    assert skip_reason(only(text), source) == reason


def planned(text: str, *, with_model: bool = True, **limits: float) -> list[tuple[str, bool, str | None]]:
    settings = ReviewSettings.model_validate(limits)
    found = plan(ChangeSet("t", None, None, text), parse_diff(text), (), settings, with_model=with_model)
    return [(hunk.path, hunk.asked, hunk.reason) for hunk in found.hunks]


def test_the_model_reads_the_highest_scores_and_each_other_hunk_says_why_not() -> None:
    busy = [f"if x == {number}: run()" for number in range(30)]
    text = change("a.py", busy[:10]) + change("b.py", busy) + change("c.py", ["x = 1"]) + change("go.sum", busy)
    text += change("d.py", [], busy)
    assert planned(text, max_hunks=1, min_score=0.3) == [
        ("a.py", False, NO_BUDGET),
        ("b.py", True, None),
        ("c.py", False, "score 0.15 is under 0.30"),
        ("go.sum", False, "lock file"),
        ("d.py", False, "only removes lines"),
    ]
    assert {reason for _, _, reason in planned(text, with_model=False)} == {NO_MODEL, "lock file"}
    assert not any(asked for _, asked, _ in planned(text, max_hunks=0))


def test_a_pull_request_that_is_too_large_is_spread_over_its_files() -> None:
    busy = [f"if x == {number}: run()" for number in range(30)]
    hunk = "".join(f"+{line}\n" for line in busy)
    head = "diff --git a/big.py b/big.py\n--- a/big.py\n+++ b/big.py\n"
    text = head + "".join(f"@@ -{at},0 +{at},30 @@\n{hunk}" for at in range(1, 400, 40))
    text += change("small.py", [f"if y: check(x, {number})" for number in range(6)])
    read = [path for path, asked, _ in planned(text, max_hunks=4) if asked]
    assert sorted(read) == ["big.py", "big.py", "big.py", "small.py"]


def test_what_the_repository_ignores_is_left_out_and_what_it_includes_is_read() -> None:
    text = change("docs/a.py", ["x"]) + change("vendor/ours.py", ["x"]) + change("vendor/theirs.py", ["x"])
    policy = ReviewPolicy(ignore=("docs/",), include=("vendor/ours.py",))
    found = skipped_files(ChangeSet("t", None, None, text), parse_diff(text), policy)
    assert [(file.path, file.reason) for file in found] == [
        ("docs/a.py", "ignored by .tidemill.yml (docs/)"),
        ("vendor/theirs.py", "third-party code"),
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("api/schema.py", "generated file, by .gitattributes"),
        ("api/by_hand.py", None),
        ("lib/deep/a.js", "third-party code, by .gitattributes"),
        ("lib/mine/a.js", None),
        ("vendor/ours.go", None),
        ("other.py", None),
    ],
)
def test_git_attributes_say_what_is_generated_or_vendored(path: str, reason: str | None) -> None:
    attributes = Attributes(
        {
            ".gitattributes": "# ours\napi/*.py text linguist-generated=true\napi/by_hand.py -linguist-generated\n"
            "lib/** linguist-vendored\nvendor/** -linguist-vendored\n",
            "lib/mine/.gitattributes": "*.js linguist-vendored=false\n",
        }
    )
    assert skip_reason(only(change(path, ["x"])), None, attributes=attributes) == reason


def test_three_thousand_files_and_lines_of_a_megabyte_are_planned() -> None:
    text = "".join(change(f"src/d{number % 30}/f{number}.py", ["if a: run(b)"]) for number in range(3000))
    text += change("long.py", ["x = '" + "(" * 1_000_000], ["y = '" + " " * 1_000_000])
    found = planned(text, max_hunks=6, min_score=0.1)
    assert len(found) == 3001
    assert sum(asked for _, asked, _ in found) == 6
    assert all(asked or reason for _, asked, reason in found)
    features = hunk_features(parse_diff(text).files[-1].hunks[0].lines, python=True)
    assert all(0 <= value <= 7 for value in features.values())


def test_a_model_is_what_its_version_says(tmp_path: Path) -> None:
    models = NecessityModels(tmp_path / "models")
    assert models.current() == shipped_model()
    trained = made_model(Fitted(-1.0, {"size": 0.5}), {"how": "by a test"})
    models.keep(trained)
    assert models.current() == shipped_model()
    models.use(trained.version)
    assert models.current() == trained
    models.use(shipped_model().version)
    assert models.current() == shipped_model()
    assert list(models.all()) == [shipped_model(), trained]
    with pytest.raises(NotFound, match="no necessity model abc"):
        models.use("abc")
    with pytest.raises(InvalidInput, match="can't be the version"):
        models.use("../../secrets")
    file = tmp_path / "models" / f"{trained.version}.json"
    file.write_text(file.read_text().replace("0.5", "5.5"))
    with pytest.raises(InvalidInput, match="was changed after it was made"):
        models.get(trained.version)


def test_what_was_fitted_by_hand_is_fitted_once_feedback_tells_it() -> None:
    model = made_model(Fitted(0.0, {"size": 0.5, "test": -0.2}), {})
    assert model.weight("test") == -0.2
    assert "test" not in model.by_hand
    assert model.weight("document") == BY_HAND["document"]
    assert model.weight("of another version") == 0


def test_training_finds_what_tells_two_kinds_apart_and_says_how_well() -> None:
    samples = [
        Sample({"size": float(number % 7), "noise": float(number % 3)}, number % 7 > 3, f"p{number % 40}")
        for number in range(400)
    ]
    names = ("size", "noise")
    found = fit(samples, names, ridge=1.0)
    assert found.weights["size"] > 1 > abs(found.weights["noise"])
    scores = held_out(
        samples, lambda train, test: fit([samples[at] for at in train], names).scores([samples[at] for at in test])
    )
    figures = quality([one.needed for one in samples], scores, [one.group for one in samples])
    assert figures.auc == figures.precision == 1.0
    assert figures.calibration_error < 0.25


def test_no_pull_request_is_on_both_sides_of_a_split() -> None:
    groups = [f"p{number % 13}" for number in range(100)]
    folds = fold_of(groups)
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == 13
    assert set(folds) == set(range(5))


def test_area_and_precision_are_those_of_the_definitions() -> None:
    labels, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.8, 0.1])
    assert area(labels, scores) == pytest.approx((2 + 1.5) / 4)
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert calibration_error(labels, np.array([1.0, 0.0, 1.0, 0.0])) == 0
    assert calibration_error(labels, np.full(4, 0.5), bins=1) == 0
