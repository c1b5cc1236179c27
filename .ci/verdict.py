"""Judges a JUnit report: names each test that failed, with its reason, and each that was not run.

    python .ci/verdict.py REPORT.xml

A test that is expected to fail has run; one that was skipped, for whatever reason, has not. The failures stand here
once more because the report of a long run is often read from its end.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

LONGEST_REASON = 600


def name_of(case: ElementTree.Element) -> str:
    """`module::test`, as far as the report says them."""
    return "::".join(part for part in (case.get("classname"), case.get("name")) if part)


def failed(cases: list[ElementTree.Element]) -> Iterator[str]:
    """A line with the reason for each test that failed, or that could not be set up or taken down."""
    for case in cases:
        for mark in (*case.findall("failure"), *case.findall("error")):
            reason = mark.get("message") or mark.text or "no reason given"
            yield f"{name_of(case)}: {reason[:LONGEST_REASON]}"


def not_run(cases: list[ElementTree.Element]) -> Iterator[str]:
    """A line with the reason for each test that was not run."""
    for case in cases:
        mark = case.find("skipped")
        if mark is not None and mark.get("type") != "pytest.xfail":
            reason = mark.text if mark.get("message") == "collection skipped" else mark.get("message")
            yield f"{name_of(case)}: {reason or 'no reason given'}"


def main(report: Path) -> int:
    """Prints the verdict; 0 when every test was run and passed."""
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own report
    if not cases:
        sys.stderr.write("No test was run.\n")
        return 1
    status = 0
    for verdict, lines in (("were not run", list(not_run(cases))), ("failed", list(failed(cases)))):
        if lines:
            sys.stderr.write(f"{len(lines)} of {len(cases)} tests {verdict}:\n")
            sys.stderr.writelines(f"  {line}\n" for line in lines)
            status = 1
    if status == 0:
        sys.stdout.write(f"All {len(cases)} tests were run.\n")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
