"""What the guardrails did, and fingerprints of stored texts that not everyone may see."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    """
    CREATE TABLE guardrail_events (
        id uuid PRIMARY KEY,
        inference_id uuid NOT NULL,
        owner_id uuid,
        task text NOT NULL,
        guardrail text NOT NULL,
        direction text NOT NULL CHECK (direction IN ('input', 'output')),
        action text NOT NULL CHECK (action IN ('flag', 'mask', 'refuse')),
        rules text[] NOT NULL,
        count integer NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX guardrail_events_by_time ON guardrail_events (created_at)",
    "CREATE INDEX guardrail_events_by_owner ON guardrail_events (owner_id)",
    "CREATE INDEX guardrail_events_by_inference ON guardrail_events (inference_id)",
    """
    CREATE TABLE text_fingerprints (
        hash bigint NOT NULL,
        level text NOT NULL,
        inference_id uuid NOT NULL,
        owner_id uuid,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (hash, inference_id)
    )
    """,
    "CREATE INDEX text_fingerprints_by_expiry ON text_fingerprints (expires_at)",
    "CREATE INDEX text_fingerprints_by_inference ON text_fingerprints (inference_id)",
    "ALTER TABLE inference_texts ADD COLUMN fingerprinted boolean NOT NULL DEFAULT false",
    """
    CREATE INDEX inference_texts_not_fingerprinted ON inference_texts (inference_id)
    WHERE NOT fingerprinted AND level IN ('confidential', 'secret')
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
