"""What a model is asked about a change, and with what beside it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from tests.conftest import NOON
from tests.integration.test_review_flow import SOURCE, Reviews, caller, diff_of
from tidemill.core.accounts import Role
from tidemill.core.change import ChangeSet, FileHistory
from tidemill.core.classification import Level
from tidemill.core.feedback import CommentFeedback, Feedback, Outcome
from tidemill.core.finding import Finding, Severity
from tidemill.core.ids import new_id
from tidemill.core.review_brief import ReviewBrief
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.necessity_examples import necessity_examples
from tidemill.review.necessity_feedback import read_samples
from tidemill.store.database import Pool

PLAIN = "LIMIT = 5\n"
ASKED_OF = ("shop/a.py", "shop/b.py")
FILES = {
    **dict.fromkeys(ASKED_OF, SOURCE),
    "shop/limits.py": PLAIN,
    "shop/texts.py": "# what is said\n# to whom\n",
    "gen/a.py": SOURCE.replace("mean", "other"),
    "vendor/b.py": SOURCE.replace("mean", "third"),
    "left/c.py": SOURCE.replace("mean", "fourth"),
}
CHANGE = ChangeSet(
    "Add means",
    None,
    None,
    "".join(diff_of(path, text) for path, text in FILES.items()),
    FILES,
    around={"shop/report.py": "from shop.a import mean\n\n\ndef report(order):\n    return mean(order)\n"},
    attributes={".gitattributes": "gen/** linguist-generated\n"},
    history={"shop/b.py": FileHistory(9, 3)},
)


async def test_only_hunks_that_need_it_are_put_to_a_model_and_a_second_review_asks_nothing(
    pool: Pool, tmp_path: Path
) -> None:
    admin = await caller(pool, Role.ADMIN)
    first = Reviews(pool, tmp_path, engines=[])
    row = await first.flow.add(
        new_id(), CHANGE, with_model=True, caller=admin, brief=ReviewBrief(policy=ReviewPolicy(ignore=("left/",)))
    )
    await first.jobs.submit("review", str(row.id))
    status = await first.flow.status(row.id, admin)
    assert status.row.result is not None, status.row.error
    hunks = {hunk["path"]: hunk for hunk in status.row.result["hunks"]}
    assert [path for path, hunk in hunks.items() if hunk["asked"]] == list(ASKED_OF)
    assert hunks["shop/limits.py"]["reason"].startswith("score 0.1")
    assert hunks["shop/texts.py"]["reason"].startswith("score 0.0")
    assert [(file["path"], file["reason"]) for file in status.row.result["skipped"]] == [
        ("gen/a.py", "generated file, by .gitattributes"),
        ("vendor/b.py", "third-party code"),
        ("left/c.py", "ignored by .tidemill.yml (left/)"),
    ]
    calls = first.model.calls
    assert calls == 2 * len(ASKED_OF)  # a comment and its doubt, for each
    again = Reviews(pool, tmp_path, engines=[])
    row = await again.flow.add(
        new_id(), CHANGE, with_model=True, caller=admin, brief=ReviewBrief(policy=ReviewPolicy(ignore=("left/",)))
    )
    await again.jobs.submit("review", str(row.id))
    assert again.model.calls == 0


async def test_a_model_sees_who_calls_what_the_hunk_changes(pool: Pool, tmp_path: Path) -> None:
    admin = await caller(pool, Role.ADMIN)
    reviews = Reviews(pool, tmp_path, engines=[])
    await reviews.review(admin, CHANGE)
    asked = [str(request.messages) for request in reviews.model.requests]
    assert any("shop/report.py" in text and "return mean(order)" in text for text in asked)


def outcome(review_id: UUID, path: str, line: int, what: Outcome, level: Level = Level.INTERNAL) -> CommentFeedback:
    feedback = Feedback(new_id(), new_id(), what, "merge:abc", NOON, level=level)
    return CommentFeedback(
        feedback=feedback,
        forge="github",
        project="a/b",
        number=7,
        head="abc",
        review_id=review_id,
        inference_id=None,
        fingerprint="f",
        engine="model",
        rule="bug",
        path=path,
        line=line,
        severity="medium",
        message="m",
        comment="1",
    )


async def test_what_became_of_comments_is_written_as_examples_that_can_be_trained_on(
    pool: Pool, tmp_path: Path
) -> None:
    reviews = Reviews(pool, tmp_path, engines=[])
    status = await reviews.review(await caller(pool, Role.ADMIN), CHANGE, with_model=False)
    review_id = status.row.id

    async def feedback() -> AsyncIterator[CommentFeedback]:
        yield outcome(review_id, "shop/a.py", 5, Outcome.THUMBS_DOWN)
        yield outcome(review_id, "shop/a.py", 6, Outcome.APPLIED)
        yield outcome(review_id, "shop/b.py", 5, Outcome.DISMISSED)
        yield outcome(review_id, "shop/b.py", 5, Outcome.REPLIED)
        yield outcome(review_id, "shop/limits.py", 1, Outcome.APPLIED, Level.SECRET)
        yield outcome(review_id, "shop/limits.py", 99, Outcome.APPLIED)
        yield outcome(new_id(), "shop/a.py", 5, Outcome.APPLIED)

    by = [("bandit", "shop/a.py", Severity.HIGH), ("model", "shop/b.py", Severity.CRITICAL)]
    findings = [Finding(one, "r", path, 5, rank, "t", "m", "q", new_id().hex) for one, path, rank in by]
    await reviews.repository.add_findings(review_id, findings)
    found = necessity_examples(feedback(), reviews.repository, reviews.blobs, most=Level.INTERNAL)
    rows = [row async for row in found]
    assert [(row["path"], row["needed"], row["project"], row["number"]) for row in rows] == [
        ("shop/a.py", True, "a/b", 7),
        ("shop/b.py", False, "a/b", 7),
    ]
    samples = read_samples(json.dumps(row) for row in rows)
    assert [sample.needed for sample in samples] == [True, False]
    assert all(sample.features["size"] > 2 and sample.group == "a/b#7" for sample in samples)
    assert ("changes" in rows[0], rows[1]["changes"], rows[1]["mends"]) == (False, 9, 3)
    assert [row["severity"] for row in rows] == ["high", "info"]  # what a model says is known only once it has read
    assert [sample.features.get("often mended") for sample in samples] == [None, 3 / 11]
