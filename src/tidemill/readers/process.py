"""The hub's end of the process that reads documents that are not trusted."""

import contextlib
import json
import os
import subprocess
import sys
import threading

from tidemill.core.document import CleanDocument
from tidemill.core.errors import Unavailable
from tidemill.readers.formats import Format
from tidemill.readers.port import Unreadable
from tidemill.readers.wire import Request, document_of_json, longest_answer, receive, send_request
from tidemill.settings.knowledge import ReadingSettings

_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
_START_S = 60.0
_GRACE_S = 30.0
IDLE_S = 60.0
"""How long the process waits for another document before it is ended; it holds some 100 MB."""


class ReadingProcess:
    """Reads one document at a time in a process apart, which is started when it is needed. For any thread.

    Nothing of the hub is passed on to it: no environment, no open file but three pipes.
    """

    def __init__(self, limits: ReadingSettings, *, idle_s: float = IDLE_S) -> None:
        self._limits = limits
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: threading.Timer | None = None

    def read(self, format_: Format, path: str, data: bytes) -> CleanDocument:
        """The document's clean text.

        Raises:
            Unreadable: see `Reader.read`.
            Unavailable: the process could not be started, or was ended by something else, twice.
        """
        with self._lock:
            self._stop_waiting()
            request = Request(format_, path, self._limits, data)
            try:
                answer = self._asked(request) or self._asked(request)
            except OSError as error:
                raise Unavailable(
                    f"No process could be started to read {path}: {error.strerror}. The machine may be short of memory."
                ) from error
            finally:
                self._wait_for_another()
        if answer is None:
            raise Unavailable(f"The process that reads documents could not be kept running for {path}. Try again.")
        fields = json.loads(answer)
        if "document" not in fields:
            raise Unreadable(fields["reason"], fields["code"])
        return document_of_json(fields["document"])

    def close(self) -> None:
        """Ends the process; another document starts another."""
        with self._lock:
            self._stop_waiting()
            self._end()

    def _asked(self, request: Request) -> bytes | None:
        """The answer; `None` where the process ended, which no document can make it do."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._started()
        if process is None or process.stdin is None or process.stdout is None:
            return None
        with self._watched(process, self._limits.seconds + _GRACE_S):
            try:
                send_request(process.stdin, request)  # type: ignore[arg-type]  # of Popen: IO[bytes], a BinaryIO
                answer = receive(process.stdout, longest_answer(self._limits))  # type: ignore[arg-type]
            except BrokenPipeError:
                answer = None
        if answer is None:
            self._end()
        return answer

    def _started(self) -> subprocess.Popen[bytes] | None:
        self._end()
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "tidemill.readers.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd=os.sep,
            start_new_session=True,
        )
        self._process = process
        assert process.stdout is not None  # noqa: S101 - asked for with PIPE
        with self._watched(process, _START_S):
            ready = receive(process.stdout, 100)  # type: ignore[arg-type]
        if ready is None:
            self._end()
            return None
        return process

    @contextlib.contextmanager
    def _watched(self, process: subprocess.Popen[bytes], seconds: float):  # type: ignore[no-untyped-def]
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        process.wait()

    def _wait_for_another(self) -> None:
        self._idle = threading.Timer(self._idle_s, self.close)
        self._idle.daemon = True
        self._idle.start()

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
