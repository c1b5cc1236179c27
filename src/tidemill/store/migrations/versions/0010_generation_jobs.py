"""Asynchronous generation, and batches over an uploaded file."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    """
    CREATE TABLE generation_jobs (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        key_id uuid,
        user_id uuid,
        level text NOT NULL,
        endpoint text NOT NULL,
        state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        request jsonb NOT NULL,
        result jsonb,
        error jsonb,
        inference_id uuid,
        callback_url text,
        callback_state text,
        request_id text,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX generation_jobs_by_owner ON generation_jobs (owner_id, created_at)",
    "CREATE INDEX generation_jobs_by_expiry ON generation_jobs (expires_at)",
    """
    CREATE TABLE batches (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        key_id uuid,
        user_id uuid,
        level text NOT NULL,
        endpoint text NOT NULL,
        state text NOT NULL,
        input_file_id uuid NOT NULL,
        output_file_id uuid,
        error_file_id uuid,
        errors jsonb,
        metadata jsonb,
        request_id text,
        total integer NOT NULL DEFAULT 0,
        completed integer NOT NULL DEFAULT 0,
        failed integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        finalizing_at timestamptz,
        ended_at timestamptz,
        cancelling_at timestamptz,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX batches_by_owner ON batches (owner_id, created_at)",
    """
    CREATE TABLE batch_lines (
        batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        place integer NOT NULL,
        custom_id text NOT NULL,
        body jsonb NOT NULL,
        response jsonb,
        error jsonb,
        PRIMARY KEY (batch_id, place)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
