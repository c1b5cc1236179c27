"""What no model read is said, however much it is."""

from tidemill.core.finding import Necessity
from tidemill.core.review import ReadHunk, ReviewResult, ReviewState, SkippedFile
from tidemill.review.reports import render_markdown, render_text
from tidemill.review.selection import NO_BUDGET
from tidemill.review.unread import unread_lines


def hunk(path: str, start: int, score: float, reason: str | None) -> ReadHunk:
    return ReadHunk(path, 0, start, start + 3, Necessity(score, {"base": 0.0}), reason is None, reason)


def result(hunks: tuple[ReadHunk, ...], skipped: tuple[SkippedFile, ...] = ()) -> ReviewResult:
    return ReviewResult("1", "t", None, None, ReviewState.DONE, hunks=hunks, skipped=skipped)


def test_a_few_hunks_are_named_with_their_score_highest_first() -> None:
    few = (
        hunk("a.py", 1, 0.11, "score 0.11 is under 0.30"),
        hunk("b.py", 5, 0.2, "score 0.20 is under 0.30"),
        hunk("c.py", 9, 0.9, None),
        hunk("d.py", 7, 0.5, NO_BUDGET),
    )
    assert unread_lines(result(few, (SkippedFile("yarn.lock", "lock file"),))) == [
        "2 hunks: score is under 0.30: b.py:5 (0.20), a.py:1 (0.11)",
        "1 hunk: not read by the model: budget: d.py:7 (0.50)",
        "1 file: lock file: yarn.lock",
    ]


def test_of_thousands_the_folders_are_counted_and_none_is_lost() -> None:
    many = tuple(hunk(f"src/p{number % 12}/m/f{number}.py", 1, 0.4, NO_BUDGET) for number in range(3000))
    files = tuple(SkippedFile(f"vendor/v{number}.js", "third-party code") for number in range(500))
    lines = unread_lines(result(many, files))
    assert lines == [
        "3,000 hunks: not read by the model: budget: "
        + ", ".join(f"src/p{number}/m/ 250" for number in range(8))
        + ", 4 other folders 1000",
        "500 files: third-party code: vendor/ 500",
    ]
    for text in (render_text(result(many, files)), render_markdown(result(many, files))):
        assert "3,000 hunks" in text
        assert "4 other folders 1000" in text
