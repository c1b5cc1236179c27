"""The HTTP application: routes over services."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill import __version__
from tidemill.api import (
    alerts,
    answers,
    audit,
    auth,
    batches,
    cache,
    chat,
    chat_schema,
    completions,
    conversations,
    embeddings,
    errors,
    files,
    generate,
    guardrails,
    health,
    jobs,
    keys,
    limits,
    mcp,
    models,
    oidc,
    people,
    personal_data,
    prompts,
    providers,
    pull_requests,
    responses,
    responses_schema,
    reviews,
    rights,
    search,
    secrets,
    sources,
    teams,
    traces,
    usage,
    webhooks,
)
from tidemill.api.direct import DirectRoutes
from tidemill.api.gate import PREFIXES, Gate, is_open
from tidemill.api.origin import SESSION, RequestOrigin
from tidemill.api.services import Services

DESCRIPTION = (
    "Routes under `/v1` follow OpenAI's API where it has them, so that its clients work unchanged; `/api/v1` is the "
    "same. Every route that does not say otherwise needs `Authorization: Bearer KEY`, or the cookie of a person's "
    "session. Errors have OpenAI's shape: "
    '`{"error": {"message", "type", "param", "code"}}`.'
)


def create_app(services: Services) -> FastAPI:
    """The application over these services, which whoever calls opens before and closes after."""
    origin = RequestOrigin(services.settings.auth)
    gate = partial(
        Gate,
        keys=services.keys,
        tokens=services.entrance.tokens,
        sessions=services.entrance.sessions,
        origin=origin,
        metrics=services.metrics,
        traces=services.traces,
        max_bytes=services.settings.max_request_bytes,
        max_upload_bytes=services.settings.files.max_bytes,
    )
    app = Application(title="Tidemill", version=__version__, middleware=[Middleware(gate)])
    app.state.services = services
    app.state.origin = origin
    errors.install(app)
    add_routes(app)
    app.take_direct(gate)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app


class Application(FastAPI):
    """FastAPI, save for the routes that need nothing of it: those stand right behind a gate of their own."""

    def take_direct(self, gate: Callable[[ASGIApp], ASGIApp]) -> None:
        """Finds them, when all routes are there."""
        self._direct = DirectRoutes(self.routes)
        self._front = gate(self._direct)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and self._direct.has(scope):
            scope["app"] = self
            await self._front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def add_routes(app: FastAPI) -> None:
    """Every route, under both prefixes where it has one."""
    app.include_router(health.router)
    app.include_router(generate.router)
    app.include_router(mcp.router)
    app.include_router(webhooks.router)
    for prefix in PREFIXES:
        router = APIRouter(prefix=prefix)
        for part in (
            chat.router,
            completions.router,
            embeddings.router,
            jobs.router,
            batches.router,
            responses.router,
            models.router,
            reviews.router,
            pull_requests.router,
            conversations.router,
            files.router,
            auth.router,
            oidc.router,
            secrets.router,
            rights.router,
            search.router,
            sources.router,
            answers.router,
            people.router,
            personal_data.router,
            prompts.router,
            providers.router,
            alerts.router,
            teams.router,
            keys.router,
            audit.router,
            guardrails.router,
            limits.router,
            usage.router,
            cache.router,
            traces.router,
        ):
            router.include_router(part)
        app.include_router(router, include_in_schema=prefix == "/v1")


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the key and the error's shape on every route."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for schema in (chat_schema.SCHEMA, completions.SCHEMA, responses_schema.SCHEMA):
            schemas.update(schema["$defs"])
        schemas["Error"] = ERROR
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        components["securitySchemes"] = SECURITY
        document["security"] = [{"key": []}, {"session": [], "csrf": []}]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = {
                    "description": "An error.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                if is_open(path):
                    operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, or a token from POST /v1/auth/token."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION,
        "description": "The cookie that POST /v1/auth/sign-in sets; over https its name begins with `__Host-`.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRF-Token",
        "description": "With a session: what GET /v1/auth/session calls `csrf_token`. GET requests need none.",
    },
}

ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
