"""Lists in OpenAI's shape: `limit` and `after` in, `has_more` and the first and last id out."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

T = TypeVar("T")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=100, description="The most that one answer lists.")]
After = Annotated[UUID | None, Query(description="The `last_id` of the answer before.")]


class Page(BaseModel, Generic[T]):
    """A part of a list, oldest first."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: UUID | None
    last_id: UUID | None
    has_more: bool


def ends(rows: Sequence[Any], limit: int) -> dict[str, Any]:
    """What a page says besides its data, of `limit` + 1 rows that were asked for."""
    shown = rows[:limit]
    return {
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(rows) > limit,
    }
