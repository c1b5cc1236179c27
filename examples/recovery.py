"""Shows every branch of the recovery tree: starts a provider that fails on command, and a hub that asks it.

    .venv/bin/python examples/recovery.py

It needs nothing but what `make run` has installed: no model, no network, no key. The hub gets a data folder of its
own, which is deleted at the end. Waits are shortened, so that all of it takes about a minute.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tidemill.core.failure import Failure

SHOWN = ("provider", "model", "attempts", "recovery", "fallback", "cost-usd")
QUESTION = [{"role": "user", "content": "What turns the mill?"}]
PATIENCE = 120


def main() -> None:
    """Starts both, asks for each branch, and stops both."""
    folder = Path(tempfile.mkdtemp(prefix="tidemill-recovery-"))
    folder.chmod(0o711)  # the database runs as a user of its own where root starts the hub
    try:
        with failing_provider() as upstream, hub(folder, settings_of(upstream)) as client:
            print("Each line of headers is what the hub said of its answer.\n")
            branches(client, upstream)
            fallbacks(client)
            streams(client, upstream)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(upstream: str) -> dict[str, Any]:
    """A provider and a route for each leaf, so that a provider that rests or is disabled is in nobody's way."""
    price = {"models": {name: {"input": 2.0, "output": 8.0} for name in ("main", "small")}}

    def provider(kind: str, *urls: str) -> dict[str, Any]:
        return {"kind": kind, "base_urls": list(urls), "api_key_env": "EXAMPLE_KEY", "allow_private": True, **price}

    providers = {leaf.value: provider("openai", f"{upstream}/v1") for leaf in Failure}
    providers[Failure.NETWORK_TIMEOUT]["timeout"] = 2.0
    providers[Failure.NETWORK_DNS]["base_urls"] = ["http://gone.invalid/v1", f"{upstream}/v1"]
    routes = {
        leaf.value: {
            "targets": [f"{leaf.value}/main", "other/main", f"{leaf.value}/small"],
            "fallbacks": ["template"] if leaf.branch == "content" else [],
        }
        for leaf in Failure
    }
    return {
        "models": {"default": "scripted", "endpoints": {"scripted": {"url": f"{upstream}/v1"}}},
        "providers": {
            **providers,
            "other": provider("anthropic", upstream),
            **{name: provider("openai", f"{upstream}/v1") for name in ("second", "third", "fourth")},
        },
        "routes": {
            **routes,
            "fourth": {"targets": ["fourth/main", "other/main"]},
            "polite": {"targets": ["second/main!quota.daily"], "fallbacks": ["local", "template"]},
            "bare": {"targets": ["third/main!overload.high", "other/main!overload.overloaded"]},
        },
        "recovery": {"rate_limit_light_wait": 0.2, "connection_wait": 0.2, "overload_wait": 0.2},
    }


def branches(client: httpx.Client, upstream: str) -> None:
    """One question for each leaf of the tree."""
    for leaf in Failure:
        order: dict[str, Any] = {"leaf": leaf.value, "model": "main"}
        if leaf is Failure.RATE_LIMIT_LIGHT:
            order["retry_after"] = 0.2
        if leaf is Failure.AUTH_EXPIRED:
            order["times"] = 2  # the key that is read anew is the same, and has expired, too
        if leaf is not Failure.NETWORK_DNS:  # which no server can make: see the provider's first address
            command(upstream, order)
        show(leaf.value, client, leaf.value, long=leaf is Failure.CONTENT_LENGTH)


def fallbacks(client: httpx.Client) -> None:
    """What answers when no model does."""
    show("no target answers: a polite text", client, "polite")
    show("the same, in Vietnamese", client, "polite", {"accept-language": "vi"})
    show("no target and no fallback", client, "bare")


def streams(client: httpx.Client, upstream: str) -> None:
    """What a reader sees of a stream that fails before its first word, and of one that breaks off."""
    command(upstream, {"leaf": "overload.overloaded", "model": "main"})
    show_stream("a stream that fails before its first word", client, "fourth")
    command(upstream, {"leaf": "break_off", "model": "main"})
    show_stream("a stream that breaks off", client, "fourth/main")


def show_stream(what: str, client: httpx.Client, model: str) -> None:
    """Asks for a stream, and prints its last event but OpenAI's `[DONE]`."""
    body = {"model": model, "messages": QUESTION, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        events = [line for line in answer.iter_lines() if line and line != "data: [DONE]"]
    print(f"{what}\n    {answer.status_code}  {told(answer.headers)}\n    {events[-1][:240]}\n")


def show(
    what: str, client: httpx.Client, model: str, headers: dict[str, str] | None = None, *, long: bool = False
) -> None:
    """Asks, and prints what came."""
    messages = [{"role": "user", "content": QUESTION[0]["content"] * 200}] if long else QUESTION
    started = time.monotonic()
    answer = client.post("/v1/chat/completions", json={"model": model, "messages": messages}, headers=headers)
    seconds = time.monotonic() - started
    body = answer.json()
    said = body["choices"][0]["message"]["content"] if answer.is_success else body["error"]["message"]
    print(f"{what}\n    {answer.status_code} in {seconds:.1f} s  {told(answer.headers)}\n    {said[:160]}\n")


def told(headers: httpx.Headers) -> str:
    """The headers that say who answered, and how it came to that."""
    return "  ".join(f"{name}: {headers[f'x-tidemill-{name}']}" for name in SHOWN if f"x-tidemill-{name}" in headers)


def command(upstream: str, order: dict[str, Any]) -> None:
    """Tells the provider how to fail next."""
    httpx.post(f"{upstream}/script", json=order, trust_env=False).raise_for_status()


@contextmanager
def failing_provider() -> Iterator[str]:
    """The address of a provider that speaks OpenAI's, Anthropic's and Gemini's formats."""
    server = [sys.executable, "-m", "tidemill.llm.providers.scripted_server"]
    with running(subprocess.Popen(server, stdout=subprocess.PIPE)) as process:
        first_line = process.stdout.readline() if process.stdout else b"{}"
        url = f"http://127.0.0.1:{json.loads(first_line)['port']}"
        wait_for(lambda: answers(f"{url}/health"), "the provider")
        yield url


@contextmanager
def hub(folder: Path, settings: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of a hub with these settings, as its admin."""
    config, data = folder / "tidemill.yaml", folder / "data"
    config.write_text(json.dumps(settings))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    environment = {**kept, "TIDEMILL_CONFIG": str(config), "TIDEMILL_DATA_DIR": str(data), "EXAMPLE_KEY": "no-secret"}
    start = [sys.executable, "-m", "tidemill", "up", "--no-download", "--port", "0"]
    print("Starting a hub with a database of its own …")
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(start, env=environment, stdout=log, stderr=log)
    address = data / "run" / "hub.json"

    def up() -> dict[str, str] | None:
        if process.poll() is not None:
            sys.exit(f"The hub ended:\n{(folder / 'hub.log').read_text()[-2000:]}")
        found: dict[str, str] = json.loads(address.read_text()) if address.exists() else {}
        return found if found and answers(f"{found['url']}/ready") else None

    with running(process):
        found = wait_for(up, "the hub")
        headers = {"authorization": f"Bearer {found['key']}"}
        with httpx.Client(base_url=found["url"], headers=headers, timeout=60, trust_env=False) as client:
            yield client


@contextmanager
def running(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Ends the process with the block."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    sys.exit(f"{what} did not start within {PATIENCE} s.")


def answers(url: str) -> bool:
    """Whether something answers there."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
