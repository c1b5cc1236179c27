"""What each forge's adapter does on a real server: a scripted one with the forge's own bounds, over real git."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from tests.support.scripted_forge import CHANGED, PROJECT, TOKEN, Scripted, scripted
from tidemill.analysis.diff import parse_diff
from tidemill.core.change import ChangeKind, FileHistory
from tidemill.core.errors import (
    Conflict,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    TooManyRequests,
    Unavailable,
)
from tidemill.core.finding import Finding, Severity, Suggestion
from tidemill.core.pull_request import (
    Annotation,
    AnnotationLevel,
    Check,
    CheckState,
    ForgeKind,
    Position,
    PullRequestState,
)
from tidemill.forges.git_process import Git
from tidemill.forges.github import GitHub
from tidemill.forges.github_tokens import AppTokens
from tidemill.forges.port import Refused
from tidemill.forges.scripted import Fault
from tidemill.review.finding_text import finding_text
from tidemill.settings import ReviewSettings

LIMITS = ReviewSettings()
KINDS = [ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.GITEA]


@pytest.fixture(params=KINDS)
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path, request.param) as one:
        yield one


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path, ForgeKind.GITHUB) as one:
        yield one


async def test_a_pull_request_is_read_and_written_alike_on_every_forge(here: Scripted) -> None:
    pull = await here.opened(title="Evaluate", body="Because.", labels=("risky",))
    key, forge = here.key(pull), here.forge
    read = await forge.pull_request(key)
    assert (read.title, read.body, read.author, read.labels) == ("Evaluate", "Because.", "author", ("risky",))
    assert (read.state, read.head, read.base, read.fork) == (PullRequestState.OPEN, pull.head, pull.base, False)
    repository = here.site.project(pull.project).repository
    later = await repository.commit(
        "main", {"x": b"x"}, message="x", author="a", at=here.site.clock(), parent=pull.base
    )
    assert ((await forge.pull_request(key)).target_head, read.target_head) == (later, pull.base)
    change = await forge.change(read, LIMITS)
    assert change.files == {"shop/cart.py": CHANGED}
    assert change.before["shop/cart.py"].startswith("def total(items):\n    return sum")
    assert await forge.file(read, "README.md", pull.base) == b"# Shop\n"
    assert await forge.file(read, "missing", pull.base) is None

    whole = await forge.comment(key, "Summary")
    await forge.edit(key, whole, "Summary, mended")
    inline = await forge.comment_inline(read, Position("shop/cart.py", 2, 2), "Don't.", change=change)
    context = await forge.comment_inline(read, Position("shop/cart.py", 4, 4), "An empty line.", change=change)
    answer = await here.site.say(pull, "author", "Why?", int(inline.id))
    own = await forge.reply(key, inline, "It runs what it is given.")
    await here.site.react(pull, int(inline.id), "author", "-1")
    await here.site.react(pull, int(inline.id), "maintainer", "-1")
    assert inline.thread is not None
    assert await forge.resolve(key, inline.thread)

    found = {comment.id: comment for comment in await forge.comments(key)}
    assert list(found) == [whole.id, inline.id, context.id, str(answer.id), own.id]
    assert (found[whole.id].body, found[whole.id].own, found[whole.id].thread) == ("Summary, mended", True, None)
    first = found[inline.id]
    assert (first.position, first.resolved, first.reactions) == (Position("shop/cart.py", 2, 2), True, {"-1": 2})
    assert (first.thread, found[own.id].thread) == (inline.thread, inline.thread)
    assert (found[str(answer.id)].own, found[str(answer.id)].reply_to) == (False, inline.id)
    assert found[context.id].resolved is False


async def test_a_files_history_is_fetched_without_what_is_in_its_files(here: Scripted, tmp_path: Path) -> None:
    repository = here.site.project(PROJECT).repository
    for title in ("Fix the sum", "Count", "Fix the count"):
        files = {"shop/cart.py": f"# {title}\n".encode() + b"x = 1\n" * 20_000, "large.py": title.encode() * 20_000}
        parent = await repository.commit_of("refs/heads/main")
        await repository.commit("main", files, message=title, author="a", at=here.site.clock(), parent=parent)
    read = await here.forge.pull_request(here.key(await here.opened()))
    assert (await here.forge.change(read, LIMITS)).history == {"shop/cart.py": FileHistory(3, 2)}
    (history,) = (tmp_path / "cache" / "pull-requests").glob("*.history")
    listed = await Git(history).run("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
    assert set(listed.split()) == {b"commit", b"tree"}

    parent = await repository.commit_of("refs/heads/main")
    files = {"shop/cart.py": b"x = 2\n"}
    await repository.commit("main", files, message="Sum", author="a", at=here.site.clock(), parent=parent)
    later = await here.forge.pull_request(here.key(await here.opened()))
    assert (await here.forge.change(later, LIMITS)).history == {"shop/cart.py": FileHistory(4, 2)}


async def test_a_change_is_read_without_a_history_that_can_not_be_had(
    github: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = github.site.project(PROJECT).repository
    parent = await repository.commit_of("refs/heads/main")
    files = {"shop/cart.py": b"x = 1\n"}
    await repository.commit("main", files, message="Fix it", author="a", at=github.site.clock(), parent=parent)
    read = await github.forge.pull_request(github.key(await github.opened()))
    with monkeypatch.context() as slow:
        slow.setattr("tidemill.forges.copies.HISTORY_SECONDS", 0.001)
        slow.setattr("tidemill.forges.copies.LONG_SECONDS", 0.0)
        change = await github.forge.change(read, LIMITS)
    assert (change.files, change.history) == ({"shop/cart.py": CHANGED}, {})
    assert "How often the files" in caplog.text
    assert TOKEN not in caplog.text
    assert (await github.forge.change(read, LIMITS)).history == {}  # for an hour it is not tried again
    (failed,) = (tmp_path / "cache" / "pull-requests").glob("*.history-failed")
    os.utime(failed, (0, 0))
    assert (await github.forge.change(read, LIMITS)).history == {"shop/cart.py": FileHistory(1, 1)}


async def test_a_change_is_read_while_another_fetches_the_history(
    github: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = await github.forge.pull_request(github.key(await github.opened()))
    await github.forge.change(read, LIMITS)
    (history,) = (tmp_path / "cache" / "pull-requests").glob("*.history")
    lock = os.open(f"{history}.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        monkeypatch.setattr("tidemill.forges.copies.HISTORY_SECONDS", 0.2)
        change = await github.forge.change(read, LIMITS)
    finally:
        os.close(lock)
    assert (change.files, change.history) == ({"shop/cart.py": CHANGED}, {})
    assert "it took too long" in caplog.text
    assert not list(history.parent.glob("*.history-failed"))


async def test_what_a_killed_git_leaves_behind_keeps_no_later_change_from_being_read(
    github: Scripted, tmp_path: Path
) -> None:
    repository = github.site.project(PROJECT).repository
    for _ in range(2):
        parent = await repository.commit_of("refs/heads/main")
        files = {"shop/cart.py": b"x = 1\n" + parent.encode()}
        await repository.commit("main", files, message="Fix it", author="a", at=github.site.clock(), parent=parent)
        read = await github.forge.pull_request(github.key(await github.opened()))
        change = await github.forge.change(read, LIMITS)
        assert change.files == {"shop/cart.py": CHANGED}
        assert change.history
        copies = [copy for copy in (tmp_path / "cache" / "pull-requests").iterdir() if copy.is_dir()]
        assert len(copies) == 2
        for name in ("config", "shallow", "HEAD", f"refs/tidemill/commits/{parent}"):
            for copy in copies:
                (copy / f"{name}.lock").touch()


async def test_a_history_of_many_fetches_is_begun_anew(
    github: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.forges.copies.MOST_PACKS", 2)
    repository = github.site.project(PROJECT).repository
    packs = []
    for number in range(4):
        parent = await repository.commit_of("refs/heads/main")
        files = {"shop/cart.py": b"x = %d\n" % number}
        await repository.commit("main", files, message="Fix it", author="a", at=github.site.clock(), parent=parent)
        read = await github.forge.pull_request(github.key(await github.opened()))
        found = (await github.forge.change(read, LIMITS)).history
        assert found == {"shop/cart.py": FileHistory(number + 1, number + 1)}
        packs.append(len(list((tmp_path / "cache" / "pull-requests").glob("*.history/objects/pack/*.pack"))))
    assert packs == [1, 2, 1, 2]


async def test_a_line_outside_of_the_diff_is_refused_and_nothing_is_written(here: Scripted) -> None:
    pull = await here.opened()
    read = await here.forge.pull_request(here.key(pull))
    change = await here.forge.change(read, LIMITS)
    with pytest.raises(Refused):
        await here.forge.comment_inline(read, Position("README.md", 1, 1), "Here?", change=change)
    assert pull.comments == []


async def test_only_people_who_may_push_may_write(here: Scripted) -> None:
    key = here.key(await here.opened())
    assert await here.forge.may_write(key, "maintainer")
    assert not await here.forge.may_write(key, "stranger")


async def test_a_check_takes_the_place_of_the_one_before(here: Scripted) -> None:
    pull = await here.opened()
    key = here.key(pull)
    for state in (CheckState.RUNNING, CheckState.FAILED, CheckState.FAILED):
        assert await here.forge.put_check(key, Check("tidemill", pull.head, state, "2 findings", "…"))
    assert [(name, check.state) for (_, name), check in pull.checks.items()] == [("tidemill", CheckState.FAILED)]


async def test_the_state_of_a_pull_request_follows_what_people_do(here: Scripted) -> None:
    pull = await here.opened(fork=True, draft=True)
    read = await here.forge.pull_request(here.key(pull))
    assert (read.fork, read.draft) == (True, True)
    await here.site.close(pull)
    assert (await here.forge.pull_request(here.key(pull))).state is PullRequestState.CLOSED
    await here.site.reopen(pull)
    commit = await here.site.merge(pull)
    read = await here.forge.pull_request(here.key(pull))
    assert (read.state, read.merge_commit) == (PullRequestState.MERGED, commit)
    assert await here.forge.file(read, "shop/cart.py", commit) == CHANGED.encode()


async def test_after_a_push_comments_stand_where_their_lines_went_or_nowhere(here: Scripted) -> None:
    pull = await here.opened()
    read = await here.forge.pull_request(here.key(pull))
    change = await here.forge.change(read, LIMITS)
    await here.forge.comment_inline(read, Position("shop/cart.py", 2, 2), "eval", change=change)
    await here.site.push(pull, {"shop/cart.py": CHANGED.replace("eval", "list").encode()})
    (comment,) = await here.forge.comments(here.key(pull))
    assert comment.position is None
    with pytest.raises(Conflict):
        await here.forge.change(read, LIMITS)
    with pytest.raises(Refused):
        await here.forge.comment_inline(read, Position("shop/cart.py", 2, 2), "eval", change=change)


async def test_a_head_that_was_pushed_away_and_a_deleted_branch(here: Scripted) -> None:
    pull = await here.opened()
    read = await here.forge.pull_request(here.key(pull))
    await here.site.push(pull, {"shop/cart.py": b"x = 1\n"}, onto=pull.base)
    with pytest.raises(Conflict, match="no more at"):
        await here.forge.change(read, LIMITS)
    await here.site.project(PROJECT).repository.delete_branch(pull.source)
    now = await here.forge.pull_request(here.key(pull))
    assert (await here.forge.change(now, LIMITS)).files == {"shop/cart.py": "x = 1\n"}
    with pytest.raises(Conflict):
        await here.forge.change(replace(read, head="1" * 40), LIMITS)


async def test_a_forge_that_fails_is_limited_or_slow_says_so_each_time(here: Scripted) -> None:
    key = here.key(await here.opened())
    faults = here.server.served.faults.waiting
    faults.append(Fault(500))
    with pytest.raises(Unavailable, match="HTTP 500"):
        await here.forge.pull_request(key)
    faults.append(Fault(429, retry_after=17))
    with pytest.raises(TooManyRequests) as limited:
        await here.forge.pull_request(key)
    assert limited.value.retry_after == 17
    faults.append(Fault(403, retry_after=60))
    with pytest.raises(TooManyRequests) as limited:
        await here.forge.pull_request(key)
    assert limited.value.retry_after == 60
    faults.append(Fault(403))
    with pytest.raises(NotPermitted):
        await here.forge.comment(key, "x")
    faults.append(Fault(401))
    with pytest.raises(NotAuthenticated):
        await here.forge.pull_request(key)
    faults.append(Fault(seconds=0.2))
    assert (await here.forge.pull_request(key)).key == key


async def test_what_does_not_exist_is_not_found(here: Scripted) -> None:
    key = here.key(await here.opened())
    with pytest.raises(NotFound):
        await here.forge.pull_request(replace(key, number=99))


async def test_an_issue_is_read_and_a_pull_request_is_none(here: Scripted) -> None:
    pull = await here.opened()
    here.site.project(PROJECT).issues[12] = ("Totals are wrong", "Add the tax.")
    assert await here.forge.issue(here.key(pull), 12) == "Totals are wrong\n\nAdd the tax."
    for number in (pull.number, 99):
        with pytest.raises(NotFound):
            await here.forge.issue(here.key(pull), number)


async def test_every_page_of_comments_is_read(here: Scripted) -> None:
    pull = await here.opened()
    for number in range(130):
        await here.site.say(pull, "author", f"{number}")
    for _ in range(60):
        await here.site.say_inline(pull, "author", "inline", Position("shop/cart.py", 2, 2))
    found = await here.forge.comments(here.key(pull))
    assert [comment.body for comment in found] == [*map(str, range(130)), *["inline"] * 60]


async def test_a_thread_of_many_answers_is_read_to_its_end(github: Scripted) -> None:
    pull = await github.opened()
    first = await github.site.say_inline(pull, "author", "first", Position("shop/cart.py", 1, 2))
    for number in range(160):
        await github.site.say(pull, "author", f"{number}", first.id)
    found = await github.forge.comments(github.key(pull))
    assert len(found) == 161
    assert {comment.thread for comment in found} == {str(first.id)}


async def test_a_pull_request_of_three_thousand_files_is_read_whole(github: Scripted) -> None:
    files: dict[str, bytes | None] = {f"generated/file_{number}.py": b"x = 1\n" for number in range(3100)}
    read = await github.forge.pull_request(github.key(await github.opened(files)))
    change = await github.forge.change(read, LIMITS)
    assert len(change.files) == 3100
    assert len(parse_diff(change.diff).files) == 3100


async def test_odd_files_are_read_as_far_as_they_are_text(github: Scripted) -> None:
    moved = "\n".join(f"line_{number} = {number}" for number in range(60)) + "\n"
    start = await github.opened({"old.py": moved.encode()})
    await github.site.merge(start)
    long = b"y = '" + b"a" * 1_000_000 + b"'\n"
    files: dict[str, bytes | None] = {
        "old.py": None,
        "new.py": moved.replace("line_7 = 7", "line_7 = 8").encode(),
        "latin.py": b"name = 'caf\xe9'\n",
        "long.py": long,
    }
    read = await github.forge.pull_request(github.key(await github.opened(files)))
    change = await github.forge.change(read, LIMITS)
    kinds = {file.path: (file.kind, file.old_path) for file in parse_diff(change.diff).files}
    assert kinds["new.py"] == (ChangeKind.RENAMED, "old.py")
    assert change.files["latin.py"] == "name = 'caf\ufffd'\n"
    assert change.before["new.py"] == moved
    assert "long.py" in kinds
    assert "long.py" not in change.files


async def test_a_comment_over_githubs_length_is_refused(github: Scripted) -> None:
    key = github.key(await github.opened())
    with pytest.raises(Refused, match="65,536"):
        await github.forge.comment(key, "x" * 65_537)


async def test_an_app_gets_a_token_once_and_writes_check_runs_fifty_annotations_at_a_time(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, auto_kid=False)
    pair = (key.as_pem(private=True).decode(), key.as_pem(private=False).decode())
    async with scripted(tmp_path, ForgeKind.GITHUB, app_key=pair) as here:
        pull = await here.opened()
        annotations = tuple(
            Annotation(Position("shop/cart.py", 2, 2), AnnotationLevel.WARNING, f"{number}", "…")
            for number in range(120)
        )
        for state in (CheckState.RUNNING, CheckState.FAILED, CheckState.FAILED):
            notes = annotations if state is CheckState.FAILED else ()
            check = Check("tidemill", pull.head, state, "120 findings", "x" * 70_000, notes)
            assert await here.forge.put_check(here.key(pull), check)
        shown = pull.checks[pull.head, "tidemill"]
        assert (shown.state, shown.annotations) == (CheckState.FAILED, annotations)
        assert len(shown.summary) == 65_535
        assert [len(run["annotations"]) for run in here.server.served.runs.values()] == [120, 120]
        assert (await here.forge.pull_request(here.key(pull))).head == pull.head


async def test_an_app_that_is_installed_again_is_found_under_its_new_number(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, auto_kid=False)
    pair = (key.as_pem(private=True).decode(), key.as_pem(private=False).decode())
    async with scripted(tmp_path, ForgeKind.GITHUB, app_key=pair) as here:
        pull = await here.opened()
        assert isinstance(here.forge, GitHub)
        assert isinstance(here.forge._tokens, AppTokens)
        assert (await here.forge.pull_request(here.key(pull))).head == pull.head
        here.server.served.installation = 2
        here.forge._tokens._tokens.clear()  # the old token's end
        assert (await here.forge.pull_request(here.key(pull))).head == pull.head


async def test_a_confidential_issue_is_not_read(tmp_path: Path) -> None:
    async with scripted(tmp_path, ForgeKind.GITLAB) as here:
        pull = await here.opened()
        here.site.project(PROJECT).issues[12] = ("Confidential: prices", "Ours are double.")
        with pytest.raises(NotFound, match="confidential"):
            await here.forge.issue(here.key(pull), 12)


async def test_an_app_with_another_key_is_not_let_in(tmp_path: Path) -> None:
    keys = [RSAKey.generate_key(2048, auto_kid=False) for _ in range(2)]
    pair = (keys[0].as_pem(private=True).decode(), keys[1].as_pem(private=False).decode())
    async with scripted(tmp_path, ForgeKind.GITHUB, app_key=pair) as here:
        with pytest.raises(NotAuthenticated):
            await here.forge.pull_request(here.key(await here.opened()))


async def test_a_token_never_stands_in_the_arguments_of_git_or_in_its_copy(github: Scripted, tmp_path: Path) -> None:
    read = await github.forge.pull_request(github.key(await github.opened()))
    await github.forge.change(read, LIMITS)
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            assert b"scripted-token" not in file.read_bytes()


async def test_copies_forget_old_commits_and_fetch_what_is_asked_for_again(
    github: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.forges.copies.MOST_COMMITS", 4)
    pull = await github.opened()
    first = await github.forge.pull_request(github.key(pull))
    for number in range(5):
        await github.site.push(pull, {"n.py": f"n = {number}\n".encode()})
        now = await github.forge.pull_request(github.key(pull))
        assert (await github.forge.change(now, LIMITS)).files["n.py"] == f"n = {number}\n"
    assert await github.forge.file(first, "shop/cart.py", first.head) == CHANGED.encode()


async def test_changes_of_one_project_are_read_at_once(github: Scripted) -> None:
    reads = [await github.forge.pull_request(github.key(await github.opened({"n.py": b"%d" % n}))) for n in range(4)]
    changes = await asyncio.gather(*(github.forge.change(read, LIMITS) for read in reads))
    assert [change.files["n.py"] for change in changes] == ["0", "1", "2", "3"]


async def test_a_repository_that_the_token_may_not_read_says_so(github: Scripted) -> None:
    read = await github.forge.pull_request(github.key(await github.opened()))
    github.server.served.faults.waiting.append(Fault(403, action=".git/info/refs"))
    with pytest.raises(NotPermitted, match="right to read the contents"):
        await github.forge.change(read, LIMITS)
    github.server.served.faults.waiting.append(Fault(500, action=".git/info/refs"))
    with pytest.raises(Unavailable):
        await github.forge.change(read, LIMITS)
    assert (await github.forge.change(read, LIMITS)).files


async def test_a_gitea_without_an_api_for_it_can_not_resolve(tmp_path: Path) -> None:
    async with scripted(tmp_path, ForgeKind.GITEA) as here:
        pull = await here.opened()
        said = await here.site.say_inline(pull, "tidemill", "x", Position("shop/cart.py", 2, 2))
        here.server.served.faults.waiting += [Fault(405, action="/resolve"), Fault(404, action="/resolve")]
        assert await here.forge.resolve(here.key(pull), str(said.id)) is False
        assert await here.forge.resolve(here.key(pull), str(said.id)) is True


async def test_a_forge_that_does_not_answer_in_time_is_unavailable(tmp_path: Path) -> None:
    async with scripted(tmp_path, ForgeKind.GITHUB, seconds=0.3) as here:
        key = here.key(await here.opened())
        here.server.served.faults.waiting.append(Fault(seconds=2))
        with pytest.raises(Unavailable, match="can't be asked"):
            await here.forge.pull_request(key)


async def test_another_programs_check_run_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, auto_kid=False)
    pair = (key.as_pem(private=True).decode(), key.as_pem(private=False).decode())
    async with scripted(tmp_path, ForgeKind.GITHUB, app_key=pair) as here:
        pull = await here.opened()
        other = {"id": 9, "name": "tidemill", "head_sha": pull.head, "status": "in_progress", "annotations": []}
        here.server.served.runs[9] = other
        await here.forge.put_check(here.key(pull), Check("tidemill", pull.head, CheckState.PASSED, "Fine", ""))
        assert here.server.served.runs[9] == other
        assert pull.checks[pull.head, "tidemill"].state is CheckState.PASSED


async def test_a_suggestion_of_several_lines_takes_the_place_of_just_these(here: Scripted) -> None:
    pull = await here.opened()
    read = await here.forge.pull_request(here.key(pull))
    change, position = await here.forge.change(read, LIMITS), Position("shop/cart.py", 1, 3)
    mended = Suggestion(1, 3, "one = 1\ntwo = 2", ("applies", "parses"))
    finding = Finding("bandit", "B307", "shop/cart.py", 2, Severity.HIGH, "t", "m", "q", "f", suggestion=mended)
    body = finding_text(finding, "en", position, here.forge.kind)
    made = await here.forge.comment_inline(read, position, body, change=change)
    if here.forge.kind is ForgeKind.GITEA:
        with pytest.raises(InvalidInput, match="suggests nothing"):
            await here.site.apply_suggestion(pull, int(made.id), "author")
        return
    await here.site.apply_suggestion(pull, int(made.id), "author")
    text = await here.forge.file(read, "shop/cart.py", pull.head)
    assert (text or b"").decode().split("\n") == ["one = 1", "two = 2", *CHANGED.split("\n")[3:]]


async def test_a_range_of_lines_is_commented_on_where_the_forge_can(here: Scripted) -> None:
    read = await here.forge.pull_request(here.key(await here.opened()))
    change = await here.forge.change(read, LIMITS)
    await here.forge.comment_inline(read, Position("shop/cart.py", 1, 3), "All of it.", change=change)
    (found,) = await here.forge.comments(read.key)
    first = 3 if here.forge.name == ForgeKind.GITEA else 1
    assert found.position == Position("shop/cart.py", first, 3)
