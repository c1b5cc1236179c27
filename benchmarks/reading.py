"""How long it takes to read a large change: its diff, and its secrets, beside a bare split into lines."""

import statistics
import time
from collections.abc import Callable

from tidemill.analysis.diff import parse_diff
from tidemill.analysis.secrets import find_secrets

LINES = 220_000


def run() -> None:
    """Prints seconds of CPU for a diff of about 10 MB, medians of three, and the ratio to splitting it."""
    body = "".join(f"+line {number} of some ordinary code, as it is\n" for number in range(LINES))
    text = f"diff --git a/x b/x\n--- /dev/null\n+++ b/x\n@@ -0,0 +1,{LINES} @@\n{body}"
    lines = text.split("\n")
    split = _seconds(lambda: [line[1:] for line in text.split("\n")])
    parse = _seconds(lambda: parse_diff(text))
    secrets = _seconds(lambda: [find_secrets(line) for line in lines])
    print(f"a diff of {len(text) / 1e6:.1f} MB: split {split:.2f} s, parsed {parse:.2f} s, secrets {secrets:.2f} s")
    print(f"parsed / split: {parse / split:.0f}; secrets / parsed: {secrets / parse:.1f}\n")


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times)
