"""The command `tidemill`: its groups, loaded when called, and what errors become.

Exit codes: 0 done; 1 an unexpected error, or a review with findings at or over `--fail-on`; 2 bad input; 3 not
permitted; 4 not found; 5 a conflict; 6 the machine or the settings; 7 a model or server that fails; 130 Ctrl-C.
"""

import sys
from importlib import import_module
from typing import Any

import click
import typer

from tidemill.core.errors import TidemillError

COMMANDS = {
    "up": ("tidemill.cli.up:up", "Start the hub, with its database and worker, until Ctrl-C."),
    "worker": ("tidemill.cli.up:worker", "Run a further worker beside a hub."),
    "review": ("tidemill.cli.review:review", "Review a commit, a range or what is staged."),
    "chat": ("tidemill.cli.chat:chat", "Ask a model."),
    "models": ("tidemill.cli.models:app", "List, fetch, load and unload models."),
    "keys": ("tidemill.cli.keys:app", "Make, list and revoke API keys."),
    "db": ("tidemill.cli.db:app", "Look after the database: status, upgrade, backup, restore."),
    "doctor": ("tidemill.cli.doctor:doctor", "Check everything that can be missing, and say how to mend it."),
    "version": ("tidemill.cli.version:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found: Any = getattr(import_module(module), attribute)
        app = found if isinstance(found, typer.Typer) else _single(found)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list for `--help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _single(function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app


app = LazyGroup(
    name="tidemill",
    help="A self-hosted AI hub for software teams. `tidemill COMMAND --help` explains each command.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """The console script. An error of ours ends in one sentence and its exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TidemillError as error:
        sys.stderr.write(f"tidemill: {error.message}\n")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
