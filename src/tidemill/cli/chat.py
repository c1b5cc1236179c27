"""`tidemill chat`."""

import json
import sys
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import typer

from tidemill.cli import stored_chat
from tidemill.cli.hub import hub
from tidemill.cli.output import print_json
from tidemill.core.errors import InvalidInput, ModelFailed
from tidemill.settings import load_settings


def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; read from the standard input when absent.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name; the default one when absent.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a conversation that the hub keeps.")] = False,
    conversation: Annotated[UUID | None, typer.Option(help="Go on with the kept conversation of this id.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the kept conversations.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole response as JSON.")] = False,
) -> None:
    """Ask a model and print its answer as it comes. Without a prompt, in a terminal, hold a conversation."""
    if list_ + new + (conversation is not None) > 1:
        raise InvalidInput("Give one of --list, --new and --conversation.")
    if list_:
        with hub(load_settings()) as client:
            stored_chat.list_conversations(client, as_json=as_json)
        return
    if conversation is not None and system is not None:
        raise InvalidInput("A kept conversation has its system message already. Leave out --system, or use --new.")
    talking = prompt is None and sys.stdin.isatty()
    asked = "" if talking else _asked(prompt)
    if new or conversation is not None:
        _kept(conversation, asked, model=model, system=system, max_tokens=max_tokens, as_json=as_json)
        return
    messages = [{"role": "system", "content": system}] if system else []
    body = {"model": model or "default", **({"max_tokens": max_tokens} if max_tokens else {})}
    if talking:
        _converse(lambda said: _answered(body, messages, said))
        return
    messages.append({"role": "user", "content": asked})
    if as_json:
        with hub(load_settings()) as client:
            print_json(client.post("/v1/chat/completions", {**body, "messages": messages}))
        return
    _answer(body, messages)


def _asked(prompt: str | None) -> str:
    asked = prompt if prompt is not None else sys.stdin.read()
    if not asked.strip():
        raise InvalidInput("There is nothing to ask. Give a prompt, or pipe one in.")
    return asked


def _kept(
    conversation: UUID | None,
    asked: str,
    *,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Asks in a conversation that the hub keeps; with nothing asked yet, as often as the person wants."""
    body: dict[str, object] = {"options": {"max_tokens": max_tokens}} if max_tokens else {}
    with hub(load_settings()) as client:
        if conversation is None:
            kept = stored_chat.begin(client, model=model, system=system)
            sys.stderr.write(f"tidemill chat --conversation {kept}\n")
        else:
            kept = str(conversation)
            body |= {"model": model} if model else {}
        if asked:
            stored_chat.ask(client, kept, asked, body, as_json=as_json)
        else:
            _converse(lambda said: stored_chat.ask(client, kept, said, body, as_json=as_json))


def _converse(say: Callable[[str], None]) -> None:
    typer.echo("Ask away; Ctrl-D ends.")
    while True:
        try:
            asked = input("> ")
        except EOFError:
            typer.echo("")
            return
        if asked.strip():
            say(asked)


def _answered(body: dict[str, object], messages: list[dict[str, str]], asked: str) -> None:
    messages.append({"role": "user", "content": asked})
    messages.append({"role": "assistant", "content": _answer(body, messages)})


def _answer(body: dict[str, object], messages: list[dict[str, str]]) -> str:
    parts = []
    with hub(load_settings()) as client:
        for _, data in client.events("/v1/chat/completions", {**body, "messages": messages, "stream": True}):
            if data == "[DONE]":
                break
            chunk = json.loads(data)
            if "error" in chunk:
                sys.stdout.write("\n")
                raise ModelFailed(chunk["error"]["message"])
            for choice in chunk["choices"]:
                text = choice["delta"].get("content") or ""
                parts.append(text)
                sys.stdout.write(text)
                sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(parts)
