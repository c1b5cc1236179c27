"""A Redis of the tests' own, as a process on a Unix socket."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hubs import wait_for

SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not on this machine")


@dataclass
class RedisServer:
    """A Redis that can be stopped and started again; it forgets everything when it stops."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'redis.sock'}"

    def start(self) -> None:
        assert SERVER is not None
        socket = self.folder / "redis.sock"
        command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no",
                   "--dir", str(self.folder)]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(socket.exists, what="Redis")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Runs until the end of the block. The folder's path is short, since a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tm-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
