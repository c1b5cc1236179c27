"""What a caller is told about a field that can't be used."""

from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from tidemill.api.errors import error_response, invalid
from tidemill.core.errors import Unavailable
from tidemill.core.ids import new_id


class Scope(StrEnum):
    ALL = "all"
    TEAM = "Team"


class Body(BaseModel):
    scope: Scope = Scope.ALL
    period: Literal["day", "Month"] = "day"
    only: Literal[Scope.ALL, Scope.TEAM] = Scope.ALL
    id: int = Field(1, le=5)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("scope", "`scope` can't be used: it has to be 'all' or 'Team'."),
        ("period", "`period` can't be used: it has to be 'day' or 'Month'."),
        ("only", "`only` can't be used: it has to be 'all' or 'Team'."),
    ],
)
def test_a_value_that_is_none_of_those_allowed_is_told_which_are(field: str, said: str) -> None:
    assert message({field: "dance"}) == said


def test_a_field_says_what_is_wrong_with_it() -> None:
    assert message({"id": 9}) == "`id` can't be used: input should be less than or equal to 5."


def test_an_error_names_the_row_that_it_left() -> None:
    error = Unavailable("The model is away.")
    assert "x-tidemill-inference-id" not in error_response(error).headers
    error.inference_id = new_id()
    assert error_response(error).headers["x-tidemill-inference-id"] == str(error.inference_id)


def message(fields: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as raised:
        Body.model_validate(fields)
    return invalid(raised.value).message
