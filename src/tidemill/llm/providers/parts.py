"""Reading parts of an answer that may be anything: what has another form than expected counts as not there."""

from collections.abc import Mapping
from typing import Any


def object_in(value: object, name: str) -> Mapping[str, Any]:
    """The object in a field; an empty one where there is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def objects_in(value: object, name: str) -> list[Mapping[str, Any]]:
    """The objects in a field's list."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def text_in(value: object, name: str) -> str:
    """The text in a field; an empty one where there is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""
