"""What the guardrails find and miss, on labelled lines of this repository and, where its path is given, on real review
comments; and what they cost.

`BENCH_REVIEWS=/path/crc_py_manual.json python -m benchmarks guardrails`
"""

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tidemill.analysis.injection import find_injection
from tidemill.analysis.plain import plain
from tidemill.analysis.privacy import Kind, find_private
from tidemill.llm.guardrails.classifier import InjectionClassifier
from tidemill.llm.guardrails.finding import Finder, PrivateFinder, SecretFinder
from tidemill.llm.guardrails.injection import InjectionGuard
from tidemill.llm.guardrails.passing import TextInPassing, find_all
from tidemill.llm.guardrails.toxicity import ToxicityGuard

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).resolve().parent / "data"
PROMPT = 2048

Line = tuple[str, str, str]
"""Label, language, text."""


def run() -> None:
    """Prints precision and recall, findings in texts that have nothing to be found, and times."""
    chat = [text for label, _, text in lines("injection.tsv") if label == "benign"]
    ordinary = {
        "ordinary developer chat (the benign lines)": chat,
        "paragraphs of docs/": paragraphs((ROOT / "docs").rglob("*.md")),
        "source files, in pieces of 2 kB": pieces((ROOT / "src").rglob("*.py")),
        "real review comments": comments(),
    }
    injection(ordinary)
    privacy(ordinary)
    toxicity(ordinary)
    speed()


def lines(name: str) -> list[Line]:
    """The labelled lines of a file."""
    rows = [line.split("\t") for line in (DATA / name).read_text("utf-8").splitlines()]
    return [(label, language, text.replace("\\n", "\n")) for label, language, text in rows]


def paragraphs(pages: Iterable[Path]) -> list[str]:
    return [one for page in sorted(pages) for one in re.split(r"\n{2,}", page.read_text("utf-8")) if len(one) > 80]


def pieces(files: Iterable[Path]) -> list[str]:
    texts = [file.read_text("utf-8") for file in sorted(files) if "guardrails" not in file.as_posix()]
    texts = [text for text in texts if "_PATTERNS" not in text]
    return [text[at : at + PROMPT] for text in texts for at in range(0, len(text), PROMPT)]


def comments() -> list[str]:
    """Of https://huggingface.co/datasets/busraicoz/crc-py-dataset, where `BENCH_REVIEWS` names its file."""
    path = os.environ.get("BENCH_REVIEWS")
    if path is None:
        return []
    rows = json.loads(Path(path).read_text("utf-8"))
    return [str(row.get("comment") or row.get("body") or row.get("review_comment") or "") for row in rows]


def scored(name: str, rows: Sequence[Line], positive: str, finds: Callable[[str], bool]) -> None:
    """Prints precision and recall, by language and together."""
    for language in ("en", "vi", "both"):
        some = [row for row in rows if language in (row[1], "both")]
        right = sum(finds(text) for label, _, text in some if label == positive)
        wrong = sum(finds(text) for label, _, text in some if label != positive)
        wanted = sum(label == positive for label, _, _ in some)
        precision = f"{right / (right + wrong):.2f}" if right + wrong else "–"
        print(
            f"  {name:<34} {language:<5} precision {precision} ({right}/{right + wrong}), "
            f"recall {right / wanted:.2f} ({right}/{wanted})"
        )


def false_alarms(name: str, ordinary: dict[str, list[str]], finds: Callable[[str], bool]) -> None:
    for what, texts in ordinary.items():
        if texts:
            print(f"  {name:<34} finds something in {sum(map(finds, texts))} of {len(texts)} {what}")


def injection(ordinary: dict[str, list[str]]) -> None:
    print("prompt injection")
    classifier = InjectionClassifier.load()
    guard = InjectionGuard(0.86)

    def rules(text: str) -> bool:
        return any(find_injection(plain(text).text))

    ways: dict[str, Callable[[str], bool]] = {"rules": rules}
    for least in (0.7, 0.86, 0.95):
        ways[f"classifier, whole text, ≥ {least}"] = partial(reaches, lambda text: classifier.score(text)[0], least)
        ways[f"classifier, in windows, ≥ {least}"] = partial(reaches, partial(in_windows, classifier), least)
    ways["as shipped"] = lambda text: bool(guard.read(text))
    for name, finds in ways.items():
        scored(name, lines("injection.tsv"), "attack", finds)
        false_alarms(name, ordinary, finds)
    guard.close()


def reaches(score: Callable[[str], float], least: float, text: str) -> bool:
    return score(text) >= least


def in_windows(classifier: InjectionClassifier, text: str) -> float:
    """The highest score of a text's sentences, in overlapping windows of 24 words: tried, and not shipped."""
    best = classifier.score(text)[0]
    for sentence in re.split(r"(?<=[.!?])\s+|[\n\r]+", text):
        words = sentence.split()
        for at in range(0, max(1, len(words) - 12), 12):
            if some := words[at : at + 24]:
                best = max(best, classifier.score(" ".join(some))[0])
    return best


def privacy(ordinary: dict[str, list[str]]) -> None:
    print("personal data")
    rows = lines("personal_data.tsv")

    def kinds(text: str) -> set[str]:
        return {match.kind.value for match in find_private(plain(text).text)}

    found = [(set(label.split(",")) - {"none"}, kinds(text), text) for label, _, text in rows]
    for kind in (kind.value for kind in Kind if kind is not Kind.IP_ADDRESS):
        right = sum(kind in want and kind in got for want, got, _ in found)
        said, wanted = sum(kind in got for _, got, _ in found), sum(kind in want for want, _, _ in found)
        print(f"  {kind:<14} precision {right}/{said}, recall {right}/{wanted}")
    for want, got, text in found:
        if want != got:
            print(f"    wanted {sorted(want)}, got {sorted(got)}: {text!r}")
    false_alarms("personal data", ordinary, lambda text: bool(kinds(text)))
    secrets = SecretFinder()
    false_alarms("secrets", ordinary, lambda text: bool(secrets.find(plain(text))))


def toxicity(ordinary: dict[str, list[str]]) -> None:
    if find_spec("profanity_check") is None:
        print("toxicity: the extra is not installed")
        return
    print("toxicity (alt-profanity-check)")
    guard = ToxicityGuard(0.9)
    for least in (0.5, 0.9):

        def finds(text: str, least: float = least) -> bool:
            return max(guard.scores([line for line in text.splitlines() if line.strip()] or [""])) >= least

        scored(f"≥ {least}", lines("toxicity.tsv"), "toxic", finds)
        false_alarms(f"≥ {least}", ordinary, finds)
    guard.close()


def speed() -> None:
    print("time for 2 kB (process time, median and 95 % of 200 prompts)")
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    prose = "".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
    finders: list[Finder] = [SecretFinder(), PrivateFinder(frozenset(Kind) - {Kind.IP_ADDRESS})]
    classifier = InjectionClassifier.load()

    def stream(text: str) -> None:
        passing = TextInPassing([finders[0]], lambda found, value: None)
        for at in range(0, len(text), 4):
            passing.feed(text[at : at + 4])
        passing.end()

    work: dict[str, Callable[[str], object]] = {
        "secrets and personal data": lambda text: find_all(plain(text), finders),
        "rules for injection": lambda text: list(find_injection(plain(text).text)),
        "classifier, whole text": classifier.score,
        "secrets in a stream of 512 pieces": stream,
    }
    for kind, text in (("code", source), ("prose", prose)):
        prompts = [text[at : at + PROMPT] for at in range(0, min(len(text), 200 * PROMPT), PROMPT)]
        for name, does in work.items():
            times = sorted(timed(does, prompt) for prompt in prompts)
            print(
                f"  {kind:<6} {name:<34} {statistics.median(times) * 1e3:.2f} ms, "
                f"{times[int(len(times) * 0.95)] * 1e3:.2f} ms"
            )


def timed(does: Callable[[str], object], text: str) -> float:
    started = time.process_time()
    does(text)
    return time.process_time() - started
