"""How well and how fast texts are classified: on labelled texts, on this repository's sources, and in time."""

import statistics
import time
from pathlib import Path

from tests.support.classified_texts import TEXTS

from tidemill.analysis.classification import classify
from tidemill.core.classification import Level

ROOT = Path(__file__).resolve().parents[1]
PROMPT = 2048


def run() -> None:
    """Prints precision and recall by level, what is found in sources without personal data, and the speed."""
    found = [(one.level, classify(one.text).level) for one in TEXTS]
    for level in Level:
        right = sum(got is level for want, got in found if want is level)
        wanted, said = sum(want is level for want, _ in found), sum(got is level for _, got in found)
        print(f"{level:<13} precision {right}/{said}, recall {right}/{wanted}")
    sources = [path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py"))]
    raised = sum(classify(text).level.rank > Level.INTERNAL.rank for text in sources)
    print(f"of {len(sources)} source files of this repository {raised} are called confidential or secret")
    joined = "".join(sources)
    prompts = [joined[start : start + PROMPT] for start in range(0, 400 * PROMPT, PROMPT)]
    times = []
    for prompt in prompts:
        started = time.process_time()
        classify(prompt)
        times.append(time.process_time() - started)
    times.sort()
    rate = sum(len(prompt.encode()) for prompt in prompts) / sum(times) / 1e6
    print(
        f"a prompt of 2 kB of code: median {statistics.median(times) * 1e3:.3f} ms, "
        f"p95 {times[int(len(times) * 0.95)] * 1e3:.3f} ms; {rate:.1f} MB/s\n"
    )
