"""The tools for MCP clients, used by the protocol's own client library over stdio and over HTTP."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.conftest import reachable
from tests.integration.test_search_api import fill, key_of
from tests.support.hubs import Hub, running_hub, scripted_settings, tidemill, upstream

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
    assert answer.structured_content["answer"] in text_of(answer)
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
