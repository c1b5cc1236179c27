"""A small OpenAI-compatible server over the scripted model, for tests and benchmarks without a real one.

    python -m tidemill.llm.scripted_server --port 8090 --delay-ms 20 --log asked.txt --script script.json

The script is a JSON object: `text` answers every chat, `json` is the object with which requests for JSON are answered
(`response_format` of type `json_schema` or `json_object`). Both may be absent. When it serves it prints its port.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tidemill.core.chat import ChatRequest, Usage
from tidemill.core.ids import digest
from tidemill.llm.scripted import ScriptedAnswer, ScriptedModel

TEXT = "This is a scripted answer, and it says the same every time."


@dataclass(frozen=True, slots=True)
class Script:
    """What the server answers, how many seconds that takes, and where it notes what it was asked."""

    text: str = TEXT
    json: Any = None
    delay: float = 0.0
    log: Path | None = None

    def answer(self, request: ChatRequest) -> ScriptedAnswer:
        """JSON for a request that asks for it, the text for any other."""
        form = request.options.get("response_format")
        wants_json = isinstance(form, dict) and form.get("type") in {"json_schema", "json_object"}
        text = json.dumps(self.json if self.json is not None else {}) if wants_json else self.text
        return ScriptedAnswer(text, delay=self.delay)


def scripted_app(script: Script) -> Starlette:
    """The ASGI application."""
    model = ScriptedModel(script.answer)

    async def chat(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            messages = body.pop("messages")
        except (ValueError, KeyError, AttributeError):
            return JSONResponse({"error": {"message": "not a chat request", "type": "invalid_request_error"}}, 400)
        name = str(body.pop("model", "scripted"))
        stream = bool(body.pop("stream", False))
        body.pop("stream_options", None)
        if script.log is not None:
            _note(script.log, messages)
        asked = ChatRequest(name, messages, body)
        model.requests.clear()
        if stream:
            return StreamingResponse(_stream(model, asked), media_type="text/event-stream")
        answer = await model.complete(asked)
        return JSONResponse(
            {**_head("chat.completion", name), "choices": answer.choices, "usage": _usage(answer.usage)}
        )

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "script"}]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ]
    )


async def _stream(model: ScriptedModel, asked: ChatRequest) -> AsyncIterator[bytes]:
    head = _head("chat.completion.chunk", asked.model)
    async with aclosing(model.stream(asked)) as chunks:
        async for chunk in chunks:
            event: dict[str, Any] = {**head, "choices": chunk.choices}
            if chunk.usage is not None:
                event["usage"] = _usage(chunk.usage)
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _note(log: Path, messages: Any) -> None:
    """Adds a line: the SHA-256 of the messages. Appended in one write, so a kill leaves whole lines."""
    with log.open("ab", buffering=0) as file:
        file.write(f"{digest(json.dumps(messages, sort_keys=True))}\n".encode())


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how long an answer takes")
    parser.add_argument("--log", type=Path, help="a file that gets a line for each chat request")
    parser.add_argument("--script", type=Path, help="a JSON file with `text` and `json`")
    options = parser.parse_args()
    said = json.loads(options.script.read_text("utf-8")) if options.script else {}
    script = Script(said.get("text", TEXT), said.get("json"), options.delay_ms / 1000, options.log)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio delays packets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(1024)
    print(json.dumps({"port": listener.getsockname()[1]}), file=sys.stdout, flush=True)
    server = uvicorn.Server(uvicorn.Config(scripted_app(script), log_level="warning", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
