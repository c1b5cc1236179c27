"""JSON schemas that a request brings: valid, and without a way out of themselves."""

import json
from typing import Any

import jsonschema_rs

from tidemill.core.errors import InvalidInput

DIALECTS = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-04/schema",
    }
)


def check_schema(schema: dict[str, Any], param: str) -> None:
    """Goes on with a JSON schema that can be used.

    Raises:
        InvalidInput: it is none, or names another document.
    """
    _refuse_references(schema, param)
    try:
        json.dumps(schema, allow_nan=False)
        jsonschema_rs.meta.validate(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        raise InvalidInput(f"`{param}` does not hold a JSON schema: {message}", param=param) from error


def _refuse_references(schema: object, param: str) -> None:
    """A schema that names another document would have it fetched, by whoever checks it: from a URL, or a file."""
    match schema:
        case {"$schema": str(dialect)} if dialect.rstrip("#") not in DIALECTS:
            raise InvalidInput(f"`{param}` names a `$schema` that is not one of JSON Schema's own drafts.", param=param)
        case {"$ref": str(reference)} if not reference.startswith("#"):
            raise InvalidInput(f"A `$ref` of `{param}` leads out of the schema.", param=param)
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _refuse_references(part, param)
