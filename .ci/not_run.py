"""Names each test of a JUnit report that was not run, and fails if there is one.

    python .ci/not_run.py REPORT.xml

A test that is expected to fail has run; one that was skipped, for whatever reason, has not.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def not_run(report: Path) -> tuple[int, list[str]]:
    """How many tests the report holds, and a line with the reason for each that was not run."""
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own report
    skipped = []
    for case in cases:
        mark = case.find("skipped")
        if mark is not None and mark.get("type") != "pytest.xfail":
            name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
            reason = mark.text if mark.get("message") == "collection skipped" else mark.get("message")
            skipped.append(f"{name}: {reason or 'no reason given'}")
    return len(cases), skipped


def main(report: Path) -> int:
    """Prints the verdict; 0 when every test was run."""
    total, skipped = not_run(report)
    if total == 0:
        sys.stderr.write("No test was run.\n")
        return 1
    if skipped:
        sys.stderr.write(f"{len(skipped)} of {total} tests were not run:\n")
        sys.stderr.writelines(f"  {line}\n" for line in skipped)
        return 1
    sys.stdout.write(f"All {total} tests were run.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
