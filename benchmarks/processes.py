"""Processes that a benchmark starts and ends, each found by its own port."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    *command: str, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child of this interpreter that answers at `ready` before it is yielded, ended in order afterwards."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, *command], env={**os.environ, **(environment or {})}, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(ready):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    message = f"{command} did not start: {log.read().decode()[-2000:]}"
                    raise RuntimeError(message)
                time.sleep(0.05)
            yield child
        finally:
            child.terminate()
            child.wait(30)


@dataclass(frozen=True, slots=True)
class Hub:
    """A running hub."""

    url: str
    key: str
    pid: int
    data_dir: Path


@contextmanager
def hub(settings: str = "", *, data_dir: Path | None = None) -> Iterator[Hub]:
    """`tidemill up` on a data folder of its own, or on `data_dir`, with the given `tidemill.yaml`."""
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        Path(folder).chmod(0o711)
        data = data_dir or Path(folder) / "data"
        config = Path(folder) / "tidemill.yaml"
        config.write_text(settings)
        port = free_port()
        environment = {"TIDEMILL_DATA_DIR": str(data), "TIDEMILL_CONFIG": str(config), "TIDEMILL_LOG_LEVEL": "warning"}
        command = ("-m", "tidemill", "up", "--port", str(port), "--no-download")
        with process(*command, ready=f"http://127.0.0.1:{port}/ready", environment=environment) as child:
            address = data / "run" / "hub.json"
            while not address.exists():
                time.sleep(0.02)
            found = json.loads(address.read_text())
            yield Hub(found["url"], found["key"], child.pid, data)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2, trust_env=False)
    except httpx.TransportError:
        return False
    return True
