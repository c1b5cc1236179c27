"""Providers, how they are doing, and who really served an inference."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    CREATE TABLE providers (
        name text PRIMARY KEY,
        kind text NOT NULL,
        base_urls text[] NOT NULL,
        key_env text,
        key_file text,
        key_secret text,
        models jsonb NOT NULL DEFAULT '{}',
        allow_private boolean NOT NULL DEFAULT false,
        outside boolean,
        timeout real,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE provider_states (
        provider text NOT NULL,
        model text NOT NULL DEFAULT '',
        failures integer NOT NULL DEFAULT 0,
        rests_until timestamptz,
        disabled_at timestamptz,
        disabled_reason text,
        last_failure text,
        last_failed_at timestamptz,
        latency_ms real,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (provider, model)
    )
    """,
    "ALTER TABLE inferences ALTER COLUMN cost_usd DROP NOT NULL, ALTER COLUMN cost_usd TYPE numeric(18, 8)",
    """
    ALTER TABLE inferences
        ADD COLUMN provider text,
        ADD COLUMN route text,
        ADD COLUMN attempts smallint NOT NULL DEFAULT 1,
        ADD COLUMN recovery text[] NOT NULL DEFAULT '{}',
        ADD COLUMN fallback text,
        ADD COLUMN request_id text,
        ADD COLUMN user_id uuid
    """,
    """
    ALTER TABLE inferences
        DROP CONSTRAINT inferences_status_check,
        ADD CONSTRAINT inferences_status_check CHECK (status IN ('ok', 'partial', 'error', 'cancelled'))
    """,
    "CREATE INDEX inferences_by_key ON inferences (key_id, created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
