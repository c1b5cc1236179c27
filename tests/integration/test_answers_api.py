"""Answers from documents over HTTP and on the command line, by a hub whose models are scripted."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream
from tests.support.indexed import NOON, Index
from tidemill.core.classification import Level
from tidemill.llm.embedding_catalog import E5, find_embedding_model
from tidemill.settings import Settings
from tidemill.store.database import make_pool
from tidemill.store.embedded import EmbeddedPostgres
from tidemill.store.secret_key import load_secret_key
from tidemill.store.vectors import VectorSpaces

QUOTES = "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá. Giám đốc khối ký trong vòng 2 ngày làm việc."
GOOD = "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá [1]. Nhân viên mới được tặng một chiếc xe máy [1]."
KEPT = "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá [1]."
QUESTION = "Đơn hàng 120 triệu đồng cần mấy báo giá?"
CHUNK = {
    "chunk_id": "doc123_chunk_5",
    "content": QUOTES,
    "metadata": {"document_id": "proc_001", "title": "Quy trình Mua hàng", "page": 2, "confidence_score": 0.95},
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("answers"))
    script = folder / "good.json"
    script.write_text(json.dumps({"text": GOOD}))
    with upstream(folder) as poor, upstream(folder, "--script", str(script)) as good:
        settings = scripted_settings(good.url)
        settings["models"]["endpoints"]["poor"] = {"url": poor.url}
        settings |= {
            "routes": {"answering": {"targets": ["poor", "scripted"]}},
            "tasks": {"answer": {"model": "answering"}},
        }
        with running_hub(folder / "data", settings) as running:
            asyncio.run(fill(running))
            yield running


async def fill(hub: Hub) -> None:
    """One source for everyone, and one that only some may see, embedded by the hub itself."""
    settings = Settings(data_dir=hub.data_dir)
    with EmbeddedPostgres.acquire(settings, load_secret_key(settings)) as server:
        async with make_pool(server.url, size=2) as pool:
            index = Index(pool)
            space = await VectorSpaces(pool).ensure(E5, find_embedding_model(settings, E5).version, 384, NOON)
            handbook = await index.source("handbook")
            await index.document(handbook, "mua-hang.md", QUOTES, language="vi")
            board = await index.source("board", level=Level.SECRET)
            await index.document(board, "board.md", "The board sells the harbour site in June.", language="en")
            waiting = await VectorSpaces(pool).pending(space, 10)
            with hub.client() as client:
                body = {"model": E5, "input": [one.text for one in waiting], "input_type": "passage"}
                made = client.post("/v1/embeddings", json=body).json()["data"]
            vectors = [np.array(one["embedding"], "<f4").tobytes() for one in made]
            await VectorSpaces(pool).put_vectors(
                space, {one.hash: vector for one, vector in zip(waiting, vectors, strict=True)}
            )


@pytest.fixture(scope="module")
def member(hub: Hub) -> dict[str, str]:
    """The headers of a key that sees what is internal."""
    with hub.client() as client:
        made = client.post("/v1/keys", json={"name": "member", "role": "member"})
    return {"authorization": f"Bearer {made.json()['key']}"}


def ask(hub: Hub, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    with hub.client() as client:
        return client.post(path, json=body, headers=headers or {})


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_an_answer_holds_what_the_documents_say_and_can_be_opened_later(hub: Hub, member: dict[str, str]) -> None:
    answer = ask(hub, "/v1/answers", {"query": QUESTION, "filters": {"sources": ["handbook"]}}, member).json()
    assert answer["answer"] == KEPT
    assert answer["status"] == "partial_success"
    assert answer["response_metadata"]["model_used"] == "scripted"
    (citation,) = answer["citations"]
    assert citation["text"][citation["start"] : citation["end"]] == citation["used_content"]
    assert citation["used_content"].startswith("Đơn hàng từ 100.000.000")
    with hub.client() as client:
        again = client.get(f"/v1/answers/{answer['id']}", headers=member)
        assert again.json() == answer
        assert client.get(f"/v1/answers/{answer['id']}").status_code == 404


def test_a_stream_has_sources_then_sentences_then_the_answer(hub: Hub, member: dict[str, str]) -> None:
    body = {"query": QUESTION, "filters": {"sources": ["handbook"]}, "stream": True}
    said = events(ask(hub, "/v1/answers", body, member).text)
    assert [name for name, _ in said] == ["sources", "sentence", "answer", "done"]
    assert said[0][1]["data"][0]["path"] == "mua-hang.md"
    assert said[1][1]["text"] == said[2][1]["answer"] == KEPT


def test_what_a_caller_may_not_see_is_not_answered_from(hub: Hub, member: dict[str, str]) -> None:
    body = {"query": "When does the board sell the harbour site?", "filters": {"sources": ["board"]}}
    answer = ask(hub, "/v1/answers", body, member).json()
    assert answer["outcome"] == "no_context"
    assert answer["citations"] == []
    assert answer["response_metadata"]["passages"] == 0


def test_passages_that_are_brought_along_are_answered_from(hub: Hub, member: dict[str, str]) -> None:
    body = {
        "query": QUESTION,
        "context_chunks": [CHUNK],
        "user_context": {"user_id": "emp001", "department": "rd", "access_level": "employee"},
        "conversation_history": [],
    }
    answer = ask(hub, "/api/generate", body, member).json()
    assert set(answer) == {"answer", "citations", "confidence_score", "response_metadata"}
    assert answer["answer"] == KEPT
    assert answer["citations"] == [
        {
            "chunk_id": "doc123_chunk_5",
            "reference": "[1] Quy trình Mua hàng, trang 2",
            "used_content": "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá.",
        }
    ]
    assert 0.5 < answer["confidence_score"] <= 1
    assert {"model_used", "tokens_used", "processing_time", "cost_estimate"} <= set(answer["response_metadata"])


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"user_context": {"access_level": "emperor"}}, 400, "user_context.access_level"),
        ({"context_chunks": [CHUNK] * 101}, 413, "context_chunks"),
        ({"query": "a" * 20_000}, 400, "query"),
        ({"query": "🙂🙂"}, 400, "query"),
        ({"context_chunks": [{**CHUNK, "content": " "}]}, 400, "context_chunks"),
        ({"context_chunks": None}, 400, "context_chunks"),
    ],
)
def test_what_can_not_be_answered_is_refused_with_its_field(
    hub: Hub, change: dict[str, Any], status: int, param: str
) -> None:
    answer = ask(hub, "/api/generate", {"query": QUESTION, "context_chunks": [CHUNK], **change})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_viewer_may_not_have_answers_made(hub: Hub) -> None:
    with hub.client() as client:
        made = client.post("/v1/keys", json={"name": "viewer", "role": "viewer"}).json()
    refused = ask(hub, "/v1/answers", {"query": QUESTION}, {"authorization": f"Bearer {made['key']}"})
    assert refused.status_code == 403


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_openais_clients_ask_the_documents_as_the_model_knowledge(
    hub: Hub, member: dict[str, str], prefix: str
) -> None:
    body = {"model": "knowledge", "messages": [{"role": "user", "content": QUESTION}]}
    answer = ask(hub, f"{prefix}/chat/completions", body, member).json()
    content = answer["choices"][0]["message"]["content"]
    assert content.startswith(KEPT)
    assert answer["tidemill"]["citations"][0]["reference"] in content
    assert answer["usage"]["total_tokens"] > 0


def test_the_model_knowledge_streams(hub: Hub, member: dict[str, str]) -> None:
    body = {"model": "knowledge", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    lines = [line[6:] for line in ask(hub, "/v1/chat/completions", body, member).text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text.startswith(KEPT)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_the_command_prints_the_answer_and_where_to_open_its_citations(hub: Hub) -> None:
    done = tidemill(["ask", QUESTION, "--source", "handbook"], hub.environment)
    assert done.returncode == 0, done.stderr
    assert KEPT in done.stdout
    assert "handbook · mua-hang.md" in done.stdout
    whole = tidemill(["ask", QUESTION, "--source", "handbook", "--json"], hub.environment)
    assert json.loads(whole.stdout)["answer"] == KEPT
    assert tidemill(["ask", " "], hub.environment).returncode == 2
