"""What gates measure of a change: lines that tests run, copies, and complexity. Python, JavaScript, Java and Go."""

import difflib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeSet
from tidemill.core.errors import InvalidInput
from tidemill.core.gate import GateState
from tidemill.review.gates.complexity import Function, FunctionsMeasured, judge_complexity, measure_functions
from tidemill.review.gates.coverage import judge_coverage, read_report
from tidemill.review.gates.duplication import judge_duplication


def change(after: Mapping[str, str], before: Mapping[str, str] | None = None) -> ChangeSet:
    """What turns the one tree into the other."""
    old = before or {}
    parts = []
    for path, text in after.items():
        lines = difflib.unified_diff(
            old.get(path, "").splitlines(),
            text.splitlines(),
            f"a/{path}" if path in old else "/dev/null",
            f"b/{path}",
            lineterm="",
        )
        parts += [f"diff --git a/{path} b/{path}", *lines]
    return ChangeSet("t", None, None, "\n".join(parts) + "\n", files=after, before=old)


def cobertura(filename: str, hits: Mapping[int, int], source: str = "") -> bytes:
    lines = "".join(f'<line number="{line}" hits="{count}"/>' for line, count in hits.items())
    return (
        '<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">'
        f"<coverage><sources><source>{source}</source></sources><packages><package><classes>"
        f'<class filename="{filename}"><methods/><lines>{lines}</lines></class>'
        "</classes></package></packages></coverage>"
    ).encode()


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


TEN = change({"src/a.py": "".join(f"x{n} = {n}\n" for n in range(1, 11))})


@pytest.mark.parametrize(
    ("report", "state", "measured"),
    [
        (cobertura("src/a.py", dict.fromkeys(range(1, 11), 1)), GateState.PASSED, "100 % (10 of 10 lines)"),
        (
            cobertura("a.py", {**dict.fromkeys(range(1, 9), 1), 9: 0, 10: 0}, "/ci/src"),
            GateState.PASSED,
            "80 % (8 of 10",
        ),
        (cobertura("a.py", {1: 1, 2: 1, 3: 0}), GateState.FAILED, "66.7 % (2 of 3 lines)"),
        (b"TN:\nSF:/home/ci/repo/src/a.py\nDA:1,4\nDA:2,0\nend_of_record\n", GateState.FAILED, "50 % (1 of 2 lines)"),
        (b"SF:src\\a.py\r\nDA:1,1,abc\r\nend_of_record\r\n", GateState.PASSED, "100 % (1 of 1 lines)"),
        (cobertura("src/a.py", {99: 0}), GateState.PASSED, "no added line can run"),
    ],
)
def test_coverage_is_of_the_added_lines_alone(report: bytes, state: GateState, measured: str) -> None:
    gate = judge_coverage(parse_diff(TEN.diff), read_report(report), 80, required=False)
    assert gate.state is state
    assert gate.measured.startswith(measured)


def test_lines_that_no_test_runs_are_named_in_runs() -> None:
    report = read_report(cobertura("src/a.py", {1: 1, 2: 0, 3: 0, 5: 0}))
    gate = judge_coverage(parse_diff(TEN.diff), report, 80, required=False)
    assert [(place.path, place.line, place.text) for place in gate.places] == [
        ("src/a.py", 2, "lines 2–3 are run by no test"),
        ("src/a.py", 5, "run by no test"),
    ]


def test_a_share_just_under_the_threshold_is_not_rounded_up_to_it() -> None:
    lines = change({"a.go": "x\n" * 5000})
    report = read_report(cobertura("a.go", {n: int(n > 1001) for n in range(1, 5001)}))
    gate = judge_coverage(parse_diff(lines.diff), report, 80, required=False)
    assert (gate.state, gate.measured) == (GateState.FAILED, "79.980 % (3999 of 5000 lines)")


def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_the_changed_one() -> None:
    two = parse_diff(change({"src/m.py": "a = 1\n", "lib/m.py": "b = 1\n"}).diff)
    known = read_report(cobertura("m.py", {1: 1}, "/ci/src"))
    assert judge_coverage(two, known, 80, required=False).reason == "not in the report: lib/m.py"
    unclear = judge_coverage(two, read_report(cobertura("m.py", {1: 1})), 80, required=False)
    assert unclear.state is GateState.NOT_MEASURED
    other = parse_diff(change({"tools/m.py": "a = 1\n"}).diff)
    assert judge_coverage(other, known, 80, required=False).state is GateState.NOT_MEASURED


def test_of_two_names_that_fit_a_file_the_longer_one_counts() -> None:
    deep = parse_diff(change({"src/a/m.py": "x = 1\n"}).diff)
    report = read_report(b"SF:m.py\nDA:1,0\nend_of_record\nSF:a/m.py\nDA:1,1\nend_of_record\n")
    assert judge_coverage(deep, report, 80, required=False).measured == "100 % (1 of 1 lines)"


def test_no_report_is_not_measured_and_a_change_without_code_needs_none() -> None:
    why = "no coverage report was given"
    gate = judge_coverage(parse_diff(TEN.diff), why, 80, required=True)
    assert (gate.state, gate.reason, gate.holds) == (GateState.NOT_MEASURED, why, False)
    docs = parse_diff(change({"README.md": "hello\n", "tests/test_a.py": "x = 1\n"}).diff)
    assert judge_coverage(docs, why, 80, required=True).state is GateState.PASSED


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (b'<!DOCTYPE c [<!ENTITY a "aa">]><coverage>&a;</coverage>', "declares entities"),
        (b'<!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/passwd">]><coverage>&a;</coverage>', "declares entities"),
        (b"<coverage><class filename='a'><line number='x' hits='1'/></class></coverage>", "without a number"),
        (b"<coverage>", "is not XML"),
        (b"<report/>", "JaCoCo"),
        (b"mode: set\na.go:1.2,3.4 1 1\n", "gocover-cobertura"),
        (b"hello\n", "neither Cobertura's XML nor LCOV's"),
        (b"SF:a.py\nDA:one,1\n", "Line 2"),
    ],
)
def test_a_report_that_can_not_be_read_says_why(report: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_report(report)


BODY = """    total = 0
    for order in orders:
        if order.state == "open" and order.amount > limit:
            total += order.amount * rate(order.currency, day)
        elif order.state == "late":
            total -= fee(order, day) + 3
    log.info("total of %s is %s", day, total)
    return total
"""
FUNCTION = f"def total(orders, limit, day):\n{BODY}"
JAVASCRIPT = """export function total(orders, limit, day) {
  let sum = 0; // all of them
  for (const order of orders) {
    if (order.state === "open" && order.amount > limit) {
      sum += order.amount * rate(order.currency, day);
    }
  }
  log.info(`total of ${day} is ${sum}`);
  return sum;
}
"""


def duplication(change: ChangeSet, tree: Mapping[str, str] | None = None) -> tuple[GateState, str, str]:
    gate = judge_duplication(parse_diff(change.diff), change.files, tree, 5, required=False)
    return gate.state, gate.measured, gate.reason


@pytest.mark.parametrize(("path", "text"), [("a.py", FUNCTION), ("a.ts", JAVASCRIPT), ("A.java", JAVASCRIPT)])
def test_what_stands_elsewhere_in_the_tree_is_a_copy_whatever_its_spacing(path: str, text: str) -> None:
    lines = len(text.splitlines())
    mark = "#" if path.endswith(".py") else "//"
    spaced = text.replace("\n", f"   {mark} said otherwise\n\n")
    added = change({path: text})
    assert duplication(added, {f"lib/{path}": spaced})[:2] == (
        GateState.FAILED,
        f"100.0 % ({lines} of {lines} lines)",
    )
    assert duplication(added, {f"lib/{path}": "x = 1\n"}) == (
        GateState.PASSED,
        f"0.0 % (0 of {lines} lines)",
        "compared with the change itself and 1 other files",
    )


def test_a_copy_within_the_change_is_found_without_the_tree() -> None:
    twice = change({"a.py": FUNCTION + "\n\n" + FUNCTION.replace("def total", "def other") + "\nx = 1\n"})
    state, measured, reason = duplication(twice)
    assert (state, reason) == (GateState.FAILED, "compared with the changed files")
    assert measured == "84.2 % (16 of 19 lines)"


def test_moved_code_is_no_copy() -> None:
    moved = change({"new.py": FUNCTION, "old.py": "x = 1\n"}, {"old.py": FUNCTION + "x = 1\n"})
    assert duplication(moved, {"old.py": FUNCTION + "x = 1\n"})[0] is GateState.PASSED


def test_lines_that_the_change_does_not_add_are_not_counted() -> None:
    before = {"a.py": FUNCTION, "b.py": FUNCTION}
    altered = change({"a.py": FUNCTION + "\nx = 1\n", "b.py": FUNCTION}, before)
    assert duplication(altered)[1] == "0.0 % (0 of 1 lines)"


def test_equal_imports_and_tests_are_no_copies() -> None:
    imports = "".join(f"from package.module{n} import one{n}, two{n}, three{n}\n" for n in range(20))
    assert duplication(change({"a.py": imports, "b.py": imports}))[1] == "0.0 % (0 of 0 lines)"
    assert duplication(change({"tests/test_a.py": FUNCTION, "tests/test_b.py": FUNCTION}))[1] == "no code added"


@pytest.mark.parametrize("text", ["/*" * 20_000, '"\\' * 100_000, "'''" * 13_333, "`" * 19_999, "a\n" * 10_000])
def test_code_that_is_meant_to_hurt_is_compared_in_linear_time(text: str) -> None:
    assert duplication(change({"a.ts": text, "b.py": text}))[0] in (GateState.PASSED, GateState.FAILED)


PYTHON_BRANCHES = (
    "def busy(a):\n" + "".join(f"    if a == {n}:\n        return {n}\n" for n in range(15)) + "    return 0\n"
)
SAMPLES = {
    "busy.py": PYTHON_BRANCHES,
    "busy.js": "function busy(a) {\n" + "".join(f"  if (a === {n}) return {n};\n" for n in range(15)) + "}\n",
    "busy.ts": "const busy = (a: number) => {\n" + "  if (a) { a -= 1 }\n" * 15 + "  return a\n}\n",
    "Busy.java": "class Busy {\n  int busy(int a) {\n" + "    if (a > 1) { a--; }\n" * 15 + "    return a;\n  }\n}\n",
    "busy.go": "package p\n\nfunc busy(a int) int {\n" + "\tif a > 1 {\n\t\ta--\n\t}\n" * 15 + "\treturn a\n}\n",
}


async def test_functions_of_each_language_are_measured() -> None:
    added = change(SAMPLES)
    diff = parse_diff(added.diff)
    measured = await measure_functions(added, diff)
    gate = judge_complexity(diff, measured, 15, required=False)
    assert gate.state is GateState.FAILED
    assert {(place.path, place.text.rpartition("busy")[2]) for place in gate.places} == {(p, ": 16") for p in SAMPLES}
    assert judge_complexity(diff, measured, 17, required=False).state is GateState.PASSED


async def test_only_functions_that_the_change_makes_too_complex_count() -> None:
    old = PYTHON_BRANCHES + "\n\ndef calm(a):\n    return a\n"
    renamed = change({"a.py": old.replace("return 0", "return -1")}, {"a.py": old})
    diff = parse_diff(renamed.diff)
    gate = judge_complexity(diff, await measure_functions(renamed, diff), 15, required=False)
    assert (gate.state, gate.measured) == (GateState.PASSED, "at most 16 in 1 functions")
    assert gate.reason == "1 that had it before are not counted"
    worse = change({"a.py": old.replace("\n    return 0", "\n    if a: return 1\n    return 0")}, {"a.py": old})
    diff = parse_diff(worse.diff)
    gate = judge_complexity(diff, await measure_functions(worse, diff), 15, required=False)
    assert [(place.line, place.text) for place in gate.places] == [(1, "busy: 17 (was 16)")]


async def test_a_function_from_which_a_line_is_removed_is_altered() -> None:
    shorter = change({"a.py": "def f(a):\n    return a\n\n\ndef g():\n    pass\n"},
                     {"a.py": "def f(a):\n    a += 1\n    return a\n\n\ndef g():\n    pass\n"})  # fmt: skip
    diff = parse_diff(shorter.diff)
    gate = judge_complexity(diff, await measure_functions(shorter, diff), 15, required=False)
    assert gate.measured == "at most 1 in 1 functions"


async def test_lizard_that_does_not_end_is_not_measured(tmp_path: Path) -> None:
    added = change(SAMPLES)
    measured = await measure_functions(added, parse_diff(added.diff), seconds=0.01, folder=tmp_path)
    assert measured == "lizard did not end within 0.01 s on 5 files."
    gate = judge_complexity(parse_diff(added.diff), measured, 15, required=True)
    assert (gate.state, gate.holds) == (GateState.NOT_MEASURED, False)
    assert names_in(tmp_path) == []


def test_a_file_of_which_only_the_diff_is_known_is_said() -> None:
    diff = parse_diff(TEN.diff)
    gate = judge_complexity(diff, FunctionsMeasured(unread={"src/a.py": "only its diff is known"}), 15, required=False)
    assert (gate.state, gate.reason) == (GateState.NOT_MEASURED, "src/a.py: only its diff is known")
    known = FunctionsMeasured({"src/a.py": [Function("f", 1, 3, 2)]})
    assert judge_complexity(diff, known, 15, required=False).measured == "at most 2 in 1 functions"
