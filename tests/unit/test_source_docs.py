"""Every option of a source is documented with its default."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tidemill.crawlers.feed import FeedOptions
from tidemill.crawlers.forge_documents import ForgeOptions
from tidemill.crawlers.linkedin import LinkedInOptions
from tidemill.crawlers.website import WebsiteOptions

DOCS = Path(__file__).resolve().parents[2] / "docs" / "knowledge.md"
FORMS = {
    "Websites": WebsiteOptions,
    "Feeds": FeedOptions,
    "GitHub and GitLab": ForgeOptions,
    "LinkedIn": LinkedInOptions,
}


def row(name: str, field: FieldInfo) -> str:
    """The line that an option must have."""
    default = field.get_default(call_default_factory=True)
    shown = "" if default is None or default == [] else f"`{json.dumps(default)}`"
    return f"| `{name}` | {shown} | {field.description} |"


@pytest.mark.parametrize("title", FORMS)
def test_every_option_of_a_kind_is_documented(title: str) -> None:
    section = DOCS.read_text("utf-8").partition(f"### {title}\n")[2].partition("\n##")[0]
    form: type[BaseModel] = FORMS[title]
    rows = [row(name, field) for name, field in form.model_fields.items()]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows
