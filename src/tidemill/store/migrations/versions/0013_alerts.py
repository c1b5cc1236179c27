"""Alerts, and the metrics of every process."""

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = (
    """
    CREATE TABLE alerts (
        id uuid PRIMARY KEY,
        rule text NOT NULL,
        severity text NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
        value double precision,
        threshold double precision NOT NULL,
        summary text NOT NULL,
        began_at timestamptz NOT NULL,
        fired_at timestamptz,
        resolved_at timestamptz,
        deliveries jsonb NOT NULL DEFAULT '{}'
    )
    """,
    "CREATE UNIQUE INDEX alerts_open ON alerts (rule) WHERE state <> 'resolved'",
    "CREATE INDEX alerts_by_time ON alerts (began_at)",
    """
    CREATE UNLOGGED TABLE process_metrics (
        process text PRIMARY KEY,
        role text NOT NULL,
        samples text NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    "ALTER TABLE reviews ADD COLUMN request_id text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
