"""A review from its submission to its result, with scripted engines and models and a real database."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import NOON
from tidemill.core.accounts import RIGHTS, ApiKey, Caller, Role
from tidemill.core.change import ChangeSet, Diff
from tidemill.core.chat import ModelRequest
from tidemill.core.deployment import Deployment, Task
from tidemill.core.errors import InvalidInput, ModelNotFound, NotFound, TooLarge, Unavailable
from tidemill.core.finding import Category, Finding, Severity, Suggestion
from tidemill.core.ids import new_id
from tidemill.core.review import ReviewDeployments, ReviewState
from tidemill.core.review_brief import ReviewBrief
from tidemill.core.review_policy import ReviewPolicy
from tidemill.flows.review import ReviewFlow, ReviewStatus, Visibility, forget_changes
from tidemill.flows.review_run import BUDGET_SPENT, ReviewParts
from tidemill.jobs.direct import DirectJobs, Interrupted
from tidemill.llm.prompts.shipped import ShippedPrompts
from tidemill.llm.recording import RecordedModel, TextPolicy
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel
from tidemill.review.asking import PAUSES, Asking
from tidemill.review.commenter import Commenter
from tidemill.review.engines import Engine, EngineFailed, EngineResult, RuffEngine, ScriptedEngine, SecretsEngine
from tidemill.review.refiner import Refiner
from tidemill.review.reports import RENDERERS, result_from_json
from tidemill.review.trying import Trying
from tidemill.settings import ReviewSettings
from tidemill.store.api_keys import ApiKeyRepository
from tidemill.store.blobs import BlobStore
from tidemill.store.database import Pool
from tidemill.store.inferences import InferenceRepository
from tidemill.store.reviews import ReviewRepository
from tidemill.telemetry.spans import Traces

PROMPT = ShippedPrompts().current("review.comment")
DEPLOYMENT = Deployment(Task.REVIEW_COMMENT, "scripted", "1", prompt_version=PROMPT.version)
DOUBT = replace(DEPLOYMENT, prompt_version=ShippedPrompts().current("review.doubt").version)
QUOTE = 'return total / order["count"]'
SOURCE = """\
def mean(order):
    total = sum(order["prices"])
    if total:
        try:
            return total / order["count"]
        except KeyError:
            return None
    return 0
"""
STEPS = ["begin", "engine:one", "engine:two", "plan", "comment:0", "doubt:0", "comment:1", "doubt:1", "rank", "finish"]


def diff_of(path: str, text: str) -> str:
    lines = text.splitlines()
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n{body}"


def change_of(*paths: str) -> ChangeSet:
    return ChangeSet(
        "Add means", None, None, "".join(diff_of(path, SOURCE) for path in paths), dict.fromkeys(paths, SOURCE)
    )


CHANGE = change_of("shop/a.py", "shop/b.py")


def comment(quote: str = QUOTE, *, message: str = "count may be zero, and then this raises.", line: int = 5) -> str:
    one = {"line": line, "quote": quote, "severity": "high", "category": "bug", "message": message}
    return json.dumps({"comments": [one]})


def is_doubt(request: ModelRequest) -> bool:
    return "verdict" in str(request.options["response_format"])


STANDS = ScriptedAnswer('{"reason": "Nothing checks it.", "verdict": "right"}', match=is_doubt, repeat=True)


def finding(engine: str, path: str, severity: Severity = Severity.LOW) -> Finding:
    message = "Something is wrong."
    return Finding(engine, "R1", path, 2, severity, "A rule", message, "    total = …", f"{engine}:{path}")


class FailingEngine:
    """Raises what it was given."""

    name = "one"
    version = "1"

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def run(self, change: ChangeSet, diff: Diff) -> EngineResult:
        raise self._error


class Reviews:
    """A flow over scripts, with what it was asked and what it told."""

    def __init__(
        self,
        pool: Pool,
        folder: Path,
        *,
        script: Any = None,
        engines: Iterable[Engine] | None = None,
        stop_after: str | None = None,
        deployments: Callable[[str | None], Awaitable[ReviewDeployments]] | None = None,
        visibility: Visibility | None = None,
        **settings: Any,
    ) -> None:
        given = [ScriptedAnswer(comment(), repeat=True)] if script is None else script
        self.model = ScriptedModel(given if callable(given) else [STANDS, *given])
        self.jobs = DirectJobs(stop_after={stop_after} if stop_after else None)
        self.repository = ReviewRepository(pool)
        self.now = NOON
        self.told: list[str] = []
        self.failed: list[str] = []
        self.slept: list[float] = []
        recorded = RecordedModel(
            self.model,
            InferenceRepository(pool),
            clock=lambda: NOON,
            texts=TextPolicy(7),
            observe=lambda inference: None,
        )
        asking = Asking(recorded, sleep=self._sleep)
        parts_engines = tuple(engines) if engines is not None else default_engines()
        parts = ReviewParts(
            reviews=self.repository,
            blobs=BlobStore(folder),
            engines=parts_engines,
            commenter=Commenter(asking, ShippedPrompts()),
            deployments=deployments or current,
            settings=ReviewSettings(**settings),
            clock=lambda: self.now,
            observe=self.told.append,
            observe_failure=self.failed.append,
            traces=Traces(10),
            refiner=Refiner(asking, ShippedPrompts(), Trying(parts_engines)),
        )
        self.blobs = parts.blobs
        self.flow = ReviewFlow(self.jobs, parts, visibility or Alone())

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def review(self, caller: Caller, change: ChangeSet = CHANGE, *, with_model: bool = True) -> ReviewStatus:
        row = await self.flow.submit(change, with_model=with_model, caller=caller)
        return await self.flow.status(row.id, caller)


class Alone:
    """Everyone sees their own reviews."""

    async def visible_owners(self, caller: Caller) -> Sequence[UUID]:
        return [caller.owner_id]


async def current(language: str | None = None) -> ReviewDeployments:
    return ReviewDeployments(DEPLOYMENT, doubt=DOUBT)


def default_engines() -> tuple[Engine, ...]:
    return (
        ScriptedEngine(EngineResult((finding("one", "shop/a.py", Severity.HIGH),), ("A note.",)), name="one"),
        ScriptedEngine(EngineResult((finding("two", "shop/b.py"),)), name="two"),
    )


async def caller(pool: Pool, role: Role) -> Caller:
    key = ApiKey(new_id(), role, role, "tm-12345", NOON)
    async with pool.connection() as connection:
        await ApiKeyRepository(pool).add(connection, key, key.id.bytes)
    return Caller(key.id, role, RIGHTS[role], key_id=key.id)


@pytest.fixture
async def admin(pool: Pool) -> Caller:
    return await caller(pool, Role.ADMIN)


@pytest.fixture
async def member(pool: Pool) -> Caller:
    return await caller(pool, Role.MEMBER)


def told(status: ReviewStatus) -> dict[str, Any]:
    """What a review came to, without its id and its times."""
    assert status.row.result is not None
    result = {key: value for key, value in status.row.result.items() if key not in {"id", "timings"}}
    findings = [replace(one, details={**one.details, "inference_id": None}) for one in status.findings]
    return {**result, "state": status.row.state, "findings": findings}


async def test_a_review_holds_what_the_engines_and_the_model_found(pool: Pool, tmp_path: Path, member: Caller) -> None:
    reviews = Reviews(pool, tmp_path)
    status = await reviews.review(member)
    assert status.row.state is ReviewState.DONE
    assert [(one.engine, one.path, one.severity) for one in status.findings] == [
        ("one", "shop/a.py", Severity.HIGH),
        ("model", "shop/a.py", Severity.MEDIUM),
        ("model", "shop/b.py", Severity.MEDIUM),
        ("two", "shop/b.py", Severity.LOW),
    ]
    assert status.row.result is not None
    assert status.row.result["notes"] == ["A note."]
    assert reviews.told == [ReviewState.DONE]
    events = await reviews.flow.events(status.row.id, after=0)
    assert [event.step for event in events] == STEPS
    assert reviews.model.calls == 4, "a comment and a doubt for each hunk"


@pytest.mark.parametrize("step", STEPS)
async def test_a_review_broken_off_after_a_step_and_taken_up_again_ends_as_if_undisturbed(
    pool: Pool, tmp_path: Path, admin: Caller, step: str
) -> None:
    undisturbed = await Reviews(pool, tmp_path).review(admin)
    other = replace(CHANGE, title="Add means again")
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM inferences")
    reviews = Reviews(pool, tmp_path, stop_after=step)
    with pytest.raises(Interrupted):
        await reviews.review(admin, other)
    [row] = [row for row in await reviews.flow.latest(admin, limit=5) if row.title == other.title]
    await reviews.jobs.submit("review", str(row.id))
    status = await reviews.flow.status(row.id, admin)
    assert {**told(status), "title": CHANGE.title} == told(undisturbed)
    assert [event.step for event in await reviews.flow.events(row.id, after=0)] == STEPS
    assert reviews.model.calls == 4, "an answer that was committed is not asked for again"


REFINE = replace(DEPLOYMENT, task=Task.REVIEW_REFINE, prompt_version=ShippedPrompts().current("review.refine").version)
MENDED = '            return total / (order["count"] or 1)'
REPLACED = {"first": 5, "last": 5, "lines": [MENDED]}


async def all_three(language: str | None = None) -> ReviewDeployments:
    return ReviewDeployments(DEPLOYMENT, doubt=DOUBT, refine=REFINE)


def is_refinement(request: ModelRequest) -> bool:
    return "first" in str(request.options["response_format"])


MENDS = ScriptedAnswer(json.dumps(REPLACED), match=is_refinement, repeat=True)
UNUSED = "import os\n\n" + SOURCE


@pytest.mark.parametrize("step", ["rank", "refine:0", "refine:1", "finish"])
async def test_findings_get_lines_that_mend_them_once_and_each_names_who_wrote_them(
    pool: Pool, tmp_path: Path, admin: Caller, step: str
) -> None:
    change = ChangeSet("t", None, None, diff_of("a.py", UNUSED), {"a.py": UNUSED})
    script = [MENDS, ScriptedAnswer(comment(line=7), repeat=True)]
    replaced = {**REPLACED, "first": 7, "last": 7}
    script[0] = replace(MENDS, text=json.dumps(replaced))
    reviews = Reviews(pool, tmp_path, script=script, engines=[RuffEngine()], deployments=all_three, stop_after=step)
    with pytest.raises(Interrupted):
        await reviews.review(admin, change)
    [row] = await reviews.flow.latest(admin, limit=1)
    await reviews.jobs.submit("review", str(row.id))
    status = await reviews.flow.status(row.id, admin)
    mended = {one.engine: one.suggestion for one in status.findings}
    assert mended["ruff"] == Suggestion(1, 1, "", ("applies", "parses", "clears"), "import os")
    assert mended["model"] == Suggestion(7, 7, MENDED, ("applies", "parses"), f"            {QUOTE}")
    assert reviews.model.calls == 3, "a comment, a doubt and a refinement; ruff has lines of its own"
    assert status.row.result is not None
    deployed: Any = status.row.result["deployments"]
    assert {name: one["task"] for name, one in deployed.items()} == {
        "doubt": "review.comment",
        "refine": "review.refine",
    }


async def test_what_the_policy_disables_neither_pushes_comments_away_nor_raises_a_score_nor_is_mended(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    noise = tuple(
        replace(finding("one", "shop/a.py", Severity.CRITICAL), line=line, fingerprint=f"noise{line}", confidence=1.0)
        for line in (2, 3, 4)
    )
    other = replace(finding("two", "shop/a.py"), line=2, category=Category.SQL_INJECTION)
    said = replace(noise[0], category=other.category, fingerprint="said")
    two = ScriptedEngine(EngineResult((other,)), name="two")
    reviews = Reviews(pool, tmp_path, engines=[ScriptedEngine(EngineResult((*noise, said)), name="one"), two])
    policy = ReviewPolicy(disabled=frozenset({"one:R1"}), max_comments=3)
    change = change_of("shop/a.py")
    row = await reviews.flow.submit(change, with_model=True, caller=admin, brief=ReviewBrief(policy=policy))
    status = await reviews.flow.status(row.id, admin)
    alone = await Reviews(pool, tmp_path, engines=[two]).review(admin, change)
    assert status.row.result is not None
    assert alone.row.result is not None
    result = result_from_json(status.row.result)
    assert [one.engine for one in result.findings] == ["model", "two"]
    assert result.folded == ()
    assert result.hunks == result_from_json(alone.row.result).hunks
    refined = [event.data["rule"] for event in await reviews.flow.events(row.id, after=0) if event.kind == "refine"]
    assert "one R1" not in refined


async def test_a_comment_with_a_reason_against_it_is_not_shown_and_the_reason_is_kept(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    wrong = ScriptedAnswer('{"reason": "count is never zero.", "verdict": "wrong"}', match=is_doubt, repeat=True)
    unread = ScriptedAnswer("I think that", match=is_doubt, repeat=True)
    for answer, reason in ((wrong, "the second pass: count is never zero."), (unread, "not doubted: ")):
        async with pool.connection() as connection:
            await connection.execute("DELETE FROM inferences")
        reviews = Reviews(pool, tmp_path, script=lambda request, a=answer: a if is_doubt(request) else comment())
        status = await reviews.review(admin)
        assert {one.engine for one in status.findings} == {"one", "two"}
        assert status.row.result is not None
        rejected: Any = status.row.result["rejected"]
        assert [one["reason"].startswith(reason) for one in rejected] == [True, True]


async def test_whether_a_person_should_look_is_asked_where_a_model_is_named_for_it_and_gates_nothing(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    prompt = ShippedPrompts().current("review.necessity").version
    necessity = replace(DEPLOYMENT, task=Task.REVIEW_NECESSITY, prompt_version=prompt)

    async def with_opinion(language: str | None) -> ReviewDeployments:
        return ReviewDeployments(DEPLOYMENT, necessity=necessity)

    def answer(request: ModelRequest) -> str:
        return comment() if "response_format" in request.options else "no"

    reviews = Reviews(pool, tmp_path, script=answer, deployments=with_opinion)
    status = await reviews.review(admin)
    assert status.row.result is not None
    hunks: Any = status.row.result["hunks"]
    assert [(hunk["asked"], hunk["model_opinion"]) for hunk in hunks] == [(True, False)] * 2
    assert len([one for one in status.findings if one.engine == "model"]) == 2
    steps = [event.step for event in await reviews.flow.events(status.row.id, after=0)]
    assert [one for one in steps if one.endswith(":0")] == ["opinion:0", "comment:0"]


async def test_a_hunk_that_only_moved_since_the_last_push_costs_no_call(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    def at(line: int) -> ChangeSet:
        before = "".join(f"import part{number}\n" for number in range(line - 1))
        lines = SOURCE.splitlines()
        body = "".join(f"+{one}\n" for one in lines)
        diff = f"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -{line - 1},0 +{line},{len(lines)} @@\n{body}"
        return ChangeSet("t", None, None, diff, {"a.py": before + SOURCE})

    first = await Reviews(pool, tmp_path, engines=[]).review(admin, at(10))
    pushed = Reviews(pool, tmp_path, engines=[])
    second = await pushed.review(admin, at(17))
    assert pushed.model.calls == 0
    assert [one.line for one in (*first.findings, *second.findings)] == [14, 21]
    assert len({one.fingerprint for one in (*first.findings, *second.findings)}) == 1


async def test_an_engine_that_fails_leaves_what_the_others_find_and_the_review_says_what_is_missing(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    sentence = "ruff failed with exit code 2: no space left."
    reviews = Reviews(pool, tmp_path, engines=[FailingEngine(EngineFailed(sentence)), default_engines()[1]])
    status = await reviews.review(admin)
    assert (status.row.state, status.row.error) == (ReviewState.DONE, None)
    assert status.row.result is not None
    result = result_from_json(status.row.result)
    assert result.failures == {"one": sentence}
    assert reviews.failed == ["one"]
    assert [one.path for one in result.findings if one.engine == "two"] == ["shop/b.py"]
    for form in ("text", "markdown"):
        assert "What one would have found is missing." in RENDERERS[form](result)
    document = json.loads(RENDERERS["sarif"](result))
    runs = {run["tool"]["driver"]["name"]: run["invocations"][0] for run in document["runs"]}
    assert [runs[f"tidemill {name}"]["executionSuccessful"] for name in ("one", "two")] == [False, True]
    assert sentence in str(runs["tidemill one"]["toolExecutionNotifications"])


async def test_an_engine_with_a_defect_of_its_own_ends_the_review(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    reviews = Reviews(pool, tmp_path, engines=[FailingEngine(KeyError("filename"))])
    status = await reviews.review(admin)
    assert (status.row.state, status.row.result) == (ReviewState.FAILED, None)
    assert status.row.finished_at == NOON
    assert await reviews.flow.ended(status.row.id)
    sentence = "Tidemill failed at the step engine:one of this review. The hub's log says why."
    assert status.row.error == sentence
    events = await reviews.flow.events(status.row.id, after=0)
    assert [(event.step, event.kind) for event in events] == [("begin", "started"), ("fail", "failed")]
    assert events[-1].data == {"message": sentence}
    assert reviews.told == [ReviewState.FAILED]
    assert reviews.model.calls == 0


async def test_when_the_time_is_spent_the_other_hunks_say_so(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    slow = [ScriptedAnswer(comment(), delay=60, repeat=True)]
    reviews = Reviews(pool, tmp_path, script=slow, max_seconds=0.2)
    status = await reviews.review(admin)
    assert status.row.result is not None
    hunks: Any = status.row.result["hunks"]
    late = "the model did not answer in the 0 s that were left"
    assert [(hunk["asked"], hunk["reason"]) for hunk in hunks] == [(False, late), (False, BUDGET_SPENT)]
    assert status.row.state is ReviewState.DONE
    assert reviews.model.calls == 1


async def test_the_budget_of_hunks_goes_to_the_highest_score(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    reviews = Reviews(pool, tmp_path, max_hunks=1)
    status = await reviews.review(admin)
    assert status.row.result is not None
    hunks: Any = status.row.result["hunks"]
    assert [(hunk["path"], hunk["asked"]) for hunk in hunks] == [("shop/a.py", True), ("shop/b.py", False)]


async def test_a_comment_that_quotes_what_is_not_there_is_counted_and_not_shown(
    pool: Pool, tmp_path: Path, admin: Caller
) -> None:
    reviews = Reviews(pool, tmp_path, script=[comment("os.system(user_input)"), comment()])
    status = await reviews.review(admin)
    assert [one.path for one in status.findings if one.engine == "model"] == ["shop/b.py"]
    assert status.row.result is not None
    rejections: Any = status.row.result["rejected"]
    [rejected] = rejections
    assert "quote" in rejected["reason"]
    events = await reviews.flow.events(status.row.id, after=0)
    assert [event.data["comments"] for event in events if event.kind == "comment"] == [0, 1]


@pytest.mark.parametrize("odd", ["\x00", "\ud83d", "\udc00 and \x00"])
async def test_a_model_may_say_what_no_database_can_hold(pool: Pool, tmp_path: Path, admin: Caller, odd: str) -> None:
    message = f"count may be zero {odd} and then this raises."
    script = [comment(message=message), comment(f"no such line {odd}", message=message)]
    status = await Reviews(pool, tmp_path, script=script).review(admin)
    assert status.row.state is ReviewState.DONE, status.row.error
    [said] = [one.message for one in status.findings if one.engine == "model"]
    assert said.startswith("count may be zero \ufffd")
    assert status.row.result is not None
    json.dumps(status.row.result, ensure_ascii=False).encode()


async def test_a_path_with_a_nul_is_reviewed_as_any_other(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    key = "AKIA" + "QWERTYUIOPASDFGH"
    text = f'key = "{key}"\n'
    quoted = diff_of("PATH", text).replace("a/PATH", '"a/x\\000.cfg"').replace("b/PATH", '"b/x\\000.cfg"')
    raw = ChangeSet("a NUL \x00", None, None, diff_of("y.cfg", text.replace('"', "\x00")), {"y.cfg": "\x00\ud800"})
    for change in (ChangeSet("quoted", None, None, quoted), raw):
        status = await Reviews(pool, tmp_path, engines=[SecretsEngine()]).review(admin, change)
        assert status.row.state is ReviewState.DONE, status.row.error


async def test_a_member_sees_its_own_reviews_and_an_admin_all(
    pool: Pool, tmp_path: Path, admin: Caller, member: Caller
) -> None:
    reviews = Reviews(pool, tmp_path)
    its = (await reviews.review(member, with_model=False)).row.id
    anothers = (await reviews.review(admin, with_model=False)).row.id
    assert (await reviews.flow.status(its, admin)).row.id == its
    with pytest.raises(NotFound, match=str(anothers)) as hidden:
        await reviews.flow.status(anothers, member)
    nothing = new_id()
    with pytest.raises(NotFound) as absent:
        await reviews.flow.status(nothing, admin)
    assert hidden.value.message.replace(str(anothers), "") == absent.value.message.replace(str(nothing), "")
    assert {row.id for row in await reviews.flow.latest(admin, limit=9)} == {its, anothers}
    assert [row.id for row in await reviews.flow.latest(member, limit=9)] == [its]
    assert len(await reviews.flow.latest(admin, limit=1)) == 1


async def test_a_member_sees_the_reviews_of_those_whose_reviews_it_may_see(
    pool: Pool, tmp_path: Path, admin: Caller, member: Caller
) -> None:
    class Teammates:
        async def visible_owners(self, caller: Caller) -> Sequence[UUID]:
            return [caller.owner_id, admin.owner_id]

    reviews = Reviews(pool, tmp_path, visibility=Teammates())
    stranger = await caller(pool, Role.MEMBER)
    theirs = (await reviews.review(admin, with_model=False)).row.id
    hidden = (await reviews.review(stranger, with_model=False)).row.id
    assert (await reviews.flow.status(theirs, member)).row.id == theirs
    assert [row.id for row in await reviews.flow.latest(member, limit=9)] == [theirs]
    with pytest.raises(NotFound):
        await reviews.flow.status(hidden, member)


async def test_a_diff_over_the_limit_is_refused_with_both_numbers(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    reviews = Reviews(pool, tmp_path, max_diff_bytes=len(CHANGE.diff.encode()))
    await reviews.review(admin, with_model=False)
    longer = replace(CHANGE, diff=CHANGE.diff + "đ")
    with pytest.raises(TooLarge) as error:
        await reviews.flow.submit(longer, with_model=False, caller=admin)
    assert f"{len(longer.diff.encode()):,}" in error.value.message
    assert f"{len(CHANGE.diff.encode()):,}" in error.value.message
    assert len(await reviews.flow.latest(admin, limit=9)) == 1


async def test_what_is_no_diff_is_refused_and_leaves_no_review(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    reviews = Reviews(pool, tmp_path)
    with pytest.raises(InvalidInput, match="unified diff"):
        await reviews.flow.submit(replace(CHANGE, diff="Hello"), with_model=False, caller=admin)
    assert await reviews.flow.latest(admin, limit=9) == []


async def test_a_model_that_was_away_is_asked_again(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    away = ScriptedAnswer(error=Unavailable("The model is starting."))
    reviews = Reviews(pool, tmp_path, script=[away, away, comment(), comment()])
    status = await reviews.review(admin)
    assert reviews.slept == list(PAUSES[:2])
    assert [one.path for one in status.findings if one.engine == "model"] == ["shop/a.py", "shop/b.py"]
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT status FROM inferences WHERE subject = %s ORDER BY id",
                                          (f"review:{status.row.id}",))  # fmt: skip
        assert [row["status"] for row in await cursor.fetchall()] == ["error"] * 2 + ["ok"] * 4


async def test_a_model_that_stays_away_is_said_and_the_review_ends(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    away = ScriptedAnswer(error=Unavailable("The model is gone."), repeat=True)
    reviews = Reviews(pool, tmp_path, script=[away])
    status = await reviews.review(admin)
    assert status.row.state is ReviewState.DONE
    assert status.row.result is not None
    hunks: Any = status.row.result["hunks"]
    assert {hunk["reason"] for hunk in hunks} == {"the model could not be asked: The model is gone."}
    assert {one.engine for one in status.findings} == {"one", "two"}


async def test_a_review_that_no_model_can_comment_is_refused_at_once(pool: Pool, tmp_path: Path, admin: Caller) -> None:
    async def none(language: str | None) -> ReviewDeployments:
        raise ModelNotFound("No model is installed.")

    reviews = Reviews(pool, tmp_path, deployments=none)
    with pytest.raises(ModelNotFound):
        await reviews.flow.submit(CHANGE, with_model=True, caller=admin)
    assert (await reviews.review(admin, with_model=False)).row.state is ReviewState.DONE


@pytest.mark.parametrize("diff", ["", "\n \n"])
async def test_an_empty_diff_is_reviewed_and_nothing_is_found(
    pool: Pool, tmp_path: Path, admin: Caller, diff: str
) -> None:
    reviews = Reviews(pool, tmp_path, engines=[SecretsEngine()])
    status = await reviews.review(admin, ChangeSet("Nothing", None, None, diff))
    assert (status.row.state, status.findings) == (ReviewState.DONE, ())
    assert status.row.result is not None
    assert status.row.result["hunks"] == []
    assert reviews.model.calls == 0


async def test_a_change_is_deleted_a_month_after_its_last_review_and_the_result_stays(
    pool: Pool, tmp_path: Path
) -> None:
    reviews = Reviews(pool, tmp_path)

    async def forgotten() -> int:
        before = reviews.now - timedelta(days=30)
        return await forget_changes(ReviewRepository(pool), reviews.blobs, before, reviews.now)

    member = await caller(pool, Role.MEMBER)
    first = await reviews.review(member)
    reviews.now = NOON + timedelta(days=20)
    await reviews.review(member)
    reviews.now = NOON + timedelta(days=31)
    assert await forgotten() == 0
    assert await reviews.blobs.get(first.row.change_digest)
    reviews.now = NOON + timedelta(days=51)
    assert await forgotten() == 1
    assert await forgotten() == 0
    with pytest.raises(NotFound):
        await reviews.blobs.get(first.row.change_digest)
    kept = await reviews.flow.status(first.row.id, member)
    assert kept.row.result is not None
    assert kept.findings


async def test_a_review_that_lost_its_workflow_gets_it_again(pool: Pool, tmp_path: Path) -> None:
    reviews = Reviews(pool, tmp_path, stop_after="begin")
    member = await caller(pool, Role.MEMBER)
    with pytest.raises(Interrupted):
        await reviews.flow.submit(CHANGE, with_model=False, caller=member)
    async with pool.connection() as connection:
        await connection.execute("UPDATE reviews SET state = 'queued'")
    await reviews.flow.settle()
    assert [row.state for row in await reviews.flow.latest(member, limit=9)] == [ReviewState.QUEUED]
    reviews.now = NOON + timedelta(minutes=1)
    await reviews.flow.settle()
    assert [row.state for row in await reviews.flow.latest(member, limit=9)] == [ReviewState.DONE]


async def test_a_review_whose_workflow_broke_is_failed_and_not_left_running(pool: Pool, tmp_path: Path) -> None:
    reviews = Reviews(pool, tmp_path, stop_after="begin")
    member = await caller(pool, Role.MEMBER)
    with pytest.raises(Interrupted):
        await reviews.flow.submit(CHANGE, with_model=False, caller=member)
    [row] = await reviews.flow.latest(member, limit=9)
    reviews.jobs.break_off(str(row.id))
    await reviews.flow.settle()
    status = await reviews.flow.status(row.id, member)
    assert status.row.state is ReviewState.FAILED
    assert status.row.error is not None
    assert "Ask for it again" in status.row.error
