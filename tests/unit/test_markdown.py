"""What a repository or a model says, on a forge: nothing in it acts, mentions or links."""

import json
import re
from dataclasses import replace

import pytest

from tests.unit.test_placement import FOUND, told
from tidemill.core.change import Hunk
from tidemill.core.finding import Suggestion
from tidemill.core.pull_request import ForgeKind, Position
from tidemill.flows.pull_request_commands import _explained, _help
from tidemill.flows.pull_request_model import _told
from tidemill.review.finding_text import finding_text
from tidemill.review.markdown import escape
from tidemill.review.pull_request_text import failed_text, summary_text
from tidemill.review.wording import WORDINGS

COMMAND = re.compile(r"^\s*/\w", re.MULTILINE)
ORDER = "/approve"


@pytest.mark.parametrize("text", [ORDER, f" {ORDER}", f"\t{ORDER} now", "/label ~x"])
def test_a_text_that_begins_like_a_command_is_none(text: str) -> None:
    assert not COMMAND.search(escape(text))


@pytest.mark.parametrize("forge", list(ForgeKind))
@pytest.mark.parametrize("verified", [("applies", "parses"), ()])
def test_no_line_that_is_posted_is_a_command_to_gitlab(forge: ForgeKind, verified: tuple[str, ...]) -> None:
    hunk = Hunk(ORDER, 0, 1, 0, 1, 1, "", ())
    answer = _told(json.dumps({"answer": f"{ORDER}\n\n {ORDER}\n{ORDER}", "sources": [1]}), [hunk])
    finding = replace(FOUND, message=ORDER, title=ORDER, suggestion=Suggestion(2, 2, f"x\n{ORDER}\n", verified))
    inline = finding_text(finding, "en", Position("a.py", 2, 2), forge)
    texts = [answer, _explained(finding, "en"), _help("vi"), failed_text("en", ORDER, ORDER), summary_text(told())]
    if forge is ForgeKind.GITLAB or not verified:
        texts.append(inline)
        assert "suggestion\n" not in inline
    for text in (*texts, *(word for words in WORDINGS.values() for word in words.values())):
        assert not COMMAND.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "www.evil.example",
        "see #12",
        "GH-12",
        "gh-7",
        "!12",
        "~bug",
        "$3",
        "%1",
        "&4",
        "a" * 39 + "1",
        "0123abcd",
        "x://y",
    ],
)
def test_nothing_becomes_a_reference_or_a_link(text: str) -> None:
    shown = escape(text).replace("\\", "").replace("&amp;", "&")
    assert shown.replace("\u200b", "") == text
    assert text not in shown
    assert not re.search(r"www\.|GH-\d|[#!~$%&]\w|\b[0-9a-f]{7,}\b|://", shown, re.IGNORECASE)
