"""A small HTTP server on loopback that notes what it is sent."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request, its header names in lower case, its body as it was before it was packed."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Received], tuple[int, bytes]]


@dataclass
class Receiver:
    """What was received so far. `status` and `body` are answered, or what `answer` says."""

    url: str
    received: list[Received] = field(default_factory=list)
    answer: Answer = lambda request: (200, b"")


@contextmanager
def receiver(answer: Answer = lambda request: (200, b"")) -> Iterator[Receiver]:
    """Listens until the end of the block."""
    found = Receiver("", answer=answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            found.received.append(request)
            status, said = found.answer(request)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the tests look at `received`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chat_answer(text: str) -> Answer:
    """Answers every chat with this text."""

    def answer(request: Received) -> tuple[int, bytes]:
        message = {"role": "assistant", "content": text}
        body = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }  # fmt: skip
        return 200, json.dumps(body).encode()

    return answer
