"""Hubs and scripted upstreams as real processes on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

PATIENCE = 120
"""Seconds; on a busy machine a hub takes some to start."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Any, *, seconds: float = PATIENCE, what: str = "it") -> Any:
    """The first true value of `condition()`; an AssertionError where none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about in {seconds} s")


@dataclass
class Upstream:
    """A scripted, OpenAI-compatible server."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def asked(self) -> list[str]:
        """A digest of the messages of each chat request, in order."""
        return self.log.read_text().split() if self.log.exists() else []


@contextmanager
def upstream(folder: Path, *options: str) -> Iterator[Upstream]:
    """Runs `tidemill.llm.scripted_server` until the end of the block, on a free port or the one of `--port`."""
    log = folder / f"asked-{uuid4().hex}.log"
    command = [sys.executable, "-m", "tidemill.llm.scripted_server", "--log", str(log), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), what="the scripted server")
        yield Upstream(f"http://127.0.0.1:{port}/v1", log, process)
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Hub:
    """A `tidemill up` of its own."""

    url: str
    key: str
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    data_dir: Path

    def client(self) -> httpx.Client:
        """A client with the local admin key."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60, trust_env=False
        )

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine's memory would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def environment(data_dir: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The environment of a Tidemill on a data folder, with its settings file written."""
    config = data_dir.parent / f"{data_dir.name}.yaml"
    config.write_text(json.dumps(settings))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    return {**kept, "TIDEMILL_DATA_DIR": str(data_dir), "TIDEMILL_CONFIG": str(config)}


def scripted_settings(upstream_url: str, **more: Any) -> dict[str, Any]:
    """Settings whose only model is a scripted upstream."""
    return {"models": {"default": "scripted", "endpoints": {"scripted": {"url": upstream_url}}}, **more}


def start_hub(data_dir: Path, settings: dict[str, Any], *options: str, log: Path | None = None) -> Hub:
    """Starts `tidemill up` and returns once it answers. What it logs goes to the file `log`, where one is given."""
    surroundings = environment(data_dir, settings)
    command = [sys.executable, "-m", "tidemill", "up", "--no-download", "--port", "0", *options]
    if log is None:
        process = subprocess.Popen(command, env=surroundings)
    else:
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=surroundings, stderr=file)
    address = data_dir / "run" / "hub.json"

    def up() -> dict[str, str] | None:
        assert process.poll() is None, f"the hub ended with {process.returncode}"
        try:
            found = json.loads(address.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if found["pid"] == process.pid and answers(f"{found['url']}/ready") else None

    found = wait_for(up, what="the hub")
    return Hub(found["url"], found["key"], process, surroundings, data_dir)


@contextmanager
def running_hub(data_dir: Path, settings: dict[str, Any], *options: str, log: Path | None = None) -> Iterator[Hub]:
    """A hub until the end of the block, then stopped in order."""
    hub = start_hub(data_dir, settings, *options, log=log)
    try:
        yield hub
    finally:
        stop(hub)


def stop(hub: Hub) -> None:
    """SIGINT, as Ctrl-C, and the end of the process."""
    if hub.process.poll() is None:
        hub.process.send_signal(signal.SIGINT)
        hub.process.wait(PATIENCE)


def answers(url: str) -> bool:
    """Whether something answers there with 200."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def tidemill(arguments: list[str], surroundings: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [sys.executable, "-m", "tidemill", *arguments]
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300, **options)
