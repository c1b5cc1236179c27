"""Every error leaves in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

import logging
import math
import re

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tidemill.api.rate_headers import rate_headers
from tidemill.api.served_headers import served_headers
from tidemill.core.errors import InvalidInput, RateLimited, TidemillError

log = logging.getLogger(__name__)

PYTHONS = re.compile(r"\b(?:True|False)\b")
"""What JSON writes in small letters."""
MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""How a value of an enumeration is shown among those that are allowed."""
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(status: int, message: str, *, code: str, param: str | None = None) -> bytes:
    """The JSON of an error."""
    kind = TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return to_json({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_response(error: TidemillError) -> Response:
    """The response for one of our own errors; its headers say who was asked, where anybody was."""
    headers = {} if error.served is None else served_headers(error.served, error.served.model)
    if error.inference_id is not None:
        headers["x-tidemill-inference-id"] = str(error.inference_id)
    if error.transient:
        headers["retry-after"] = str(math.ceil(error.retry_after or 1))
    if isinstance(error, RateLimited):
        headers |= rate_headers(error.standing)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = error_body(error.status, error.message, code=error.code, param=error.param)
    return Response(body, error.status, headers, "application/json")


def told(error: TidemillError, method: str, path: str) -> Response:
    """The response for one of our own errors, which is logged where the fault is not the client's."""
    if error.status >= 500:
        log.warning("%s %s: %s", method, path, error.message)
    return error_response(error)


def unexpected_response() -> Response:
    """The response for what nobody foresaw; the log says more than the client is told."""
    body = error_body(500, "Tidemill failed at this request. The hub's log says why.", code="internal_error")
    return Response(body, 500, media_type="application/json")


def invalid(error: ValidationError | RequestValidationError) -> InvalidInput:
    """One sentence for the first thing that is wrong with a request's fields."""
    first = error.errors()[0]
    return fault(first, ".".join(str(part) for part in first["loc"] if part != "body"))


def fault(first: ErrorDetails, where: str) -> InvalidInput:
    """One sentence for what is wrong with the field that `where` names."""
    if first["type"] == "json_invalid":
        return InvalidInput(f"The request body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}.")
    if first["type"] in {"missing", "string_unicode"}:
        fault = "is missing" if first["type"] == "missing" else "is not valid Unicode"
        return InvalidInput(f"`{where}` {fault}.", param=where)
    said = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    if first["type"] in {"enum", "literal_error"}:  # the values as they are written, whatever holds them
        expected = MEMBER.sub(r"\1", first.get("ctx", {})["expected"])
        said = "it has to be " + PYTHONS.sub(lambda found: found[0].lower(), expected)
    if not where:
        return InvalidInput(f"The request body can't be used: {said}.")
    return InvalidInput(f"`{where}` can't be used: {said}.", param=where)


def install(app: FastAPI) -> None:
    """Gives the application a handler for each kind of error."""

    @app.exception_handler(TidemillError)
    async def ours(request: Request, error: TidemillError) -> Response:
        return told(error, request.method, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def fields(request: Request, error: RequestValidationError) -> Response:
        return error_response(invalid(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, TidemillError):  # ours, met while FastAPI read the body, and taken for its own
            return error_response(error.__cause__)
        messages = {
            404: f"There is no {request.method} {request.url.path} here. GET /openapi.json lists what there is.",
            405: f"{request.url.path} does not take {request.method}.",
        }
        message = messages.get(error.status_code, str(error.detail))
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        body = error_body(error.status_code, message, code=code)
        return Response(body, error.status_code, error.headers, "application/json")
