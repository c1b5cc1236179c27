"""Which issue a pull request says it closes."""

import pytest

from tidemill.flows.closed_issue import closed_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Closes #12", 12),
        ("It works.\n\nFIXES: acme/Shop#12, closes #13.", 12),
        ("Fixes other/place#3, resolves #4", 4),
        ("Fixes other/place#3", None),
        ("See #12, which encloses #13", None),
        ("Closes #" + "1" * 5000, None),
        ("fixes " * 50_000, None),
    ],
)
def test_the_issue_is_the_first_of_the_project_that_is_said_to_be_closed(text: str, number: int | None) -> None:
    assert closed_number(text, "acme/shop") == number
