"""The headers that say who answered."""

import pytest

from tidemill.api.served_headers import served_headers
from tidemill.core.served import Served


@pytest.mark.parametrize(
    ("model", "said"),
    [("acme/x\r\nset-cookie: a=b", "acme/x??set-cookie: a=b"), ("acme/đường", "acme/???ng"), ("acme/x ", "acme/x")],
)
def test_a_name_that_a_client_made_up_stays_in_its_header(model, said):
    headers = served_headers(Served("acme", model, f"openai_compatible:{model}", None), model)
    assert headers["x-tidemill-model"] == said
    assert headers["x-tidemill-model-version"] == f"openai_compatible:{said}"
