"""Other people's clients, unchanged, against a hub as a process: what `make test` installed for them is used here."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import reachable
from tests.support.hubs import Hub, running_hub, upstream

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".cache" / "clients"
PYTHON = CLIENTS / "venv" / "bin" / "python"
SAYS = "Xin chào, I am scripted."
CALL = {"name": "weather", "arguments": json.dumps({"city": "Huế"})}
CALLED = [{"name": "weather", "args": {"city": "Huế"}}]
DIMENSIONS = 384


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory):
    folder = reachable(tmp_path_factory.mktemp("clients"))
    script, tools = folder / "script.json", folder / "tools.json"
    script.write_text(json.dumps({"text": SAYS}))
    tools.write_text(json.dumps({"calls": [CALL]}))
    with upstream(folder, "--script", str(script)) as talker, upstream(folder, "--script", str(tools)) as caller:
        endpoints = {"talker": {"url": talker.url}, "caller": {"url": caller.url}}
        settings = {"models": {"default": "talker", "endpoints": endpoints}}
        with running_hub(folder / "data", settings) as hub:
            yield hub


def surroundings(hub: Hub, folder: Path, prefix: str = "/v1") -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LLM_USER_PATH": str(folder / "llm"),
        "OPENAI_BASE_URL": f"{hub.url}{prefix}",
        "OPENAI_API_KEY": hub.key,
        "MODEL": "talker",
        "TOOL_MODEL": "caller",
    }


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_langchain_answers_streams_calls_tools_and_embeds(hub, tmp_path):
    said = json.loads(run([str(PYTHON), str(HERE / "with_langchain.py")], surroundings(hub, tmp_path), tmp_path))
    assert said == {
        "answer": SAYS,
        "streamed": SAYS,
        "tool_calls": CALLED,
        "embedded": [DIMENSIONS, DIMENSIONS],
        "usage": True,
    }


def test_llama_index_answers_streams_calls_tools_and_embeds(hub, tmp_path):
    said = json.loads(run([str(PYTHON), str(HERE / "with_llama_index.py")], surroundings(hub, tmp_path), tmp_path))
    assert said == {
        "answer": SAYS,
        "streamed": SAYS,
        "tool_calls": CALLED,
        "embedded": [DIMENSIONS, DIMENSIONS],
    }


def test_the_llm_command_answers_streamed_and_whole(hub, tmp_path):
    around = surroundings(hub, tmp_path)
    models = [
        {"model_id": "mill", "model_name": "talker", "api_base": around["OPENAI_BASE_URL"], "api_key_name": "mill"}
    ]
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "extra-openai-models.yaml").write_text(json.dumps(models))
    llm = str(PYTHON.with_name("llm"))
    for option in ([], ["--no-stream"]):
        command = [llm, "prompt", "-m", "mill", "--key", hub.key, *option, "Hello"]
        assert run(command, around, tmp_path).strip() == SAYS


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not on this machine")
def test_the_node_client_does_all_that_the_api_offers(hub, tmp_path):
    script = CLIENTS / "node" / "with_node.mjs"
    script.write_text((HERE / "with_node.mjs").read_text())  # beside the modules that it imports
    assert json.loads(run(["node", str(script)], surroundings(hub, tmp_path), tmp_path)) == {
        "answer": SAYS,
        "streamed": SAYS,
        "tool_calls": CALLED,
        "response": SAYS,
        "events": ["response.created", "response.completed"],
        "completion": SAYS,
        "embedded": [DIMENSIONS, DIMENSIONS],
        "file": ["a,b\n", True],
        "refused": ["NotFoundError", 404, "model_not_found"],
        "models": True,
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
class TestCurl:
    """The examples of the hub's first description, with a key and under `/api/v1`."""

    def curl(self, hub, tmp_path, path, *options):
        command = ["curl", "-sS", "--max-time", "60", "-H", f"Authorization: Bearer {hub.key}", *options]
        return run([*command, f"{hub.url}/api/v1{path}"], surroundings(hub, tmp_path), tmp_path)

    def test_it_chats(self, hub, tmp_path):
        body = json.dumps({"messages": [{"role": "user", "content": "Xin chào!"}], "model": "talker"})
        options = ("-X", "POST", "-H", "Content-Type: application/json", "-d", body)
        answer = json.loads(self.curl(hub, tmp_path, "/chat/completions", *options))
        assert answer["choices"][0]["message"]["content"] == SAYS

    def test_it_chats_without_saying_that_it_sends_json(self, hub, tmp_path):
        body = json.dumps({"messages": [{"role": "user", "content": "Xin chào!"}], "model": "talker"})
        answer = json.loads(self.curl(hub, tmp_path, "/chat/completions", "-X", "POST", "-d", body))
        assert answer["choices"][0]["message"]["content"] == SAYS

    def test_it_follows_a_stream(self, hub, tmp_path):
        body = json.dumps(
            {"messages": [{"role": "user", "content": "Giải thích AI"}], "model": "talker", "stream": True}
        )
        lines = self.curl(hub, tmp_path, "/chat/completions", "-N", "-d", body).splitlines()
        assert [line for line in lines if line][-1] == "data: [DONE]"

    def test_it_lists_models_and_their_status_and_is_told_that_an_endpoint_is_not_loaded(self, hub, tmp_path):
        assert "talker" in [model["id"] for model in json.loads(self.curl(hub, tmp_path, "/models"))["data"]]
        assert json.loads(self.curl(hub, tmp_path, "/models/status"))["object"] == "list"
        refused = json.loads(self.curl(hub, tmp_path, "/models/load", "-X", "POST", "-d", '{"model_id": "talker"}'))
        assert refused["error"]["code"] == "invalid_request"
