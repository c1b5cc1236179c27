"""The rows of providers that were added while the hub runs. A key is named there, and never in them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tidemill.core.json import Json, JsonObject
from tidemill.core.provider import Price, Provider, ProviderKind, ProviderModel
from tidemill.store.database import Connection, Pool

COLUMNS = "name, kind, base_urls, key_env, key_file, key_secret, models, allow_private, outside, timeout"
VALUES = (
    "%(name)s, %(kind)s, %(base_urls)s, %(key_env)s, %(key_file)s, %(key_secret)s, %(models)s, %(allow_private)s, "
    "%(outside)s, %(timeout)s"
)
ADD = f"""
INSERT INTO providers ({COLUMNS}, created_at, updated_at) VALUES ({VALUES}, %(at)s, %(at)s)
ON CONFLICT (name) DO NOTHING
"""  # noqa: S608 - names of columns, no input
UPDATE = f"""
UPDATE providers SET ({COLUMNS}, updated_at) = ROW ({VALUES}, %(at)s) WHERE name = %(name)s
"""  # noqa: S608 - as above


class ProviderRepository:
    """Providers, each under its name."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> list[Provider]:
        """Every provider, by name."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(f"SELECT {COLUMNS} FROM providers ORDER BY name")  # noqa: S608
            return [_provider(row) async for row in cursor]

    async def lock(self, connection: Connection, name: str) -> Provider | None:
        """One provider, which nobody else changes until the transaction ends; `None` where there is none."""
        cursor = await connection.execute(f"SELECT {COLUMNS} FROM providers WHERE name = %s FOR UPDATE", (name,))  # noqa: S608
        row = await cursor.fetchone()
        return _provider(row) if row else None

    async def add(self, connection: Connection, provider: Provider, at: datetime) -> bool:
        """Writes a new provider; False where there is one of its name."""
        return (await connection.execute(ADD, _values(provider, at))).rowcount == 1

    async def update(self, connection: Connection, provider: Provider, at: datetime) -> None:
        """Writes a provider in the place of the one of its name."""
        await connection.execute(UPDATE, _values(provider, at))

    async def remove(self, connection: Connection, name: str) -> bool:
        """Deletes a provider; False where there is none of this name."""
        return (await connection.execute("DELETE FROM providers WHERE name = %s", (name,))).rowcount == 1


def models_json(models: Mapping[str, ProviderModel]) -> JsonObject:
    """What is known of a provider's models, as it is stored and shown; what is not known is left out."""
    return {
        name: {key: value for key, value in _fields(model).items() if value is not None}
        for name, model in models.items()
    }


def _fields(model: ProviderModel) -> dict[str, Json]:
    price = model.price
    return {
        "input": price.input if price else None,
        "output": price.output if price else None,
        "cached": price.cached if price else None,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
    }


def _values(provider: Provider, at: datetime) -> dict[str, Any]:
    return {
        "name": provider.name,
        "kind": provider.kind.value,
        "base_urls": list(provider.base_urls),
        "key_env": provider.key_env,
        "key_file": provider.key_file,
        "key_secret": provider.key_secret,
        "models": Jsonb(models_json(provider.models)),
        "allow_private": provider.allow_private,
        "outside": provider.outside,
        "timeout": provider.timeout,
        "at": at,
    }


def _provider(row: Mapping[str, Any]) -> Provider:
    models = {name: _model(name, fields) for name, fields in row["models"].items()}
    fields = {**row, "kind": ProviderKind(row["kind"]), "base_urls": tuple(row["base_urls"]), "models": models}
    return Provider(**fields)


def _model(name: str, fields: Mapping[str, Any]) -> ProviderModel:
    price = Price(fields["input"], fields["output"], fields.get("cached")) if "input" in fields else None
    return ProviderModel(name, price, fields.get("context_tokens"), fields.get("max_output_tokens"))
