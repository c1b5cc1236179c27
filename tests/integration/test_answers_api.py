"""Answers from documents over HTTP and on the command line, by a hub whose models are scripted."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, Upstream, running_hub, scripted_settings, tidemill, upstream
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
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Upstream]]:
    """One whose answers no passage supports, and one that answers well."""
    folder = tmp_path_factory.mktemp("models")
    script = folder / "good.json"
    script.write_text(json.dumps({"text": GOOD}))
    with upstream(folder) as poor, upstream(folder, "--script", str(script)) as good:
        yield poor, good


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, models: tuple[Upstream, Upstream]) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("answers"))
    poor, good = models
    settings = scripted_settings(good.url)
    settings["models"]["endpoints"]["poor"] = {"url": poor.url}
    settings |= {
        "routes": {"answering": {"targets": ["poor", "scripted"], "fallbacks": ["search"]}},
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
            passing = await index.source("passing")
            await index.document(passing, "cu.md", f"{QUOTES} Bản năm ngoái.", language="vi")
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


def begun(hub: Hub, headers: dict[str, str], **more: Any) -> str:
    made = ask(hub, "/v1/conversations", more, headers)
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def conversation(hub: Hub, conversation_id: str, headers: dict[str, str]) -> Any:
    with hub.client() as client:
        return client.get(f"/v1/conversations/{conversation_id}", headers=headers).json()


def test_an_answer_in_a_conversation_shows_the_same_when_its_documents_are_gone(
    hub: Hub, member: dict[str, str]
) -> None:
    told = begun(hub, member)
    body = {"query": QUESTION, "filters": {"sources": ["passing"]}, "conversation_id": told}
    first = ask(hub, "/v1/answers", body, member).json()
    assert first["conversation_id"] == told
    with hub.client() as client:
        sources = {one["name"]: one["id"] for one in client.get("/v1/sources").json()["data"]}
        assert client.delete(f"/v1/sources/{sources['passing']}").status_code < 300
        assert client.get(f"/v1/answers/{first['id']}", headers=member).json() == first
    question, answer = conversation(hub, told, member)["messages"]
    assert (question["content"], answer["content"]) == (QUESTION, first["answer"])
    cited = answer["citations"][0]
    assert cited["text"] == first["citations"][0]["text"]
    assert cited["quote"] == cited["text"][cited["quote_start"] : cited["quote_end"]]
    assert f"[{cited['number']}]" in answer["content"][cited["start"] : cited["end"]]
    assert cited["answer_id"] == first["id"]


def test_a_follow_up_is_understood_from_its_conversation(
    hub: Hub, member: dict[str, str], models: tuple[Upstream, Upstream]
) -> None:
    told = begun(hub, member)
    body = {"query": QUESTION, "filters": {"sources": ["handbook"]}, "conversation_id": told}
    ask(hub, "/v1/answers", body, member)
    followed = ask(hub, "/v1/answers", {**body, "query": "Còn dưới mức đó?", "stream": True}, member)
    name, answer = events(followed.text)[-2]
    assert name == "answer"
    assert "rewritten" in answer["response_metadata"]
    roles = [one["role"] for one in conversation(hub, told, member)["messages"]]
    assert roles == ["user", "assistant"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_knowledge_keeps_what_it_says_in_a_conversation(
    hub: Hub, member: dict[str, str], stream: bool
) -> None:
    told = begun(hub, member)
    body = {
        "model": "knowledge",
        "messages": [{"role": "user", "content": QUESTION}],
        "metadata": {"conversation_id": told},
        "stream": stream,
    }
    assert ask(hub, "/v1/chat/completions", body, member).status_code == 200
    messages = conversation(hub, told, member)["messages"]
    assert messages[-1]["content"] == KEPT
    assert messages[-1]["citations"][0]["quote"] == "Đơn hàng từ 100.000.000 đồng trở lên cần ba báo giá."


def test_nobody_asks_in_a_conversation_of_another(hub: Hub, member: dict[str, str]) -> None:
    told = begun(hub, {})
    body = {"query": QUESTION, "conversation_id": told}
    assert ask(hub, "/v1/answers", body, member).status_code == 404
    streamed = events(ask(hub, "/v1/answers", {**body, "stream": True}, member).text)
    assert streamed[0][1]["error"]["code"] == "not_found"
    chat = {"model": "knowledge", "messages": [{"role": "user", "content": QUESTION}]}
    assert ask(hub, "/v1/chat/completions", {**chat, "metadata": {"conversation_id": told}}, member).status_code == 404
    refused = ask(hub, "/v1/chat/completions", {**chat, "metadata": {"conversation_id": "mine"}}, member)
    assert refused.json()["error"]["param"] == "metadata.conversation_id"
    assert conversation(hub, told, {})["messages"] == []


def test_a_question_that_can_not_be_answered_is_not_kept(hub: Hub, member: dict[str, str]) -> None:
    told = begun(hub, member)
    for change in (
        {"query": "🙂"},
        {"query": "a" * 20_000},
        {"conversation_history": [{"role": "user", "content": "x"}]},
    ):
        refused = ask(hub, "/v1/answers", {"query": QUESTION, "conversation_id": told, **change}, member)
        assert refused.status_code == 400, refused.text
    assert conversation(hub, told, member)["messages"] == []


def test_a_conversation_that_is_deleted_takes_its_answers_along(hub: Hub, member: dict[str, str]) -> None:
    told = begun(hub, member)
    body = {"query": QUESTION, "filters": {"sources": ["handbook"]}, "conversation_id": told}
    answer = ask(hub, "/v1/answers", body, member).json()
    with hub.client() as client:
        assert client.delete(f"/v1/conversations/{told}", headers=member).status_code == 200
        assert client.get(f"/v1/answers/{answer['id']}", headers=member).status_code == 404


def test_the_command_goes_on_with_a_conversation(hub: Hub) -> None:
    begins = tidemill(["ask", QUESTION, "--new", "--source", "handbook"], hub.environment)
    assert begins.returncode == 0, begins.stderr
    told = begins.stderr.split("--conversation ")[1].split()[0]
    again = tidemill(["ask", QUESTION, "--conversation", told, "--source", "handbook"], hub.environment)
    assert again.returncode == 0, again.stderr
    assert len(conversation(hub, told, {})["messages"]) == 4


def test_questions_that_are_asked_at_once_are_all_answered(hub: Hub, member: dict[str, str]) -> None:
    async def everyone() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=hub.url, headers=member, timeout=120, trust_env=False) as client:
            bodies = [
                {"query": f"{QUESTION} ({number})", "context_chunks": [CHUNK], "user_context": {"user_id": str(number)}}
                for number in range(20)
            ]
            return await asyncio.gather(*(client.post("/api/generate", json=body) for body in bodies))

    answers = asyncio.run(everyone())
    assert [one.status_code for one in answers] == [200] * 20
    assert all(one.json()["answer"] == KEPT and one.json()["citations"] for one in answers)


def test_what_was_found_is_the_answer_when_every_model_fails(
    hub: Hub, member: dict[str, str], models: tuple[Upstream, Upstream]
) -> None:
    for model in models:  # no test follows this one
        model.process.kill()
    question = "Ai ký trong vòng 2 ngày làm việc?"
    answer = ask(hub, "/v1/answers", {"query": question, "filters": {"sources": ["handbook"]}}, member).json()
    assert (answer["status"], answer["outcome"]) == ("minimal_success", "search_only")
    assert QUOTES in answer["answer"]
    assert answer["citations"][0]["text"] == QUOTES
    assert answer["response_metadata"]["fallback"] == "search"
    brought = ask(hub, "/api/generate", {"query": question, "context_chunks": [CHUNK]}, member).json()
    assert QUOTES in brought["answer"]
    assert brought["response_metadata"]["status"] == "minimal_success"
