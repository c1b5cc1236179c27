"""`tidemill chat`."""

import json
import sys
from typing import Annotated

import typer

from tidemill.cli.hub import hub
from tidemill.cli.output import print_json
from tidemill.core.errors import InvalidInput, ModelFailed
from tidemill.settings import load_settings


def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; read from the standard input when absent.")] = None,
    model: Annotated[str, typer.Option(help="The model's name.")] = "default",
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole response as JSON.")] = False,
) -> None:
    """Ask a model and print its answer as it comes. Without a prompt, in a terminal, hold a conversation."""
    messages = [{"role": "system", "content": system}] if system else []
    body = {"model": model, **({"max_tokens": max_tokens} if max_tokens else {})}
    if prompt is None and sys.stdin.isatty():
        _converse(body, messages)
        return
    asked = prompt if prompt is not None else sys.stdin.read()
    if not asked.strip():
        raise InvalidInput("There is nothing to ask. Give a prompt, or pipe one in.")
    messages.append({"role": "user", "content": asked})
    if as_json:
        with hub(load_settings()) as client:
            print_json(client.post("/v1/chat/completions", {**body, "messages": messages}))
        return
    _answer(body, messages)


def _converse(body: dict[str, object], messages: list[dict[str, str]]) -> None:
    typer.echo("Ask away; Ctrl-D ends.")
    while True:
        try:
            asked = input("> ")
        except EOFError:
            typer.echo("")
            return
        if asked.strip():
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
