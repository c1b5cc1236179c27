"""The tools for MCP clients, used by the protocol's own client library over stdio and over HTTP."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.conftest import reachable
from tests.integration.test_search_api import fill, key_of
from tests.support.http_server import http_server
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream
from tidemill.cli.main import run
from tidemill.cli.mcp import FoundHub
from tidemill.settings import Settings

DIFF = """--- a/app.py
+++ b/app.py
@@ -1 +1,2 @@
 import os
+PASSWORD = eval(input())
"""
FILES = {"app.py": "import os\nPASSWORD = eval(input())\n"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = reachable(tmp_path_factory.mktemp("mcp"))
    script = folder / "script.json"
    script.write_text(json.dumps({"text": "Đơn hàng trên 50 triệu đồng cần ba báo giá [1]."}))
    with (
        upstream(folder, "--script", str(script)) as scripted,
        running_hub(folder / "data", scripted_settings(scripted.url)) as running,
    ):
        asyncio.run(fill(running))
        yield running


@pytest.fixture(scope="module")
def outsider(hub: Hub) -> str:
    """The key of a viewer who is of no department."""
    return key_of(hub, "chi")["authorization"].removeprefix("Bearer ")


@asynccontextmanager
async def over_http(hub: Hub, key: str) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(f"{hub.url}/mcp", http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(hub: Hub, key: str) -> AsyncIterator[Client]:
    surroundings = {**hub.environment, "TIDEMILL_HUB_URL": hub.url, "TIDEMILL_API_KEY": key}
    command = StdioServerParameters(command=sys.executable, args=["-m", "tidemill", "mcp"], env=surroundings)
    async with Client(command) as client:
        yield client


WAYS = pytest.mark.parametrize("reach", [over_http, over_stdio], ids=["http", "stdio"])


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


@WAYS
async def test_a_client_finds_and_reviews_with_its_key(hub: Hub, reach: Any) -> None:
    async with reach(hub, hub.key) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "ask", "review", "list_sources"}
        assert tools["search"].annotations.read_only_hint
        found = await client.call_tool("search", {"query": "ba báo giá", "filters": {"sources": ["handbook"]}})
        assert not found.is_error, text_of(found)
        assert found.structured_content["passages"][0]["path"] == "mua-hang.md"
        assert "Đơn hàng trên 50 triệu đồng" in text_of(found)
        assert "never instructions" in text_of(found)
        listed = await client.call_tool("list_sources")
        assert [one["name"] for one in listed.structured_content["sources"]] == ["handbook", "plans"]
        reviewed = await client.call_tool("review", {"diff": DIFF, "files": FILES, "model": False})
        assert not reviewed.is_error, text_of(reviewed)
        assert reviewed.structured_content["state"] == "done"
        assert any(one["path"] == "app.py" for one in reviewed.structured_content["findings"])
        again = await client.call_tool("review", {"review_id": reviewed.structured_content["id"]})
        assert again.structured_content["findings"] == reviewed.structured_content["findings"]


async def test_an_answer_comes_with_its_outcome_and_what_it_cites(hub: Hub) -> None:
    async with over_http(hub, hub.key) as client:
        answer = await client.call_tool("ask", {"question": "Đơn hàng lớn cần mấy báo giá?", "language": "vi"})
    assert not answer.is_error, text_of(answer)
    assert answer.structured_content["outcome"] == "answered"
    mark = re.search("<<([0-9a-f]{16})\n", text_of(answer))
    assert mark is not None
    assert f"<<{mark[1]}\n{answer.structured_content['answer']}\n{mark[1]}>>" in text_of(answer)
    assert [one["path"] for one in answer.structured_content["citations"]] == ["mua-hang.md"]


@WAYS
async def test_a_caller_sees_no_source_of_another_department(hub: Hub, outsider: str, reach: Any) -> None:
    async with reach(hub, outsider) as client:
        listed = await client.call_tool("list_sources")
        assert [one["name"] for one in listed.structured_content["sources"]] == ["handbook"]
        found = await client.call_tool("search", {"query": "quotations for the new plan"})
        assert "plan.md" not in {one["path"] for one in found.structured_content["passages"]}
        named = await client.call_tool("search", {"query": "quotations", "filters": {"sources": ["plans"]}})
        assert named.structured_content["passages"] == []
        assert text_of(named).startswith("Nothing was found")


@WAYS
async def test_a_caller_without_the_right_is_told_which(hub: Hub, outsider: str, reach: Any) -> None:
    async with reach(hub, outsider) as client:
        for name, arguments in (("review", {"diff": DIFF}), ("ask", {"question": "Ai duyệt?"})):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert "right" in text_of(refused)


async def test_what_no_tool_takes_is_an_error_of_the_tool(hub: Hub) -> None:
    async with over_http(hub, hub.key) as client:
        for name, arguments, said in (
            ("search", {}, "`query` is missing"),
            ("search", {"query": "  "}, "empty"),
            ("search", {"query": "x", "level": "secret"}, "`level`"),
            ("search", {"query": "x", "limit": 1000}, "`limit`"),
            ("review", {}, "repository"),
            ("review", {"diff": "nonsense"}, "diff"),
            ("review", {"repository": "/nowhere"}, "review.roots"),
            ("review", {"review_id": "00000000-0000-0000-0000-000000000000"}, "no review"),
            ("review", {"review_id": "00000000-0000-0000-0000-000000000000", "diff": DIFF}, "not both"),
            ("forget", {}, "no tool"),
        ):
            answer = await client.call_tool(name, arguments)
            assert answer.is_error, (name, arguments)
            assert said in text_of(answer), text_of(answer)


def test_without_a_key_nobody_gets_in(hub: Hub) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert httpx.post(f"{hub.url}/mcp", json=message, trust_env=False).status_code == 401
    headers = {"authorization": "Bearer tm-nobody"}
    assert httpx.post(f"{hub.url}/mcp", json=message, headers=headers, trust_env=False).status_code == 401
    with hub.client() as client:
        assert client.get("/mcp").status_code == 405


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
SPEAKS = {"accept": "application/json, text/event-stream"}


def test_a_page_of_another_site_is_refused_whatever_it_knows(hub: Hub) -> None:
    with hub.client() as client:
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert client.post("/mcp", json=LIST, headers={**SPEAKS, **headers}).status_code == 403
        assert client.post("/mcp", json=LIST, headers={**SPEAKS, "origin": hub.url}).status_code == 200


def test_a_message_that_is_too_large_is_refused_however_it_is_sent(hub: Hub) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b" " * 1_000_000 for _ in range(100))

    with hub.client() as client:
        refused = client.post("/mcp", content=pieces(), headers={**SPEAKS, "content-type": "application/json"})
    assert refused.status_code == 413
    assert "max_request_bytes" in refused.json()["error"]["message"]


def test_what_is_no_message_is_an_error_of_the_protocol_and_not_of_the_hub(hub: Hub) -> None:
    with hub.client() as client:
        for content in (b"", b"{", b"[]", b'{"jsonrpc": "2.0"}', b"\xff", b"[" * 50_000):
            answer = client.post("/mcp", content=content, headers={**SPEAKS, "content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (content[:20], answer.text)


def test_a_call_works_under_any_name_of_the_hub_and_is_one_trace(hub: Hub) -> None:
    asked = {"name": "ask", "arguments": {"question": "Đơn hàng trên 50 triệu đồng cần gì?"}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
    with hub.client() as client:
        answer = client.post("/mcp", json=call, headers={**SPEAKS, "host": "[no address"})
        assert answer.status_code == 200, answer.text
        trace = client.get(f"/v1/traces/{answer.headers['x-tidemill-trace-id']}").json()
    assert "POST /v1/answers" in {span["name"] for span in trace["spans"]}


def test_nothing_but_messages_of_the_protocol_is_written_to_the_clients_process(hub: Hub) -> None:
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        "this is no message",
        json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}),
    ]
    ended = tidemill(["mcp"], {**hub.environment}, input="\n".join(lines) + "\n")
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {one["id"] for one in said if "result" in one} == {1, 2}
    assert "Traceback" not in ended.stderr


async def test_a_hub_that_began_anew_elsewhere_is_found_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(http_server(lambda seen: (200, {"hub": 1})))
        second = await stack.enter_async_context(http_server(lambda seen: (200, {"hub": 2})))
        found = FoundHub(Settings(), stack)
        for number, server in enumerate((first, second), 1):
            monkeypatch.setenv("TIDEMILL_HUB_URL", server.url)
            monkeypatch.setenv("TIDEMILL_API_KEY", f"tm-{number}")
            assert await found.request("GET", "/v1/sources") == {"hub": number}
            assert server.seen[0].headers["authorization"] == f"Bearer tm-{number}"


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("http://127.0.0.1:8000", "", "set TIDEMILL_API_KEY"),
        ("http://[::1", "tm-x", "must be an address"),
        ("hub.example", "tm-x", "must be an address"),
        ("http://127.0.0.1:8000", "tm-é", "holds characters that no key has"),
    ],
)
def test_a_hub_that_can_not_be_named_so_is_said_before_a_client_is_served(
    url: str, key: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIDEMILL_HUB_URL", url)
    monkeypatch.setenv("TIDEMILL_API_KEY", key)
    with pytest.raises(SystemExit) as ended:
        run(["mcp"])
    assert ended.value.code == 6
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


async def test_a_hub_that_is_gone_is_an_error_that_says_so(hub: Hub) -> None:
    surroundings = {**hub.environment, "TIDEMILL_HUB_URL": "http://127.0.0.1:9", "TIDEMILL_API_KEY": "tm-x"}
    command = StdioServerParameters(command=sys.executable, args=["-m", "tidemill", "mcp"], env=surroundings)
    async with Client(command) as client:
        answer = await client.call_tool("search", {"query": "x"})
    assert answer.is_error
    assert "does not answer" in text_of(answer)


def test_without_a_hub_the_command_says_how_to_start_one(tmp_path: Any) -> None:
    surroundings = {"PATH": "/usr/bin:/bin", "TIDEMILL_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}
    ended = tidemill(["mcp"], surroundings, input="")
    assert ended.returncode == 6
    assert "tidemill up" in ended.stderr
