"""Where the settings are read from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from tidemill.core.errors import Configuration
from tidemill.settings.tree import Settings, default_data_dir


def load_settings(**overrides: Any) -> Settings:
    """Reads the file and the environment; `overrides` (command-line options) win over both, save where `None`.

    Raises:
        Configuration: the file can't be read or parsed, or a key is unknown or has a wrong value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    data_dir = Path(given.get("data_dir") or os.environ.get("TIDEMILL_DATA_DIR") or default_data_dir()).expanduser()
    named = os.environ.get("TIDEMILL_CONFIG")
    path = Path(named) if named else data_dir / "tidemill.yaml"
    values = _read_yaml(path, required=bool(named))
    try:
        return Settings(**_merge(_merge(values, _read_environment()), given))
    except ValidationError as error:
        raise Configuration(_explain(error, path)) from error


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read_environment() -> dict[str, Any]:
    known = _known_environment()
    for name in os.environ:
        if name.startswith("TIDEMILL_") and name.split("__")[0] not in known:
            raise Configuration(
                f"The environment variable {name} names no setting. See docs/settings.md for the names."
            )
    try:
        values = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise Configuration(
            f"The environment can't be used: {error}. Lists and tables are written as JSON there."
        ) from error
    if os.environ.get("DATABASE_URL"):
        values.setdefault("database_url", os.environ["DATABASE_URL"])
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        values.setdefault("telemetry", {}).setdefault("otlp_endpoint", os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"])
    return values


def _known_environment() -> set[str]:
    source = EnvSettingsSource(Settings)
    names = {f"{source.env_prefix}{name}".upper() for name in Settings.model_fields}
    outside = {"TIDEMILL_CONFIG", "TIDEMILL_SECRET_KEY", "TIDEMILL_API_KEY", "TIDEMILL_HUB_URL"}
    return names | outside | {"TIDEMILL_ENCRYPTION_KEY"}


def _read_yaml(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if required:
            raise Configuration(f"The settings file {path}, which TIDEMILL_CONFIG names, does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Configuration(f"The settings file {path} can't be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Configuration(f"The settings file {path} must hold names and values, not a {type(values).__name__}.")
    for name in values:
        if not isinstance(name, str):
            raise Configuration(f"The settings file {path} has the key {name!r}, which is not the name of a setting.")
    return values


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"`{where}` is not a setting")
        else:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"`{where}`: {said[:1].lower()}{said[1:]}")
    return f"The settings can't be used: {'; '.join(lines)}. Mend {path} or the environment."
