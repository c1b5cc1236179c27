"""`tidemill providers`: works on the database itself, with a hub running or not. A hub takes it up in a second."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tidemill.app.providers import open_providers
from tidemill.cli.database import on_database
from tidemill.cli.output import Json, print_json, print_table
from tidemill.core.audit import COMMAND
from tidemill.core.errors import InvalidInput
from tidemill.core.provider import ProviderKind
from tidemill.registry.provider_json import health_json, probed_json, provider_json
from tidemill.registry.provider_registry import ProviderRegistry
from tidemill.settings.providers import PUBLIC_URLS

T = TypeVar("T")
LONGEST_LINE = 65_536
Name = Annotated[str, typer.Argument(help="The provider's name.")]
app = typer.Typer(help="Add, try, disable and remove providers of models.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_providers(as_json: Json = False) -> None:
    """List the providers, and how they and the endpoints of the settings are doing; as JSON the providers alone."""
    found, endpoints = _with_registry(_everyone)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["kind"],
            one["base_urls"][0],
            _place(one["key"]),
            len(one["models"]),
            _health(one["health"]),
            _milliseconds(one["health"]["latency_ms"]),
            "settings" if one["configured"] else "command",
        )
        for one in found
    ]
    names = ["name", "kind", "address", "key", "models", "health", "latency", "from"]
    print_table(names, [*rows, *endpoints], empty="There are no providers. Add one with `tidemill providers add`.")


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show one provider: its addresses, models and prices, and how it is doing."""
    found = _with_registry(lambda registry: _one(registry, name))
    if as_json:
        print_json(found)
        return
    _print_provider(found)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What comes before the slash in `provider/model`.")],
    kind: Annotated[ProviderKind, typer.Option(help="Which API it speaks.")],
    base_url: Annotated[
        list[str] | None,
        typer.Option(help="Its address; again for others that stand in. Kinds with a public one need none."),
    ] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the key.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The file that holds the key.")] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="It wants no key.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="A model of it; again for others.")] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(help="MODEL=INPUT/OUTPUT or MODEL=INPUT/OUTPUT/CACHED: US dollars for a million tokens."),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Its addresses may be ones of your own network.")
    ] = False,
    outside: Annotated[
        bool | None, typer.Option("--outside/--inside", help="Whether texts leave your network for it.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one request may take.")] = None,
    as_json: Json = False,
) -> None:
    """Add a provider. Its key is asked for, or read from the standard input; never an argument."""
    given = [key_env is not None, key_file is not None, no_key]
    if sum(given) > 1:
        raise InvalidInput("Give one of --key-env, --key-file and --no-key.")
    if no_key and kind in PUBLIC_URLS:
        raise InvalidInput(f"{kind} answers nobody without a key. Leave --no-key out.")
    fields: dict[str, Any] = {
        "kind": kind.value,
        "base_urls": base_url or [],
        "api_key_env": key_env,
        "api_key_file": str(key_file) if key_file else None,
        "models": _models(model or [], price or []),
        "allow_private": allow_private,
        "outside": outside,
        "timeout": timeout,
    }
    key = None if any(given) else _ask_key(optional=kind not in PUBLIC_URLS)

    async def work(registry: ProviderRegistry) -> dict[str, Any]:
        await registry.add(name, fields, COMMAND, key=key)
        return await _one(registry, name)

    found = _with_registry(work)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"The provider {name} is added. `tidemill providers test {name}` tries it.")


@app.command("test")
def try_out(name: Name, as_json: Json = False) -> None:
    """Ask a provider for something small. The exit code is 7 where it fails."""

    async def work(registry: ProviderRegistry) -> dict[str, Any]:
        return probed_json(name, await registry.test(name))

    found = _with_registry(work)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{name}: {'well' if found['ok'] else found['failure']}, {_milliseconds(found['latency_ms'])}.")
        typer.echo(found["said"])
    if not found["ok"]:
        raise typer.Exit(7)


@app.command()
def disable(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for those who see it.")] = "by hand",
    as_json: Json = False,
) -> None:
    """Take a provider out of the pool of every hub, until it is enabled."""
    _done(name, lambda registry: registry.disable(name, COMMAND, reason), "is disabled", as_json=as_json)


@app.command()
def enable(name: Name, as_json: Json = False) -> None:
    """Put a provider and its models back, rested."""
    _done(name, lambda registry: registry.enable(name, COMMAND), "is enabled", as_json=as_json)


@app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Forget a provider and its key."""
    _with_registry(lambda registry: registry.remove(name, COMMAND))
    if as_json:
        print_json({"name": name})
    else:
        typer.echo(f"The provider {name} is removed.")


def _done(name: str, work: Callable[[ProviderRegistry], Awaitable[None]], what: str, *, as_json: bool) -> None:
    async def both(registry: ProviderRegistry) -> dict[str, Any]:
        await work(registry)
        return await _one(registry, name)

    found = _with_registry(both)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"The provider {name} {what}.")


def _ask_key(*, optional: bool) -> str | None:
    """The key from the terminal, unseen, or from the standard input; `None` for an empty one where that will do."""
    if sys.stdin.isatty():
        hint = " (empty for none)" if optional else ""
        key = str(
            typer.prompt(f"Key{hint}", default="" if optional else None, hide_input=True, show_default=False, err=True)
        )
    else:
        try:
            key = sys.stdin.buffer.read(LONGEST_LINE).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("The key on the standard input is no text.") from error
    key = key.strip()
    if not key and not optional:
        raise InvalidInput(
            "There is no key. Type it when it is asked for, put it on the standard input, or name its place with "
            "--key-env or --key-file."
        )
    return key or None


def _models(names: list[str], prices: list[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for given in prices:
        model, _, price = given.rpartition("=")
        parts = price.split("/")
        try:
            figures = [float(part) for part in parts]
        except ValueError:
            figures = []
        if not model or len(figures) not in {2, 3}:
            raise InvalidInput(
                "--price takes MODEL=INPUT/OUTPUT or MODEL=INPUT/OUTPUT/CACHED, in US dollars for a million tokens, as "
                f"in gpt-x=1.25/10/0.125; not {given!r}."
            )
        found[model] = dict(zip(("input", "output", "cached"), figures, strict=False))
    return found


def _with_registry(work: Callable[[ProviderRegistry], Awaitable[T]]) -> T:
    return on_database(open_providers, work)


async def _everyone(registry: ProviderRegistry) -> tuple[list[dict[str, Any]], list[tuple[object, ...]]]:
    """The providers, and the lines of the endpoints."""
    health = await registry.health()
    lines: list[tuple[object, ...]] = []
    for name, url in registry.known.endpoints().items():
        known = health_json(health[name])
        lines.append((name, "endpoint", url, None, 1, _health(known), _milliseconds(known["latency_ms"]), "settings"))
    return [provider_json(one, health[one.name]) for one in registry.known.all()], lines


async def _one(registry: ProviderRegistry, name: str) -> dict[str, Any]:
    provider = registry.known.get(name)
    return provider_json(provider, (await registry.health())[name])


def _print_provider(one: dict[str, Any]) -> None:
    outside = {None: "by its address", True: "yes", False: "no"}[one["outside"]]
    private = "yes" if one["allow_private"] else "no"
    whole = one["health"]["whole"] or {}
    fields = [
        ("kind", one["kind"]),
        ("addresses", ", ".join(one["base_urls"])),
        ("key", _place(one["key"])),
        ("private addresses", private),
        ("outside", outside),
        ("timeout", f"{one['timeout']:g} s" if one["timeout"] else None),
        ("from", "settings" if one["configured"] else "command"),
        ("health", _health(one["health"])),
        ("last failure", whole.get("last_failure")),
    ]
    print_table([one["name"], ""], fields, empty="")
    states = {state["model"]: state for state in one["health"]["models"]}
    rows = [
        (
            model,
            _price(one["models"].get(model, {})),
            one["models"].get(model, {}).get("context_tokens"),
            states.get(model, {}).get("last_failure"),
            _milliseconds(states.get(model, {}).get("latency_ms")),
        )
        for model in sorted({*one["models"], *states})
    ]
    if rows:
        sys.stdout.write("\n")
        print_table(["model", "price of a million tokens", "context", "last failure", "latency"], rows, empty="")


def _price(model: dict[str, Any]) -> str:
    if "input" not in model:
        return "unknown"
    cached = f", cached ${model['cached']:g}" if "cached" in model else ""
    return f"${model['input']:g} in, ${model['output']:g} out{cached}"


def _place(key: dict[str, str] | None) -> str:
    return "none" if key is None else f"{key['place']} {key['name']}"


def _health(health: dict[str, Any]) -> str:
    whole = health["whole"] or {}
    if health["state"] == "disabled":
        return f"disabled: {whole['disabled_reason']}"
    if health["state"] == "resting":
        return f"resting until {whole['rests_until']:%Y-%m-%d %H:%M:%S}"
    return str(health["state"])


def _milliseconds(latency: float | None) -> str | None:
    return None if latency is None else f"{latency:.0f} ms"
