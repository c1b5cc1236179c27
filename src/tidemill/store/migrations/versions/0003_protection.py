"""Encrypted secrets, the level of each stored text, receipts of erasure, and what retention last did."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE secrets (
        name text PRIMARY KEY,
        key_id text NOT NULL,
        nonce bytea NOT NULL,
        ciphertext bytea NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    """
    ALTER TABLE inference_texts ADD COLUMN level text NOT NULL DEFAULT 'internal'
    CHECK (level IN ('public', 'internal', 'confidential', 'secret'))
    """,
    """
    CREATE TABLE erasures (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL UNIQUE,
        actor text NOT NULL,
        actor_id uuid,
        counts json NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz,
        receipt json
    )
    """,
    """
    CREATE TABLE retention_runs (
        kind text PRIMARY KEY,
        at timestamptz NOT NULL,
        deleted bigint NOT NULL,
        total bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
