"""`tidemill ask`."""

import json
import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from tidemill.cli import stored_chat
from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json
from tidemill.core.errors import InvalidInput, ModelFailed
from tidemill.settings import load_settings

QUOTED = 200
"""Characters of the passage that are shown for a citation."""


def ask(
    question: Annotated[str | None, typer.Argument(help="What to ask; read from the standard input if absent.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="A source's name; give it once for each.")] = None,
    language: Annotated[str | None, typer.Option(help="Of the answer: en or vi; the question's if absent.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a conversation that the hub keeps.")] = False,
    conversation: Annotated[UUID | None, typer.Option(help="Ask in the kept conversation of this id.")] = None,
    as_json: Json = False,
) -> None:
    """Ask your documents. Each sentence of the answer cites the passage that says it."""
    asked = question if question is not None else sys.stdin.read()
    if not asked.strip():
        raise InvalidInput("There is nothing to ask. Give a question, or pipe one in.")
    if new and conversation is not None:
        raise InvalidInput("Give one of --new and --conversation.")
    body: dict[str, Any] = {"query": asked, "filters": {"sources": source or []}}
    if language is not None:
        body["language"] = language
    with hub(load_settings()) as client:
        kept = stored_chat.begin(client, model=None, system=None) if new else conversation
        if kept is not None:
            body["conversation_id"] = str(kept)
        if new:
            sys.stderr.write(f"tidemill ask --conversation {kept}\n")
        if as_json:
            print_json(client.post("/v1/answers", body))
            return
        said = ""
        for name, data in client.events("/v1/answers", {**body, "stream": True}):
            event = json.loads(data)
            if name == "sentence":
                said += event["text"]
                sys.stdout.write(event["text"])
                sys.stdout.flush()
            elif name == "answer":
                _end(event, said)
            elif name == "error":
                sys.stdout.write("\n" if said else "")
                raise ModelFailed(event["error"]["message"])


def _end(answer: dict[str, Any], said: str) -> None:
    """What is not there yet of the answer, and its citations."""
    text = answer["answer"]
    if not said or not text.startswith(said):
        sys.stdout.write(f"\n\n{text}" if said else text)
    else:
        sys.stdout.write(text[len(said) :])
    sys.stdout.write("\n")
    for one in answer["citations"]:
        where = one["url"] or " · ".join(part for part in (one["source"], one["path"]) if part)
        quote = " ".join(one["used_content"].split())
        quote = quote if len(quote) <= QUOTED else f"{quote[:QUOTED]}…"
        sys.stdout.write(f"\n{one['reference']}{f'  {where}' if where else ''}\n    “{quote}”\n")
    if reason := answer["response_metadata"].get("failure_message"):
        sys.stderr.write(f"{reason}\n")
    sys.stderr.write(f"{answer['status']}, confidence {answer['confidence_score']:.2f}, {answer['id']}\n")
