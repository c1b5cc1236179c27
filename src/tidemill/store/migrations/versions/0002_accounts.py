"""People, teams and departments, sessions, the audit log, and what API keys gain by them."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    CREATE TABLE departments (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX departments_by_name ON departments (lower(name))",
    """
    CREATE TABLE teams (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        department_id uuid REFERENCES departments (id),
        created_at timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX teams_by_name ON teams (lower(name))",
    """
    CREATE TABLE users (
        id uuid PRIMARY KEY,
        email text,
        name text,
        role text NOT NULL CHECK (role IN ('viewer', 'member', 'maintainer', 'admin')),
        access_level text NOT NULL CHECK (access_level IN ('public', 'internal', 'confidential', 'secret')),
        department_id uuid REFERENCES departments (id),
        password_hash text,
        oidc_issuer text,
        oidc_subject text,
        created_at timestamptz NOT NULL,
        disabled_at timestamptz,
        erased_at timestamptz,
        CHECK (erased_at IS NOT NULL OR (email IS NOT NULL AND name IS NOT NULL)),
        CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL))
    )
    """,
    "CREATE UNIQUE INDEX users_by_email ON users (lower(email))",
    "CREATE UNIQUE INDEX users_by_oidc ON users (oidc_issuer, oidc_subject)",
    """
    CREATE TABLE team_members (
        team_id uuid NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        PRIMARY KEY (team_id, user_id)
    )
    """,
    "CREATE INDEX team_members_by_user ON team_members (user_id)",
    """
    CREATE TABLE sessions (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        token_hash bytea NOT NULL UNIQUE,
        created_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        ended_at timestamptz
    )
    """,
    "CREATE INDEX sessions_by_user ON sessions (user_id)",
    """
    CREATE TABLE sign_in_failures (
        attempt uuid NOT NULL,
        subject bytea NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (attempt, subject)
    )
    """,
    "CREATE INDEX sign_in_failures_by_subject ON sign_in_failures (subject, at)",
    "CREATE INDEX sign_in_failures_by_time ON sign_in_failures (at)",
    """
    CREATE TABLE audit_log (
        seq bigint PRIMARY KEY,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        actor_id uuid,
        key_id uuid,
        action text NOT NULL,
        target text NOT NULL,
        target_id text,
        details json NOT NULL,
        hash bytea NOT NULL
    )
    """,
    "CREATE INDEX audit_log_by_time ON audit_log (at)",
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is only ever added to'; END $$
    """,
    """
    CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
    "ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check",
    "ALTER TABLE api_keys ADD CHECK (role IN ('viewer', 'member', 'maintainer', 'admin'))",
    "ALTER TABLE api_keys ADD COLUMN owner_id uuid REFERENCES users (id)",
    "ALTER TABLE api_keys ADD COLUMN scopes text[]",
    "ALTER TABLE api_keys ADD COLUMN expires_at timestamptz",
    "ALTER TABLE api_keys ADD COLUMN replaced_by uuid REFERENCES api_keys (id)",
    "ALTER TABLE api_keys ADD COLUMN origin_id uuid",
    "CREATE INDEX api_keys_by_owner ON api_keys (owner_id) WHERE owner_id IS NOT NULL",
    "ALTER TABLE reviews ADD COLUMN owner_id uuid",
    "UPDATE reviews SET owner_id = key_id",
    "CREATE INDEX reviews_by_owner ON reviews (owner_id, created_at DESC)",
    "ALTER TABLE inferences ADD COLUMN owner_id uuid",
    "UPDATE inferences SET owner_id = key_id",
    "CREATE INDEX inferences_by_owner ON inferences (owner_id, created_at DESC)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
