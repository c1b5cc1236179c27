"""Batches with OpenAI's own client, unchanged: bad files, progress, cancelling, and a hub that is killed."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, scripted_settings, start_hub, stop, tidemill, upstream, wait_for
from tests.support.rows import query

pytestmark = pytest.mark.unmeasured

ENDPOINT = "/v1/chat/completions"
ENDED = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable(tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def slow(folder: Path) -> Iterator[Upstream]:
    with upstream(folder, "--delay-ms", "60000") as server:
        yield server
        server.process.kill()  # it would wait for its answers, which nobody wants any more


@pytest.fixture(scope="module")
def hub(folder: Path, slow: Upstream) -> Iterator[Hub]:
    with upstream(folder, "--delay-ms", "5") as model:
        settings = scripted_settings(model.url)
        settings["models"]["endpoints"]["slow"] = {"url": slow.url}
        settings["embeddings"] = {"endpoints": {"vectors": {"url": model.url}}}
        running = start_hub(folder / "data", settings)
        try:
            yield running
        finally:
            stop(running)


def new_client(hub: Hub, name: str) -> openai.OpenAI:
    with hub.client() as admin:
        made = admin.post("/v1/keys", json={"name": name, "role": "member"})
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=made.json()["key"], max_retries=0)


@pytest.fixture(scope="module")
def client(hub: Hub) -> Iterator[openai.OpenAI]:
    with new_client(hub, "maker") as opened:
        yield opened


def line(name: str, *, model: str = "scripted", text: str | None = None, **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text or f"Câu hỏi {name}"}], "temperature": 0}
    return {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body, **more}


def begun(client: openai.OpenAI, lines: list[Any], endpoint: Any = ENDPOINT, **more: Any) -> Batch:
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    file = client.files.create(file=("questions.jsonl", io.BytesIO(text.encode())), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    def look() -> Batch | None:
        found = client.batches.retrieve(batch.id)
        return found if found.status in ENDED else None

    found: Batch = wait_for(look, what="the batch's end")
    return found


def written(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    rows = [json.loads(one) for one in client.files.content(file_id).text.splitlines()]
    return {row["custom_id"]: row for row in rows}


def test_openais_client_gets_every_answer_under_its_own_name(client: openai.OpenAI) -> None:
    names = [f"line {number}" for number in range(250)]
    batch = begun(client, [line(name) for name in names], metadata={"for": "a test"})
    assert batch.status == "validating"
    done = ended(client, batch)
    assert (done.status, done.error_file_id, done.errors, done.metadata) == ("completed", None, None, {"for": "a test"})
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (250, 250, 0)
    assert done.created_at <= (done.in_progress_at or 0) <= (done.finalizing_at or 0) <= (done.completed_at or 0)
    assert done.expires_at == done.created_at + 86_400
    rows = written(client, done.output_file_id)
    assert list(rows) == names
    direct = client.chat.completions.create(**line("line 7")["body"])
    answer = rows["line 7"]["response"]
    assert (answer["status_code"], rows["line 7"]["error"]) == (200, None)
    assert answer["body"]["choices"] == [choice.model_dump(exclude_unset=True) for choice in direct.choices]
    file = client.files.retrieve(done.output_file_id or "")
    assert file.purpose == "batch_output"
    assert client.batches.list(limit=1).data[0].id == done.id


def test_texts_are_continued_and_embedded_in_batches_too(client: openai.OpenAI) -> None:
    body = {"model": "scripted", "prompt": ["a", "b"]}
    asked = {"custom_id": "one", "method": "POST", "url": "/v1/completions", "body": body}
    done = ended(client, begun(client, [asked], "/v1/completions"))
    assert len(written(client, done.output_file_id)["one"]["response"]["body"]["choices"]) == 2
    asked = {"custom_id": "one", "method": "POST", "url": "/v1/embeddings", "body": {"model": "nowhere", "input": "x"}}
    body = {"model": "vectors", "input": ["a", "b"], "encoding_format": "float"}
    good = {"custom_id": "two", "method": "POST", "url": "/v1/embeddings", "body": body}
    done = ended(client, begun(client, [asked, good], "/v1/embeddings"))
    assert done.status == "completed"
    direct = [one.embedding for one in client.embeddings.create(**body).data]
    answer = written(client, done.output_file_id)["two"]["response"]["body"]
    assert [one["embedding"] for one in answer["data"]] == direct
    assert written(client, done.error_file_id)["one"]["response"]["body"]["error"]["code"] == "model_not_found"


def test_a_line_that_its_route_would_refuse_fails_alone(client: openai.OpenAI) -> None:
    wrong = line("wrong")
    wrong["body"]["temperature"] = 9
    streamed = line("streamed")
    streamed["body"]["stream"] = True
    done = ended(client, begun(client, [line("right"), wrong, line("nobody", model="nobody"), streamed]))
    assert done.status == "completed"
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 3)
    assert list(written(client, done.output_file_id)) == ["right"]
    failed = written(client, done.error_file_id)
    told = {name: (row["response"]["status_code"], row["response"]["body"]["error"]["param"]) for name, row in
            failed.items()}  # fmt: skip
    assert told == {"wrong": (400, "temperature"), "nobody": (404, "model"), "streamed": (400, "stream")}


def test_every_bad_line_of_a_file_is_told_with_its_number_and_nothing_is_asked(client: openai.OpenAI) -> None:
    lines = [
        line("a"),
        '{"custom_id": "b"',
        line("a"),
        line("c", url="/v1/embeddings"),
        line("d", method="GET"),
        {"custom_id": "e", "method": "POST", "url": ENDPOINT},
        "",
        line("f", priority="first"),
        line("g", body="Hello"),
        line("", body={}),
        "[]",
        '{"custom_id": "h", "method": "POST", "url": "/v1/chat/completions", "body": {"seed": 1e999}}',
        '{"custom_id": "i", "method": "POST", "url": "/v1/chat/completions", "body": {"seed": NaN}}',
    ]
    failed = ended(client, begun(client, lines))
    assert failed.status == "failed"
    assert failed.failed_at is not None
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [(one.line, one.code, one.param) for one in failed.errors.data] == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "mismatched_endpoint", "url"),
        (5, "invalid_method", "method"),
        (6, "missing_required_parameter", "body"),
        (8, "unknown_parameter", None),
        (9, "invalid_body", "body"),
        (10, "invalid_custom_id", "custom_id"),
        (11, "invalid_json_line", None),
        (12, "invalid_body", "body"),
        (13, "invalid_body", "body"),
    ]
    assert failed.output_file_id is failed.error_file_id is None


def test_a_file_without_a_request_and_one_with_too_many_are_refused(client: openai.OpenAI) -> None:
    few = json.dumps({**line("x"), "body": {}})
    many = [few.replace('"x"', f'"{number}"') for number in range(50_001)]
    for lines, code in (([""], "empty_file"), (many, "too_many_tasks")):
        failed = ended(client, begun(client, lines))
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert [(one.code, one.line) for one in failed.errors.data] == [(code, None)]


def test_a_batch_that_can_not_be_is_refused_at_once(hub: Hub, client: openai.OpenAI) -> None:
    file = client.files.create(file=("notes.txt", b"Hello"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id="file-" + "0" * 32, endpoint=ENDPOINT, completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="1h")  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/moderations", completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("out.jsonl", b"{}"), purpose="batch_output")  # type: ignore[arg-type]
    with new_client(hub, "stranger") as other:
        batch = begun(client, [line("a")])
        with pytest.raises(openai.NotFoundError):
            other.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.batches.cancel(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.batches.create(input_file_id=batch.input_file_id, endpoint=ENDPOINT, completion_window="24h")
        assert other.batches.list().data == []


def test_a_cancelled_batch_keeps_what_was_answered(hub: Hub, client: openai.OpenAI, slow: Upstream) -> None:
    before = len(slow.asked)
    batch = begun(client, [line("quick"), line("never 1", model="slow"), line("never 2", model="slow")])

    def half_way() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed == 1 and len(slow.asked) == before + 2

    wait_for(half_way, what="the first answer")
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    done = ended(client, batch)
    assert (done.status, done.error_file_id) == ("cancelled", None)
    assert done.cancelling_at is not None
    assert done.cancelled_at is not None
    assert list(written(client, done.output_file_id)) == ["quick"]
    rows = query(hub, "SELECT status FROM inferences WHERE model = 'slow'")
    assert [row["status"] for row in rows] == ["cancelled", "cancelled"]
    assert query(hub, "SELECT 1 FROM batch_lines") == []
    completed = ended(client, begun(client, [line("a")]))
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(completed.id)


def test_when_the_window_ends_what_is_done_is_in_the_output(hub: Hub, client: openai.OpenAI, slow: Upstream) -> None:
    before = len(slow.asked)
    batch = begun(client, [line("quick"), *(line(f"never {n}", model="slow") for n in range(5))])
    wait_for(lambda: len(slow.asked) > before, what="a question that is never answered")
    query(hub, "UPDATE batches SET expires_at = now() WHERE id = %s RETURNING id", batch.id.removeprefix("batch_"))
    done = ended(client, batch)
    assert done.status == "expired"
    assert done.expired_at is not None
    assert list(written(client, done.output_file_id)) == ["quick"]
    left = written(client, done.error_file_id)
    assert {row["error"]["code"] for row in left.values()} == {"batch_expired"}
    assert len(left) == 5
    assert done.request_counts.failed == 5


def test_the_commands_begin_follow_and_list_batches(hub: Hub, client: openai.OpenAI, tmp_path: Path) -> None:
    file, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(line(name)) + "\n" for name in ("a", "b")))
    surroundings = {**hub.environment, "TIDEMILL_API_KEY": client.api_key}

    def command(*arguments: str) -> Any:
        ran = tidemill(["batches", *arguments, "--json"], surroundings)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    made = command("create", str(file))
    done = command("wait", made["id"], "--output", str(answers))
    assert done["status"] == "completed"
    assert [json.loads(one)["custom_id"] for one in answers.read_text().splitlines()] == ["a", "b"]
    assert command("show", made["id"]) == done
    assert command("list", "--limit", "1") == [done]
    assert tidemill(["batches", "cancel", made["id"]], surroundings).returncode == 5


def test_a_batch_whose_hub_is_killed_again_and_again_asks_no_answered_line_twice(folder: Path) -> None:
    with upstream(folder, "--delay-ms", "150") as model:
        settings = scripted_settings(model.url, jobs={"batch_concurrency": 2})
        hub = start_hub(folder / "killed", settings)
        client = new_client(hub, "maker")
        batch = begun(client, [line(f"{number}") for number in range(24)])
        kills = 2
        for kill in range(1, kills + 1):
            wait_for(lambda kill=kill: len(model.asked) > 6 * kill, what="some answers")
            hub.kill()
            hub = start_hub(folder / "killed", settings)
        try:
            with openai.OpenAI(base_url=f"{hub.url}/v1", api_key=client.api_key) as again:
                done = ended(again, batch)
                assert done.status == "completed"
                assert sorted(written(again, done.output_file_id), key=int) == [str(n) for n in range(24)]
                assert done.request_counts is not None
                assert (done.request_counts.completed, done.request_counts.failed) == (24, 0)
            committed = query(
                hub,
                "SELECT subject, count(*) FILTER (WHERE cache_tier IS NULL) AS times FROM inferences "
                "WHERE status = 'ok' GROUP BY subject",
            )
            assert {row["times"] for row in committed} == {1}
            assert len(committed) == 24
            assert len(model.asked) <= 24 + 2 * kills, "only what was under way at a kill may be asked for again"
            assert len(query(hub, "SELECT 1 FROM files WHERE purpose = 'batch_output'")) == 1
        finally:
            client.close()
            stop(hub)
