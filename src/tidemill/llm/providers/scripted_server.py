"""A server that speaks the wire formats of OpenAI, Anthropic and Gemini, and fails on command.

    python -m tidemill.llm.providers.scripted_server --port 8091

When it serves it prints its port. `POST /script` takes an order, or a list of them, such as
`{"leaf": "rate_limit.medium", "times": 2, "model": "big", "retry_after": 60}`, `DELETE /script` forgets all, and
`GET /asked` says what it was asked. A model named `any!overload.high` fails so each time. `docs/providers.md` says
what can be ordered.
"""

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidemill.core.embedding import EmbeddingRequest, floats_of
from tidemill.core.errors import InvalidInput
from tidemill.core.failure import Failure
from tidemill.llm.providers.scripted import Answer, Asked, Order, Script, Trouble, Wire, fault_of, split_model
from tidemill.llm.providers.scripted_anthropic import AnthropicWire, read_anthropic
from tidemill.llm.providers.scripted_gemini import GeminiWire, read_gemini
from tidemill.llm.providers.scripted_openai import OpenAIWire, read_openai
from tidemill.llm.scripted_embeddings import ScriptedEmbedder

HUGE_BYTES = 100 * 10**6
PIECE_BYTES = 2**18
EVENTS = "text/event-stream"
JSON_TYPE = "application/json"
OPENAI, ANTHROPIC, GEMINI = OpenAIWire(), AnthropicWire(), GeminiWire()
MODELS = ("scripted", "scripted-large", "scripted-embedding")


class BrokenOff(Exception):
    """Raised in the middle of an answer: the connection closes there, as where a server dies."""


class DroppingProtocol(HttpToolsProtocol):
    """Lets a route close its connection without an answer."""

    def on_message_begin(self) -> None:
        """Puts the connection where a route finds it."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def provider_app(script: Script) -> Starlette:
    """The ASGI application; it is to be served with `DroppingProtocol`."""
    embedder = ScriptedEmbedder()

    async def ordered(request: Request) -> Response:
        if request.method == "DELETE":
            script.clear()
        elif request.method == "POST":
            try:
                script.add(json.loads(await request.body()))
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": f"not an order: {error}"}, 400)
            except InvalidInput as error:
                return JSONResponse({"error": error.message}, 400)
        return JSONResponse(script.state())

    async def asked(_: Request) -> Response:
        return JSONResponse({"total": script.total, "counts": script.counts, "requests": list(script.noted)})

    async def models(_: Request) -> Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "script"} for name in MODELS]
        gemini = [{"name": f"models/{name}", "displayName": name} for name in MODELS]
        return JSONResponse({"object": "list", "data": data, "models": gemini, "has_more": False})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def answered(request: Request, wire: Wire, asked: Asked, named: str | None) -> Response:
        try:
            fault_of(named)
        except InvalidInput as error:
            return JSONResponse({"error": {"message": error.message, "type": "invalid_request_error"}}, 400)
        order = script.next(wire, asked, named, request.headers.get("x-request-id"))
        if asked.kind == "embed" and order.fault is None:
            found = await embedder.embed(EmbeddingRequest(asked.model, asked.texts))
            return JSONResponse(wire.embeddings(asked, [floats_of(one).tolist() for one in found.vectors]))
        return await _respond(request, wire, asked, order)

    def openai(kind: str) -> Callable[[Request], Any]:
        async def route(request: Request) -> Response:
            body = await _body(request)
            model, named = split_model(str(body.get("model", "")))
            return await answered(request, OPENAI, read_openai(kind, model, body, _key(request)), named)

        return route

    async def anthropic(request: Request) -> Response:
        body = await _body(request)
        model, named = split_model(str(body.get("model", "")))
        return await answered(request, ANTHROPIC, read_anthropic(model, body, _key(request)), named)

    async def gemini(request: Request) -> Response:
        name, _, method = request.path_params["call"].rpartition(":")
        model, named = split_model(name)
        return await answered(request, GEMINI, read_gemini(method, model, await _body(request), _key(request)), named)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", openai("chat"), methods=["POST"]),
            Route("/v1/completions", openai("text"), methods=["POST"]),
            Route("/v1/embeddings", openai("embed"), methods=["POST"]),
            Route("/v1/messages", anthropic, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1beta/models", models),
            Route("/v1beta/models/{call:path}", gemini, methods=["POST"]),
            Route("/script", ordered, methods=["GET", "POST", "DELETE"]),
            Route("/asked", asked),
            Route("/health", health),
        ]
    )


async def _body(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body())
    return body if isinstance(body, dict) else {}


def _key(request: Request) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return bearer or request.headers.get("x-api-key") or request.headers.get("x-goog-api-key", "")


async def _respond(request: Request, wire: Wire, asked: Asked, order: Order) -> Response:
    fault = order.fault
    if fault in (Trouble.HANG, Failure.NETWORK_TIMEOUT):
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response(status_code=499)
    if fault == Failure.NETWORK_CONNECTION:
        request.scope["state"]["transport"].abort()
        await asyncio.sleep(0)
        return Response(status_code=499)
    if isinstance(fault, Failure):
        said = wire.filtered(fault)
        if said is None:
            refusal = wire.refusal(fault, asked, order.wait)
            return JSONResponse(refusal.body, refusal.status, refusal.headers)
        return _said(wire, asked, said, order)
    answer = _fitting(order.answer, asked)
    return _said(wire, asked, answer, order)


def _fitting(answer: Answer, asked: Asked) -> Answer:
    """Calls only where tools are offered, and JSON where it is asked for."""
    if answer.calls and not asked.offers:
        return Answer(answer.text, (), answer.finish, answer.cached_tokens)
    if answer.calls:
        return Answer("", answer.calls, answer.finish, answer.cached_tokens)
    if asked.wants_json and not answer.text.lstrip().startswith(("{", "[")):
        return Answer(json.dumps({"answer": answer.text}), (), answer.finish, answer.cached_tokens)
    return answer


def _said(wire: Wire, asked: Asked, answer: Answer, order: Order) -> Response:
    """The answer, spoilt as the order has it."""
    fault, error = order.fault, wire.refusal(order.error, asked, None)
    if asked.stream:
        return StreamingResponse(_events(wire, asked, answer, order), media_type=EVENTS)
    body: Mapping[str, Any] = error.body if fault is Trouble.ERROR_IN_OK else wire.whole(asked, answer)
    text = json.dumps(body).encode()
    if fault is Trouble.HUGE:
        return StreamingResponse(_huge(b'{"padding": "'), media_type=JSON_TYPE)
    if fault is Trouble.BREAK_OFF:
        return StreamingResponse(_half(text), media_type=JSON_TYPE)
    if fault in (Trouble.MALFORMED, Trouble.NO_END):
        text = text[: len(text) // 2]
    return StreamingResponse(_late(text, order), media_type=JSON_TYPE)


async def _events(wire: Wire, asked: Asked, answer: Answer, order: Order) -> AsyncIterator[bytes]:
    fault, events = order.fault, wire.events(asked, answer)
    half = max(1, len(events) // 2)
    if fault is Trouble.HUGE:
        async for piece in _huge(b"data: "):
            yield piece
        return
    for place, event in enumerate(events):
        if place == half and fault is Trouble.BREAK_OFF:
            raise BrokenOff
        if place == half and fault is Trouble.NO_END:
            return
        if place == half and fault is Trouble.ERROR_IN_OK:
            yield wire.error_event(wire.refusal(order.error, asked, None))
            return
        if place == half and fault is Trouble.MALFORMED:
            yield event[: len(event) // 2] + b"\n\n"
            return
        if fault is Trouble.SLOW:
            await asyncio.sleep(order.pause)
        yield event


async def _late(text: bytes, order: Order) -> AsyncIterator[bytes]:
    if order.fault is Trouble.SLOW:
        await asyncio.sleep(order.pause)
    yield text


async def _half(text: bytes) -> AsyncIterator[bytes]:
    yield text[: len(text) // 2]
    raise BrokenOff


async def _huge(start: bytes) -> AsyncIterator[bytes]:
    yield start
    piece = b"a" * PIECE_BYTES
    for _ in range(HUGE_BYTES // PIECE_BYTES):
        yield piece


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description="A scripted provider that fails on command.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio delays packets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(1024)
    print(json.dumps({"port": listener.getsockname()[1]}), file=sys.stdout, flush=True)
    config = uvicorn.Config(
        provider_app(Script()), http=DroppingProtocol, log_level="critical", access_log=False, lifespan="off"
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
