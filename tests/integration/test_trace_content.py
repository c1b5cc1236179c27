"""What was asked and answered is in traces where the setting says so, for those alone who may see every text."""

import json

import httpx
import pytest

from tests.conftest import reachable
from tests.support.hubs import running_hub, scripted_settings, tidemill, upstream

ASKED, ANSWERED = "zebra-quagga-marker", "okapi-answer-marker"


def test_the_texts_in_a_trace_are_shown_only_to_who_may_see_every_level(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = reachable(tmp_path_factory.mktemp("content"))
    script = folder / "script.json"
    script.write_text(json.dumps({"text": ANSWERED}))
    with (
        upstream(folder, "--script", str(script)) as model,
        running_hub(folder / "data", scripted_settings(model.url, telemetry={"trace_content": True})) as hub,
        hub.client() as admin,
    ):
        body = {"model": "scripted", "messages": [{"role": "user", "content": ASKED}]}
        asked = admin.post("/v1/chat/completions", json=body).raise_for_status()
        route = f"/v1/traces/{asked.headers['x-tidemill-trace-id']}"
        made = tidemill(["keys", "create", "looks", "--role", "maintainer", "--json"], hub.environment)
        maintainer = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
        whole = admin.get(route).raise_for_status().text
        less = httpx.get(hub.url + route, headers=maintainer).raise_for_status().text
        listed = admin.get("/v1/traces").raise_for_status().text
    assert ASKED in whole
    assert ANSWERED in whole
    assert '"inference"' in less
    for text in (less, listed):
        assert ASKED not in text
        assert ANSWERED not in text
        assert "gen_ai.input.messages" not in text
