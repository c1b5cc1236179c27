"""`tidemill prompts`: works on the database itself; to ask a model with a prompt, it asks a running hub."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from tidemill.app.prompts import open_prompts
from tidemill.cli.database import on_database
from tidemill.cli.hub import hub
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.audit import COMMAND
from tidemill.core.errors import InvalidInput
from tidemill.llm.prompts.template import LARGEST
from tidemill.registry.prompts import PromptLibrary, differences, filled
from tidemill.settings import load_settings

T = TypeVar("T")
Name = Annotated[str, typer.Argument(help="The prompt's name, such as review.comment.")]
Language = Annotated[str, typer.Option("--language", "-l", help="en or vi.")]
Number = Annotated[int | None, typer.Option("--number", "-n", help="The version; the one in force when absent.")]
app = typer.Typer(help="Show, change and try the prompts.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_prompts(as_json: Json = False) -> None:
    """List the prompts, and which version of each is in force."""
    found = _with_prompts(lambda prompts: prompts.names())
    if as_json:
        print_json([{"name": t.name, "language": t.language, "version": t.version, "since": at} for t, at in found])
        return
    rows = [(t.name, t.language, t.number or "shipped", t.hash[:12], at, t.description) for t, at in found]
    print_table(["name", "language", "version", "hash", "since", "what it does"], rows, empty="There are no prompts.")


@app.command()
def show(name: Name, language: Language = "en", number: Number = None, as_json: Json = False) -> None:
    """Print a prompt's source."""
    found = _with_prompts(lambda prompts: prompts.find(name, language, number))
    if as_json:
        print_json({"version": found.version, "variables": dict(found.variables), "source": found.source})
    else:
        sys.stdout.write(found.source)


@app.command()
def diff(
    name: Name,
    language: Language = "en",
    old: Annotated[int, typer.Option(help="The version to start from; 0 is the one that ships.")] = 0,
    new: Annotated[int | None, typer.Option(help="The version to go to; the one in force when absent.")] = None,
) -> None:
    """Print what differs between two versions."""

    async def both(prompts: PromptLibrary) -> str:
        return differences(await prompts.find(name, language, old), await prompts.find(name, language, new))

    typer.echo(_with_prompts(both) or "There is no difference.")


@app.command("set")
def set_prompt(
    name: Name,
    file: Annotated[Path | None, typer.Argument(help="The new source; the standard input when absent.")] = None,
    language: Language = "en",
    note: Annotated[str | None, typer.Option(help="Why it is changed.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Keep it without putting it in force.")] = False,
    number: Annotated[int | None, typer.Option("--number", "-n", help="Put this version in force; 0 ships.")] = None,
    as_json: Json = False,
) -> None:
    """Add a version of a prompt and put it in force, or go back to an earlier one with --number."""
    if number is not None and (file is not None or draft or note is not None):
        raise InvalidInput("--number puts a version in force that is there; it goes with no file, --draft or --note.")
    if number is not None:
        chosen = number
        template = _with_prompts(lambda prompts: prompts.activate(name, language, chosen, COMMAND))
    else:
        source = _read(file)
        template = _with_prompts(
            lambda prompts: prompts.set(name, language, source, COMMAND, note=note, activate=not draft)
        )
    if as_json:
        print_json({"version": template.version, "number": template.number, "active": not draft})
    else:
        typer.echo(f"{template.version} is {'kept' if draft else 'in force'}.")


@app.command()
def history(name: Name, language: Language = "en", as_json: Json = False) -> None:
    """List the versions that were set, newest first."""
    rows = _with_prompts(lambda prompts: prompts.history(name, language))
    if as_json:
        print_json(
            [
                {"number": r.number, "hash": r.hash, "active": r.active, "note": r.note, "created_at": r.created_at}
                for r in rows
            ]
        )
        return
    shown = [(row.number, row.hash[:12], "in force" if row.active else "", row.created_at, row.note) for row in rows]
    print_table(["version", "hash", "", "set", "note"], shown, empty="The one that ships is in force; none was set.")


@app.command("test")
def try_prompt(
    name: Name,
    language: Language = "en",
    number: Number = None,
    values: Annotated[Path | None, typer.Option(help="JSON object of values; else the prompt's example.")] = None,
    model: Annotated[str | None, typer.Option(help="Ask this model of a running hub, too.")] = None,
    as_json: Json = False,
) -> None:
    """Fill a prompt in and print its messages, and what a model answers."""
    given = _values(values)
    if model is not None:
        body = {"language": language, "number": number, "values": given, "model": model}
        with hub(load_settings()) as client:
            tested = client.post(f"/v1/prompts/{quote(name, safe='')}/test", body)
    else:
        template = _with_prompts(lambda prompts: prompts.find(name, language, number))
        tested = {"version": template.version, "messages": filled(template, given), "answer": None}
    if as_json:
        print_json(tested)
        return
    for message in tested["messages"]:
        typer.echo(f"=== {message['role']} ===\n{message['content']}\n")
    if tested.get("answer") is not None:
        typer.echo(f"=== {model} answers ===\n{tested['answer']}")


def _with_prompts(work: Callable[[PromptLibrary], Awaitable[T]]) -> T:
    return on_database(open_prompts, work)


def _read(file: Path | None) -> str:
    try:
        data = sys.stdin.buffer.read(4 * LARGEST + 1) if file is None else file.read_bytes()
        return data.decode()
    except OSError as error:
        raise InvalidInput(f"The file {file} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("The prompt's source is not UTF-8 text.") from error


def _values(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        given = json.loads(_read(file))
    except ValueError as error:
        raise InvalidInput(f"The file {file} is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise InvalidInput(f"The file {file} holds no JSON object.")
    return given
