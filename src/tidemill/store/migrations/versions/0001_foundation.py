"""API keys, inferences and reviews."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE installation (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    key_mark text NOT NULL
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('admin', 'member')),
    prefix text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE inferences (
    id uuid PRIMARY KEY,
    task text NOT NULL,
    variant text NOT NULL,
    model text NOT NULL,
    model_version text NOT NULL,
    adapter text,
    prompt_version text,
    config_hash text NOT NULL,
    request_hash text NOT NULL,
    key_id uuid REFERENCES api_keys (id),
    subject text,
    trace_id text NOT NULL,
    status text NOT NULL CHECK (status IN ('ok', 'error', 'cancelled')),
    finish_reason text,
    error_code text,
    streamed boolean NOT NULL,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    cached_tokens integer NOT NULL,
    cost_usd numeric(14, 8) NOT NULL,
    latency_ms real NOT NULL,
    first_token_ms real,
    cache_tier text,
    created_at timestamptz NOT NULL
);
CREATE INDEX inferences_by_time ON inferences (created_at);
CREATE INDEX inferences_by_request ON inferences (request_hash, config_hash) WHERE status = 'ok';
CREATE INDEX inferences_by_subject ON inferences (subject) WHERE subject IS NOT NULL;

CREATE TABLE inference_texts (
    inference_id uuid PRIMARY KEY REFERENCES inferences (id) ON DELETE CASCADE,
    request json NOT NULL,
    response json NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX inference_texts_by_expiry ON inference_texts (expires_at);

CREATE TABLE reviews (
    id uuid PRIMARY KEY,
    key_id uuid REFERENCES api_keys (id),
    state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    title text NOT NULL,
    base text,
    head text,
    change_digest text NOT NULL,
    with_model boolean NOT NULL,
    error text,
    result json,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    change_forgotten_at timestamptz
);
CREATE INDEX reviews_by_change ON reviews (change_digest);
CREATE INDEX reviews_by_time ON reviews (created_at DESC);

CREATE TABLE review_findings (
    review_id uuid NOT NULL REFERENCES reviews (id) ON DELETE CASCADE,
    fingerprint text NOT NULL,
    engine text NOT NULL,
    rule text NOT NULL,
    path text NOT NULL,
    line integer NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    message text NOT NULL,
    quote text NOT NULL,
    details json NOT NULL,
    PRIMARY KEY (review_id, fingerprint)
);

CREATE TABLE review_events (
    review_id uuid NOT NULL REFERENCES reviews (id) ON DELETE CASCADE,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    step text NOT NULL,
    kind text NOT NULL,
    data json NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (review_id, seq),
    UNIQUE (review_id, step)
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
