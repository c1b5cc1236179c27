"""A small OpenAI-compatible server over the scripted model, for tests and benchmarks without a real one.

    python -m tidemill.llm.scripted_server --port 8090 --delay-ms 20 --log asked.txt --script script.json

The script is a JSON object, of which any part may be absent: `text` answers every chat and continues every text,
`json` is the object with which requests for JSON are answered (`response_format` of type `json_schema` or
`json_object`), and `calls` (objects with `name` and `arguments`, a text) answer a chat that offers tools and does not
end with a tool's result. A chat of `context_tokens` or more is refused, as llama-server refuses it. When it serves it
prints its port. It takes llama-server's `/infill`, too.
"""

import argparse
import asyncio
import base64
import json
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tidemill.core.chat import ChatRequest, ModelRequest, TextRequest, Usage
from tidemill.core.embedding import EmbeddingRequest, Embeddings, floats_of
from tidemill.core.ids import digest
from tidemill.llm.scripted import ScriptedAnswer, ScriptedCall, ScriptedModel, prompt_tokens
from tidemill.llm.scripted_embeddings import ScriptedEmbedder

TEXT = "This is a scripted answer, and it says the same every time."


@dataclass(frozen=True, slots=True)
class Script:
    """What the server answers, how many seconds that takes, and where it notes what it was asked."""

    text: str = TEXT
    json: Any = None
    delay: float = 0.0
    log: Path | None = None
    calls: Sequence[ScriptedCall] = ()
    context_tokens: int | None = None

    def answer(self, request: ModelRequest) -> ScriptedAnswer:
        """Calls for a request that offers tools, JSON for one that asks for it, the text for any other."""
        if isinstance(request, ChatRequest) and self.calls and _offers_tools(request):
            return ScriptedAnswer("", delay=self.delay, calls=self.calls)
        form = request.options.get("response_format")
        wants_json = isinstance(form, dict) and form.get("type") in {"json_schema", "json_object"}
        text = json.dumps(self.json if self.json is not None else {}) if wants_json else self.text
        return ScriptedAnswer(text, delay=self.delay)


def scripted_app(script: Script) -> Starlette:
    """The ASGI application."""
    model = ScriptedModel(script.answer)
    embedder = ScriptedEmbedder()

    async def chat(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            messages = body.pop("messages")
        except (ValueError, KeyError, AttributeError):
            return _refused("not a chat request")
        if script.log is not None:
            _note(script.log, messages)
        name, stream, options = _options(body)
        asked = ChatRequest(name, messages, options)
        tokens = prompt_tokens(asked)
        if script.context_tokens is not None and tokens >= script.context_tokens:
            return _too_long(tokens, script.context_tokens)
        return await answered(asked, stream=stream)

    async def text(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            prompt = body.pop("prompt")
        except (ValueError, KeyError, AttributeError):
            return _refused("not a text request")
        suffix = body.pop("suffix", None)
        name, stream, options = _options(body)
        return await answered(TextRequest(name, prompt, suffix, options), stream=stream)

    async def infill(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            prompt, suffix = body.pop("input_prefix"), body.pop("input_suffix")
        except (ValueError, KeyError, AttributeError):
            return _refused("not an infill request")
        name, stream, options = _options(body)
        asked = TextRequest(name, prompt, suffix, options)
        if stream:
            return StreamingResponse(_infill_stream(model, asked), media_type="text/event-stream")
        answer = await model.complete(asked)
        return JSONResponse(_infilled(answer.text, answer.usage, stop=True))

    async def answered(asked: ModelRequest, *, stream: bool) -> Response:
        model.requests.clear()
        kind = "text_completion" if isinstance(asked, TextRequest) else "chat.completion"
        if stream:
            kind = kind if isinstance(asked, TextRequest) else f"{kind}.chunk"
            return StreamingResponse(_stream(model, asked, kind), media_type="text/event-stream")
        answer = await model.complete(asked)
        return JSONResponse({**_head(kind, asked.model), "choices": answer.choices, "usage": _usage(answer.usage)})

    async def embeddings(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            asked = EmbeddingRequest(str(body.get("model", "scripted")), body["input"])
        except (ValueError, KeyError, AttributeError):
            return _refused("not a request for embeddings")
        if script.log is not None:
            _note(script.log, asked.texts)
        await asyncio.sleep(script.delay)
        return JSONResponse(_embedded(await embedder.embed(asked), encoded=body.get("encoding_format") == "base64"))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "script"}]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", text, methods=["POST"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            Route("/infill", infill, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ]
    )


def _embedded(found: Embeddings, *, encoded: bool) -> dict[str, Any]:
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector).decode() if encoded else floats_of(vector).tolist(),
        }
        for index, vector in enumerate(found.vectors)
    ]
    tokens = sum(found.tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": "scripted", "usage": usage}


def _options(body: dict[str, Any]) -> tuple[str, bool, dict[str, Any]]:
    """The model's name, whether to stream, and the other fields."""
    body.pop("stream_options", None)
    return str(body.pop("model", "scripted")), bool(body.pop("stream", False)), body


def _offers_tools(request: ChatRequest) -> bool:
    last = request.messages[-1] if request.messages else {}
    offered = request.options.get("tools") and request.options.get("tool_choice") != "none"
    return bool(offered) and last.get("role") != "tool"


def _too_long(tokens: int, context_tokens: int) -> Response:
    error = {
        "code": 400,
        "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens,
        "n_ctx": context_tokens,
    }
    return JSONResponse({"error": error}, 400)


def _refused(message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, 400)


def _infilled(text: str, usage: Usage, *, stop: bool) -> dict[str, Any]:
    return {
        "index": 0,
        "content": text,
        "stop": stop,
        "stop_type": "eos" if stop else "none",
        "tokens_evaluated": usage.prompt_tokens,
        "tokens_predicted": usage.completion_tokens,
        "timings": {"cache_n": usage.cached_tokens},
    }


async def _infill_stream(model: ScriptedModel, asked: TextRequest) -> AsyncIterator[bytes]:
    async with aclosing(model.stream(asked)) as chunks:
        async for chunk in chunks:
            text = "".join(str(choice["text"]) for choice in chunk.choices)
            event = _infilled(text, chunk.usage or Usage(), stop=chunk.usage is not None)
            yield b"data: " + json.dumps(event).encode() + b"\n\n"


async def _stream(model: ScriptedModel, asked: ModelRequest, kind: str) -> AsyncIterator[bytes]:
    head = _head(kind, asked.model)
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
    parser.add_argument("--script", type=Path, help="a JSON file; see above")
    options = parser.parse_args()
    said = json.loads(options.script.read_text("utf-8")) if options.script else {}
    calls = tuple(ScriptedCall(call["name"], call["arguments"]) for call in said.get("calls", ()))
    delay, limit = options.delay_ms / 1000, said.get("context_tokens")
    script = Script(said.get("text", TEXT), said.get("json"), delay, options.log, calls, limit)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio delays packets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(1024)
    print(json.dumps({"port": listener.getsockname()[1]}), file=sys.stdout, flush=True)
    server = uvicorn.Server(uvicorn.Config(scripted_app(script), log_level="warning", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
