"""`tidemill chat` with a conversation that the hub keeps."""

import json
import sys
from typing import Any

from tidemill.cli.hub import HubClient
from tidemill.cli.output import print_json, print_table
from tidemill.core.errors import ModelFailed

LISTED = 50


def list_conversations(client: HubClient, *, as_json: bool) -> None:
    """Prints the newest conversations."""
    found = client.get(f"/v1/conversations?limit={LISTED}")
    if as_json:
        print_json(found)
        return
    rows = [[one["id"], one["title"] or "–", one["updated_at"][:16].replace("T", " ")] for one in found["data"]]
    print_table(["id", "title", "last changed (UTC)"], rows, empty="There is no conversation yet.")


def begin(client: HubClient, *, model: str | None, system: str | None) -> str:
    """Begins a conversation, and returns its id."""
    given = {"model": model, "system": system}
    made = client.post("/v1/conversations", {name: value for name, value in given.items() if value is not None})
    return str(made["id"])


def ask(client: HubClient, conversation: str, content: str, body: dict[str, Any], *, as_json: bool) -> None:
    """Asks in a conversation, and prints the answer as it comes, or both messages as JSON."""
    path, asked = f"/v1/conversations/{conversation}/messages", {**body, "content": content}
    if as_json:
        print_json(client.post(path, asked))
        return
    for name, data in client.events(path, {**asked, "stream": True}):
        said = json.loads(data)
        if name == "delta":
            sys.stdout.write(said["content"])
            sys.stdout.flush()
        elif name == "error":
            sys.stdout.write("\n")
            raise ModelFailed(said["error"]["message"])
    sys.stdout.write("\n")
