"""Budgets and what is spent and reserved of them; rate limits."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE budgets (
        id uuid PRIMARY KEY,
        scope text NOT NULL CHECK (scope IN ('all', 'key', 'user', 'team', 'task')),
        subject text NOT NULL DEFAULT '',
        period text NOT NULL CHECK (period IN ('day', 'month', 'total')),
        limit_usd numeric(14, 6) NOT NULL CHECK (limit_usd > 0),
        created_at timestamptz NOT NULL,
        UNIQUE (scope, subject, period)
    )
    """,
    """
    CREATE TABLE budget_spending (
        budget_id uuid NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
        period_start date NOT NULL,
        spent_usd numeric(18, 9) NOT NULL DEFAULT 0,
        PRIMARY KEY (budget_id, period_start)
    )
    """,
    """
    CREATE TABLE budget_reservations (
        id uuid NOT NULL,
        budget_id uuid NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
        period_start date NOT NULL,
        amount_usd numeric(18, 9) NOT NULL,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (id, budget_id)
    )
    """,
    """
    CREATE TABLE rate_limits (
        id uuid PRIMARY KEY,
        scope text NOT NULL CHECK (scope IN ('all', 'key', 'user')),
        subject text NOT NULL DEFAULT '',
        requests_per_minute integer CHECK (requests_per_minute > 0),
        tokens_per_minute integer CHECK (tokens_per_minute > 0),
        burst integer CHECK (burst > 0),
        created_at timestamptz NOT NULL,
        UNIQUE (scope, subject)
    )
    """,
    """
    CREATE UNLOGGED TABLE rate_buckets (
        subject text NOT NULL,
        kind text NOT NULL,
        level double precision NOT NULL,
        capacity double precision NOT NULL,
        rate double precision NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (subject, kind)
    )
    """,
    "CREATE INDEX budget_reservations_by_period ON budget_reservations (budget_id, period_start)",
    "CREATE INDEX budget_reservations_by_expiry ON budget_reservations (expires_at)",
    "CREATE INDEX rate_buckets_by_time ON rate_buckets (updated_at)",
    "UPDATE inferences SET user_id = owner_id WHERE owner_id IN (SELECT id FROM users)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
