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
        level text NOT NULL CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        priority smallint NOT NULL,
        endpoint text NOT NULL,
        state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        request json NOT NULL,
        result json,
        error json,
        callback_url text,
        callback_state text CHECK (callback_state IN ('waiting', 'delivered', 'failed')),
        callback_attempts integer NOT NULL DEFAULT 0,
        callback_due_at timestamptz,
        callback_delivery_id uuid,
        callback_error text,
        request_id text,
        trace_id text NOT NULL,
        cache text NOT NULL DEFAULT 'allowed' CHECK (cache IN ('allowed', 'no-cache', 'no-store')),
        language text NOT NULL DEFAULT 'en',
        max_cost_usd double precision,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        tries integer NOT NULL DEFAULT 0,
        failing_since timestamptz,
        due_at timestamptz,
        ended_at timestamptz,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX generation_jobs_by_owner ON generation_jobs (owner_id, id)",
    "CREATE INDEX generation_jobs_by_expiry ON generation_jobs (expires_at)",
    "CREATE INDEX generation_jobs_unfinished ON generation_jobs (id) WHERE state IN ('queued', 'running')",
    "CREATE INDEX generation_jobs_callbacks ON generation_jobs (callback_due_at) WHERE callback_due_at IS NOT NULL",
    """
    CREATE TABLE batches (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        key_id uuid,
        user_id uuid,
        level text NOT NULL CHECK (level IN ('public', 'internal', 'confidential', 'secret')),
        endpoint text NOT NULL,
        state text NOT NULL CHECK (state IN ('validating', 'in_progress', 'finalizing', 'completed', 'failed',
            'expired', 'cancelling', 'cancelled')),
        ends_as text CHECK (ends_as IN ('completed', 'failed', 'expired', 'cancelled')),
        input_file_id uuid NOT NULL,
        output_file_id uuid,
        error_file_id uuid,
        output_seconds integer,
        errors json,
        metadata json,
        request_id text,
        trace_id text NOT NULL,
        cache text NOT NULL DEFAULT 'allowed' CHECK (cache IN ('allowed', 'no-cache', 'no-store')),
        language text NOT NULL DEFAULT 'en',
        max_cost_usd double precision,
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
    "CREATE INDEX batches_by_owner ON batches (owner_id, id)",
    "CREATE INDEX batches_unfinished ON batches (id) WHERE ended_at IS NULL",
    """
    CREATE TABLE batch_lines (
        batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
        place integer NOT NULL,
        custom_id text NOT NULL,
        body json NOT NULL,
        good boolean,
        response json,
        error json,
        PRIMARY KEY (batch_id, place)
    )
    """,
    "CREATE INDEX batch_lines_open ON batch_lines (batch_id, place) WHERE good IS NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
