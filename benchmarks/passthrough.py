"""The peer: the least that FastAPI and httpx need to pass a chat request on. `UPSTREAM` names where to."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import Body, FastAPI, Request


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests."""
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"], limits=httpx.Limits(max_connections=None)) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request, body: dict[str, Any] = Body()) -> Any:
    """Passes the body on and the answer back."""
    answer = await request.app.state.client.post("/chat/completions", json=body)
    return answer.json()
