"""A review that is killed goes on after the next start: nothing twice, and nothing that was answered asked again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import reachable
from tests.support.hubs import PATIENCE, Hub, scripted_settings, start_hub, stop, upstream, wait_for
from tests.support.rows import query

pytestmark = pytest.mark.unmeasured

SOURCE = """\
import subprocess


def run(name):
    try:
        subprocess.call("ls " + name, shell=True)
    except Exception:
        pass


def total(items=[]):
    items.append(1)
    return sum(items)


def find(cursor, name):
    cursor.execute("SELECT * FROM users WHERE name = '%s'" % name)
    return cursor.fetchone()
"""


def whole_file_diff(path: str, text: str) -> str:
    lines = text.splitlines()
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n{body}"


def change(files: int = 3) -> dict[str, object]:
    sources = {f"part{n}.py": SOURCE + f"\n\nPART = {n}\n" for n in range(files)}
    diff = "".join(whole_file_diff(path, text) for path, text in sources.items())
    return {"diff": diff, "files": sources, "title": "Add three parts"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    return reachable(tmp_path)


def finished(hub: Hub, review: str) -> dict[str, object] | None:
    with hub.client() as client:
        found = client.get(f"/v1/reviews/{review}").json()
    assert found["state"] != "failed", found["error"]
    return found if found["state"] == "done" else None


def check_nothing_twice(hub: Hub, review: str, asked: list[str], *, kills: int = 1) -> None:
    found = wait_for(lambda: finished(hub, review), what="the review's end")
    marks = [(f["engine"], f["path"], f["line"], f["rule"], f["message"]) for f in found["findings"]]  # type: ignore[attr-defined]
    assert len(marks) == len(set(marks))
    assert {engine for engine, *_ in marks} >= {"bandit", "ruff"}
    assert [hunk["reason"] for hunk in found["result"]["hunks"]] == [None] * 3  # type: ignore[index]
    steps = [event["step"] for event in query(hub, "SELECT step FROM review_events ORDER BY seq")]
    assert len(steps) == len(set(steps))
    assert steps[-1] == "finish"
    committed = query(
        hub,
        "SELECT request_hash, count(*) FILTER (WHERE cache_tier IS NULL) AS times FROM inferences WHERE status = 'ok' "
        "GROUP BY request_hash",
    )
    assert len(committed) == QUESTIONS
    times = sorted(row["times"] for row in committed)
    assert times in ([1] * QUESTIONS, [0] + [1] * (QUESTIONS - 1)), "what came as the hub stopped may be cached alone"
    assert len(asked) <= QUESTIONS + kills, "only an answer that was under way at a kill may be asked for again"


QUESTIONS = 3 + 2
"""A comment for each hunk, and the most refinements."""
SLOTS_TAKEN = "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7304 AND granted"
STEPS = ["begin", "engine:ruff", "engine:bandit", "engine:secrets", "plan", "comment:0", "comment:1", "rank"]


def test_a_review_whose_hub_is_killed_after_every_step_ends_as_if_it_had_not_been(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "300") as model:
        settings = scripted_settings(model.url)
        hub = start_hub(folder / "data", settings)
        with hub.client() as client:
            review = client.post("/v1/reviews", json=change()).json()["id"]
        for step in STEPS:
            wait_for(
                lambda hub=hub, step=step: query(hub, "SELECT 1 FROM review_events WHERE step = %s", step),
                what=f"the step {step}",
            )
            hub.kill()
            hub = start_hub(folder / "data", settings)
        try:
            check_nothing_twice(hub, review, model.asked, kills=len(STEPS))
        finally:
            stop(hub)


def test_a_model_that_dies_in_the_middle_is_waited_for(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "200") as first:
        port = httpx.URL(first.url).port
        hub = start_hub(folder / "data", scripted_settings(first.url))
        try:
            with hub.client() as client:
                review = client.post("/v1/reviews", json=change()).json()["id"]
            wait_for(lambda: first.asked, what="the first question")
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            time.sleep(0.5)
            with upstream(folder, "--delay-ms", "10", "--port", str(port)) as second:
                check_nothing_twice(hub, review, second.asked)
        finally:
            stop(hub)


def test_the_work_of_a_killed_hub_is_taken_over_by_a_worker_that_lives(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "300") as model:
        hub = start_hub(folder / "data", scripted_settings(model.url))
        with hub.client() as client:
            review = client.post("/v1/reviews", json=change()).json()["id"]
        wait_for(lambda: query(hub, "SELECT 1 FROM review_events WHERE step = 'comment:0'"), what="the first comment")
        worker = subprocess.Popen([sys.executable, "-m", "tidemill", "worker"], env=hub.environment)
        try:
            wait_for(
                lambda: len(query(hub, SLOTS_TAKEN)) >= 2,
                what="the worker's slot",
            )
            hub.kill()
            wait_for(
                lambda: query(hub, "SELECT 1 FROM reviews WHERE id = %s AND state = 'done'", review),
                what="the worker's end of it",
            )
        finally:
            worker.terminate()
            worker.wait(PATIENCE)


def test_ctrl_c_in_the_middle_leaves_no_process_and_the_review_goes_on_later(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "300") as model:
        settings = scripted_settings(model.url)
        hub = start_hub(folder / "data", settings)
        children = psutil.Process(hub.process.pid).children(recursive=True)
        with hub.client() as client:
            review = client.post("/v1/reviews", json=change()).json()["id"]
        wait_for(lambda: model.asked, what="the first question")
        stop(hub)
        assert hub.process.returncode == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not _servers_of(folder / "data")
        hub = start_hub(folder / "data", settings)
        try:
            check_nothing_twice(hub, review, model.asked)
        finally:
            stop(hub)


def _servers_of(data_dir: Path) -> list[str]:
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and str(data_dir) in " ".join(process.info["cmdline"]) and process.pid != os.getpid()
    ]


def test_a_review_that_a_route_comments_on_can_be_followed_from_the_middle(folder: Path) -> None:
    with upstream(folder) as model:
        route = {
            "routes": {"reviewers": {"targets": ["scripted"]}},
            "tasks": {"review.comment": {"model": "reviewers"}},
        }
        hub = start_hub(folder / "data", scripted_settings(model.url, **route))
        try:
            with hub.client() as client:
                review = client.post("/v1/reviews", json=change()).json()["id"]
                wait_for(lambda: finished(hub, review), what="the review's end")
                whole = client.get(f"/v1/reviews/{review}/events").text
                blocks = [block for block in whole.split("\n\n") if block.startswith("id: ")]
                kinds = [block.splitlines()[1][7:] for block in blocks]
                assert kinds[0] == "started"
                assert kinds[-1] == "finished"
                assert model.asked
                middle = blocks[2].splitlines()[0][4:]
                rest = client.get(f"/v1/reviews/{review}/events", headers={"last-event-id": middle}).text
                assert [b for b in rest.split("\n\n") if b.startswith("id: ")] == blocks[3:]
                assert all(json.loads(block.splitlines()[2][6:]) for block in blocks)
        finally:
            stop(hub)
