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
    """
    CREATE FUNCTION reserve_budgets(
        reservation uuid, wanted uuid[], starts date[], amount numeric, expiry timestamptz, spare integer
    ) RETURNS TABLE (
        id uuid, scope text, subject text, period text, limit_usd numeric, created_at timestamptz, period_start date,
        spent_usd numeric, reserved_usd numeric, fits boolean
    ) LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    BEGIN
        PERFORM set_config('synchronous_commit', 'on', true);
        PERFORM FROM budgets WHERE budgets.id = ANY (wanted) ORDER BY budgets.id FOR NO KEY UPDATE;
        RETURN QUERY
        WITH state AS (
            SELECT b.id, b.scope, b.subject, b.period, b.limit_usd, b.created_at, p.period_start,
                coalesce((SELECT s.spent_usd FROM budget_spending AS s
                    WHERE s.budget_id = b.id AND s.period_start = p.period_start), 0) AS spent_usd,
                coalesce((SELECT sum(r.amount_usd) FROM budget_reservations AS r
                    WHERE r.budget_id = b.id AND r.period_start = p.period_start), 0) AS reserved_usd
            FROM budgets AS b JOIN unnest(wanted, starts) AS p (budget_id, period_start) ON p.budget_id = b.id
        ), held AS (
            INSERT INTO budget_reservations (id, budget_id, period_start, amount_usd, expires_at)
            SELECT reservation, state.id, state.period_start, amount, expiry FROM state
            WHERE NOT EXISTS (
                SELECT FROM state AS s WHERE s.spent_usd + s.reserved_usd + amount > s.limit_usd
            )
        )
        SELECT state.*, state.spent_usd + state.reserved_usd + amount <= state.limit_usd FROM state
        WHERE state.spent_usd + state.reserved_usd + amount * spare > state.limit_usd ORDER BY state.id;
    END
    $$
    """,
    "CREATE INDEX budget_reservations_by_period ON budget_reservations (budget_id, period_start)",
    "CREATE INDEX budget_reservations_by_expiry ON budget_reservations (expires_at)",
    "CREATE INDEX rate_buckets_by_time ON rate_buckets (updated_at)",
    "UPDATE inferences SET user_id = owner_id WHERE owner_id IN (SELECT id FROM users)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
