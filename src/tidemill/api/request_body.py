"""A request's body as JSON, whatever its content type says, and one sentence for what is wrong with it.

curl sends `-d` as a form unless it is told otherwise; the body is JSON all the same.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tidemill.api.errors import fault, invalid
from tidemill.core.errors import InvalidInput

T = TypeVar("T")
LARGE_BYTES = 500_000
"""A larger body is parsed beside the event loop, so that one request's images or texts hold up no other."""
MEMBERS = frozenset(
    {
        *("system", "developer", "user", "assistant", "tool"),
        *("text", "refusal", "image_url", "input_audio", "input_text", "output_text", "input_image"),
        *("message", "function_call", "function_call_output", "reasoning"),
    }
)
"""The roles and types by which members of unions are told apart; pydantic puts them into an error's path."""


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a body that a route parses itself, since it takes it with any content type.

    The schema's `$defs` are left out: they stand among the document's components.
    """
    shown = {name: value for name, value in schema.items() if name != "$defs"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shown}}}}


def parse_body(adapter: TypeAdapter[T], body: bytes, refused: Mapping[str, str] | None = None) -> T:
    """The body as the adapter's type.

    Args:
        adapter: what it should be.
        body: JSON.
        refused: sentences for fields, or for types of parts, that the hub knows and does not take.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise _explained(error, refused or {}) from error


async def parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """What `parse` makes of the body, in a thread where that is large. Raises as `parse` does."""
    return parse(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(parse, body)


def _explained(error: ValidationError, refused: Mapping[str, str]) -> InvalidInput:
    found = error.errors()
    for one in found:
        if (name := _unknown(one)) in refused:
            return InvalidInput(refused[name], param=_where(one))
    if found[0]["type"] == "json_invalid" or not found[0]["loc"]:
        return invalid(error)
    closest = max(found, key=_closeness)
    if closest["type"] == "union_tag_not_found":
        where = f"{_where(closest)}.{closest['ctx']['discriminator'].strip(chr(39))}"
        return InvalidInput(f"`{where}` is missing.", param=where)
    return fault(closest, _where(closest))


def _closeness(error: ErrorDetails) -> tuple[int, bool]:
    """How near an error is to what was meant: a union has one for each member, and most are of the wrong member."""
    return _where(error).count("."), not error["type"].endswith("_type")


def _unknown(error: ErrorDetails) -> str:
    """The name that is no field, no type or no value here, where that is the error."""
    match error["type"]:
        case "extra_forbidden" if len(error["loc"]) == 1:
            return str(error["loc"][0])
        case "union_tag_invalid":
            return str(error.get("ctx", {}).get("tag"))
        case "literal_error":
            return str(error["input"])
    return ""


def _where(error: ErrorDetails) -> str:
    """The field's path as the client wrote it, without the names that tell a union's members apart."""
    location = error["loc"]
    return ".".join(
        str(part)
        for before, part in zip((None, *location), location, strict=False)
        if not isinstance(part, str)
        or not ("[" in part or part == "str" or (isinstance(before, int) and part in MEMBERS))
    )
