"""Runs that the launcher starts, as this process sees them."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

from tidemill.core.errors import Configuration, Unavailable
from tidemill.sandbox import launcher

P = ParamSpec("P")
PROGRAM = Path(launcher.__file__)
BARE = {"PATH": "/usr/bin:/bin"}  # programs can read the environment of their sandbox's first process
LONGEST_REASON = 500


@dataclass(frozen=True)
class Launched:
    """A run.

    Args:
        pid: the process that holds it.
        control: the socket over which the launcher says how it ended.
    """

    pid: int
    control: socket.socket

    async def status(self) -> int:
        """Waits for its end: the exit code, or 128 and the signal's number.

        Raises:
            Unavailable: the launcher has gone, and everything with it.
        """
        return await _number(self.control)

    def kill(self) -> None:
        """Has everything in the sandbox killed. `status` says when it is gone."""
        with suppress(OSError):
            self.control.send(b"k")

    def close(self) -> None:
        """Frees the socket, which kills what still runs."""
        self.control.close()


class Launching:
    """The other end of a launcher, which is started when it is needed, and anew where it has gone.

    Args:
        user: who programs run as, where this process is root's.
        arguments: what the launcher gets beside that.
    """

    def __init__(self, user: int | None, arguments: Sequence[str] = ()) -> None:
        self._user = user
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def launch(self, request: Mapping[str, object], descriptors: Sequence[int]) -> Launched:
        """Starts a run. The descriptors stay open here.

        Raises:
            Configuration: no launcher can be started here.
            Unavailable: the launcher has gone.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                content = json.dumps(request).encode()
                async with self._lock:
                    await _whole(self._send, content, [theirs.fileno(), *descriptors])
            return Launched(await _number(ours), ours)
        except BaseException:
            ours.close()
            raise

    async def aclose(self) -> None:
        """Ends the launcher and all that it started."""
        async with self._lock:
            await _whole(self._close)

    def _send(self, content: bytes, descriptors: Sequence[int]) -> None:
        if self._process is None or self._process.poll() is not None:
            self._close()
            self._open()
        channel = self._channel
        assert channel is not None  # noqa: S101 - it was opened
        try:
            message = launcher.LENGTH.pack(len(content)) + content
            sent = socket.send_fds(channel, [message], descriptors)
            channel.sendall(message[sent:])
        except OSError as error:
            raise Unavailable("The process that starts sandboxes has gone. Try again.") from error

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            user = -1 if self._user is None else self._user
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), str(theirs.fileno()), str(user), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=BARE,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is for who started it
            )
        self._channel = ours
        if not ours.recv(1):
            _, said = self._process.communicate()
            self._close()
            reason = said.decode(errors="replace").strip()[-LONGEST_REASON:]
            raise Configuration(f"The process that starts sandboxes does not start here: {reason}")

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.wait()
            assert self._process.stderr is not None  # noqa: S101 - a pipe was asked for
            self._process.stderr.close()
        self._process = self._channel = None


async def _whole(act: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> None:
    """In a thread, and to its end also when this is cancelled: it uses descriptors that are closed afterwards."""
    task = asyncio.ensure_future(asyncio.to_thread(act, *arguments, **options))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task])


async def _number(control: socket.socket) -> int:
    content = b""
    while len(content) < launcher.NUMBER.size:
        try:
            chunk = await asyncio.get_running_loop().sock_recv(control, launcher.NUMBER.size - len(content))
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise Unavailable("The process that starts sandboxes has gone. Try again.")
        content += chunk
    return int(launcher.NUMBER.unpack(content)[0])
