"""The command `tidemill`: its groups, loaded when called, and what errors become.

Exit codes: 0 done; 1 an unexpected error, or a review with findings at or over `--fail-on`; 2 bad input; 3 not
permitted; 4 not found; 5 a conflict; 6 the machine or the settings; 7 a model or server that fails; 130 Ctrl-C.
"""

import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

from tidemill.core.errors import TidemillError

COMMANDS = {
    "up": ("tidemill.cli.up:up", "Start the hub, with its database and worker, until Ctrl-C."),
    "worker": ("tidemill.cli.up:worker", "Run a further worker beside a hub."),
    "review": ("tidemill.cli.review:review", "Review a commit, a range or what is staged."),
    "policy": ("tidemill.cli.policy:app", "Check how a repository wants to be reviewed."),
    "necessity": ("tidemill.cli.necessity:app", "Train and choose the model that scores hunks for review."),
    "scan": ("tidemill.cli.scan:scan", "Find defects in a whole tree, with no server."),
    "pull-requests": ("tidemill.cli.pull_requests:app", "Show reviews of pull requests, and what became of them."),
    "chat": ("tidemill.cli.chat:chat", "Ask a model."),
    "embed": ("tidemill.cli.embed:embed", "Turn texts into vectors."),
    "ask": ("tidemill.cli.ask:ask", "Ask your documents."),
    "sources": ("tidemill.cli.sources:app", "Collect documents: folders, repositories, uploads and more."),
    "search": ("tidemill.cli.search:search", "Find passages in your documents."),
    "eval": ("tidemill.cli.evaluation:app", "Measure search and answers, and compare two measurements."),
    "mcp": ("tidemill.cli.mcp:mcp", "Offer search, answers and reviews to MCP clients."),
    "jobs": ("tidemill.cli.jobs:app", "Ask without waiting, and see what came of it."),
    "batches": ("tidemill.cli.batches:app", "Ask many things from a file, and follow how far that is."),
    "models": ("tidemill.cli.models:app", "List, fetch, load and unload models."),
    "keys": ("tidemill.cli.keys:app", "Make, list, rotate and revoke API keys."),
    "users": ("tidemill.cli.users:app", "Add, list, change and disable people."),
    "teams": ("tidemill.cli.teams:app", "Make teams, and say who is in them."),
    "usage": ("tidemill.cli.usage:usage", "Show what was used, by day, model, key and more."),
    "budgets": ("tidemill.cli.limits:budgets", "Set what may be spent."),
    "limits": ("tidemill.cli.limits:limits", "Set how fast may be asked."),
    "rights": ("tidemill.cli.rights:rights", "Show who may do what."),
    "audit": ("tidemill.cli.audit:app", "Export and check the audit log."),
    "data": ("tidemill.cli.data:app", "Export, erase and search data, and delete what is due."),
    "providers": ("tidemill.cli.providers:app", "Add, try, disable and remove providers of models."),
    "forges": ("tidemill.cli.forges:app", "Show and test the forges, and play one."),
    "secrets": ("tidemill.cli.secrets:app", "Store secrets encrypted, and rotate their key."),
    "alerts": ("tidemill.cli.alerts:app", "Show alerts and their rules, and test who is told."),
    "prompts": ("tidemill.cli.prompts:app", "Show, change and try the prompts."),
    "cache": ("tidemill.cli.cache:app", "Show and empty the cache of answers."),
    "guardrails": ("tidemill.cli.guardrails:app", "Try the guardrails, and show what they found."),
    "db": ("tidemill.cli.db:app", "Look after the database: status, upgrade, backup, restore."),
    "traces": ("tidemill.cli.traces:app", "Show what was done for a request, and how long it took."),
    "doctor": ("tidemill.cli.doctor:doctor", "Check everything that can be missing, and say how to mend it."),
    "version": ("tidemill.cli.version:version", "Print the version."),
}


def command(name: str) -> typer.Typer:
    """One command or group, imported now, so that `--help` and every other command stay quick."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found: Any = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return found
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(found)
    return app


def _imported(name: str) -> typer.Typer:
    """A command. What its import makes lives to the end: looking through all of that for garbage, again and again, took
    a fifth of a hub's start."""
    gc.disable()
    try:
        return command(name)
    finally:
        gc.freeze()
        gc.enable()


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script. An error of ours ends in one sentence and its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help", "help"}:
        sys.stdout.write(_help())
        return
    name = "version" if given[0] in {"-V", "--version"} else given[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean `tidemill {near[0]}`?" if near else "`tidemill --help` lists the commands."
        sys.stderr.write(f"tidemill: there is no command {name!r}. {hint}\n")
        sys.exit(2)
    try:
        _imported(name)(args=given[1:], prog_name=f"tidemill {name}")
    except TidemillError as error:
        sys.stderr.write(f"tidemill: {error.message}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _help() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: tidemill COMMAND [OPTIONS]",
            "",
            "A self-hosted AI hub for software teams. `tidemill COMMAND --help` explains each command.",
            "",
            *lines,
            "",
        ]
    )
