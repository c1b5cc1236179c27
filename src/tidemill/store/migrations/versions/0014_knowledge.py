"""Sources, their documents, chunks, vectors and lexical index; syncs; answers with their citations."""

from alembic import op

revision = "0014"
down_revision = "0013"

LEVELS = "('public', 'internal', 'confidential', 'secret')"

STATEMENTS = (
    f"""
    CREATE TABLE sources (
        id uuid PRIMARY KEY,
        name text NOT NULL UNIQUE,
        kind text NOT NULL,
        location text NOT NULL,
        owner_id uuid,
        level text NOT NULL CHECK (level IN {LEVELS}),
        departments uuid[] NOT NULL DEFAULT '{{}}',
        strategy text NOT NULL,
        options json NOT NULL,
        sync_every integer CHECK (sync_every > 0),
        created_at timestamptz NOT NULL,
        synced_at timestamptz
    )
    """,
    # Who may see a passage hangs on its scope. Chunks and postings carry the scope's number, so a search narrows to
    # the caller may see before it counts anything, and a change of a source's access changes few rows. `text_rank` is
    # what the rules found in the texts themselves; `level_rank` the higher of that and the source's.
    """
    CREATE TABLE scopes (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        text_rank smallint NOT NULL DEFAULT 0 CHECK (text_rank BETWEEN 0 AND 3),
        level_rank smallint NOT NULL CHECK (level_rank BETWEEN text_rank AND 3),
        departments uuid[] NOT NULL DEFAULT '{}',
        UNIQUE (source_id, text_rank)
    )
    """,
    """
    CREATE TABLE source_syncs (
        id uuid PRIMARY KEY,
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        state text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        requested_by uuid,
        counts json NOT NULL,
        error text,
        again boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL,
        started_at timestamptz,
        finished_at timestamptz
    )
    """,
    "CREATE INDEX source_syncs_by_source ON source_syncs (source_id, created_at DESC)",
    "CREATE UNIQUE INDEX source_syncs_one_at_a_time ON source_syncs (source_id) WHERE state IN ('queued', 'running')",
    """
    CREATE TABLE document_texts (
        digest text PRIMARY KEY,
        text text NOT NULL
    )
    """,
    """
    CREATE TABLE documents (
        id uuid PRIMARY KEY,
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        scope_id integer NOT NULL REFERENCES scopes ON DELETE CASCADE,
        path text NOT NULL,
        raw_digest text NOT NULL,
        raw_bytes bigint NOT NULL,
        text_digest text NOT NULL REFERENCES document_texts,
        media_type text,
        title text NOT NULL,
        url text,
        kind text NOT NULL,
        platform text,
        author text,
        language text,
        licence text,
        etag text,
        published_at timestamptz,
        modified_at timestamptz,
        metadata json NOT NULL,
        signature bytea,
        duplicate_of uuid REFERENCES documents ON DELETE SET NULL,
        similarity real,
        chunked_by text NOT NULL,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        UNIQUE (source_id, path)
    )
    """,
    "CREATE INDEX documents_by_scope ON documents (scope_id)",
    "CREATE INDEX documents_by_original ON documents (duplicate_of) WHERE duplicate_of IS NOT NULL",
    # Bands of the MinHash signatures: near duplicates nearly always share one.
    """
    CREATE TABLE document_bands (
        band bigint NOT NULL,
        document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
        PRIMARY KEY (band, document_id)
    )
    """,
    "CREATE INDEX document_bands_by_document ON document_bands (document_id)",
    # What people uploaded; the sync of their source reads it, as it reads the files of a folder.
    """
    CREATE TABLE source_uploads (
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        path text NOT NULL,
        digest text NOT NULL,
        bytes bigint NOT NULL,
        owner_id uuid,
        uploaded_at timestamptz NOT NULL,
        PRIMARY KEY (source_id, path)
    )
    """,
    "CREATE INDEX source_uploads_by_digest ON source_uploads (digest)",
    "CREATE INDEX documents_by_text ON documents (text_digest)",
    "CREATE INDEX documents_by_raw ON documents (raw_digest)",
    """
    CREATE TABLE document_versions (
        document_id uuid NOT NULL,
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        path text NOT NULL,
        raw_digest text NOT NULL,
        fetched_at timestamptz NOT NULL,
        ended_at timestamptz,
        PRIMARY KEY (document_id, fetched_at)
    )
    """,
    "CREATE INDEX document_versions_by_source ON document_versions (source_id)",
    "CREATE INDEX document_versions_by_raw ON document_versions (raw_digest)",
    """
    CREATE TABLE document_failures (
        source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
        path text NOT NULL,
        sync_id uuid NOT NULL,
        code text NOT NULL,
        reason text NOT NULL,
        digest text,
        etag text,
        tried_by text,
        at timestamptz NOT NULL,
        PRIMARY KEY (source_id, path)
    )
    """,
    """
    CREATE TABLE chunks (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
        scope_id integer NOT NULL REFERENCES scopes ON DELETE CASCADE,
        ordinal integer NOT NULL,
        span_start integer NOT NULL,
        span_end integer NOT NULL,
        page integer,
        heading text NOT NULL,
        text text NOT NULL,
        hash text NOT NULL,
        tokens integer NOT NULL,
        terms integer NOT NULL,
        UNIQUE (document_id, ordinal) DEFERRABLE
    )
    """,
    "CREATE INDEX chunks_by_scope ON chunks (scope_id)",
    "CREATE INDEX chunks_by_hash ON chunks (hash)",
    # How many chunks and terms each scope has: what BM25 needs of all that a caller may see, without reading it.
    """
    CREATE TABLE scope_sizes (
        scope_id integer PRIMARY KEY REFERENCES scopes ON DELETE CASCADE,
        chunks bigint NOT NULL,
        terms bigint NOT NULL
    )
    """,
    # It takes the postings of chunks that are gone along, too: a foreign key would check each of a hundred for a chunk.
    """
    CREATE FUNCTION count_chunks() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO scope_sizes (scope_id, chunks, terms)
        SELECT scope_id, sign * count(*), sign * sum(changed.terms)
        FROM changed
        JOIN scopes ON scopes.id = scope_id
        CROSS JOIN (SELECT CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END AS sign) AS one
        GROUP BY scope_id, sign ORDER BY scope_id
        ON CONFLICT (scope_id) DO UPDATE
        SET chunks = scope_sizes.chunks + excluded.chunks, terms = scope_sizes.terms + excluded.terms;
        IF TG_OP = 'DELETE' THEN
            DELETE FROM postings USING changed WHERE postings.chunk_id = changed.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER count_new_chunks AFTER INSERT ON chunks REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_chunks()
    """,
    """
    CREATE TRIGGER count_gone_chunks AFTER DELETE ON chunks REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_chunks()
    """,
    # An embedding model whose vectors are being made stands beside the one that is searched, until it has them all.
    """
    CREATE TABLE embedding_spaces (
        id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        model text NOT NULL,
        version text NOT NULL,
        dimensions integer NOT NULL,
        state text NOT NULL CHECK (state IN ('building', 'current')),
        created_at timestamptz NOT NULL,
        UNIQUE (model, version)
    )
    """,
    "CREATE UNIQUE INDEX embedding_spaces_current ON embedding_spaces (state) WHERE state = 'current'",
    """
    CREATE TABLE chunk_vectors (
        space_id smallint NOT NULL REFERENCES embedding_spaces ON DELETE CASCADE,
        chunk_id bigint NOT NULL REFERENCES chunks ON DELETE CASCADE,
        scope_id integer NOT NULL,
        vector vector NOT NULL,
        PRIMARY KEY (space_id, chunk_id)
    )
    """,
    "CREATE INDEX chunk_vectors_by_scope ON chunk_vectors (space_id, scope_id)",
    # Change data capture: written in the transaction that changes chunks, consumed by whatever embeds them.
    """
    CREATE TABLE chunks_to_embed (
        chunk_id bigint NOT NULL REFERENCES chunks ON DELETE CASCADE,
        space_id smallint NOT NULL REFERENCES embedding_spaces ON DELETE CASCADE,
        PRIMARY KEY (space_id, chunk_id)
    )
    """,
    """
    CREATE TABLE terms (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        term text NOT NULL UNIQUE,
        plain text
    )
    """,
    # `plain` is the term without its diacritics, where it has any: what people type who leave them out.
    "CREATE INDEX terms_by_plain ON terms (plain) WHERE plain IS NOT NULL",
    """
    CREATE TABLE postings (
        term_id integer NOT NULL,
        scope_id integer NOT NULL,
        chunk_id bigint NOT NULL,
        frequency smallint NOT NULL,
        length integer NOT NULL,
        PRIMARY KEY (term_id, scope_id, chunk_id) INCLUDE (frequency, length)
    )
    """,
    "CREATE INDEX postings_by_chunk ON postings (chunk_id)",
    f"""
    CREATE TABLE answers (
        id uuid PRIMARY KEY,
        owner_id uuid NOT NULL,
        conversation_id uuid REFERENCES conversations (id) ON DELETE CASCADE,
        inference_id uuid,
        question text NOT NULL,
        answer text NOT NULL,
        status text NOT NULL CHECK (status IN ('success', 'partial_success', 'minimal_success', 'failed')),
        language text NOT NULL,
        confidence real,
        citations json NOT NULL,
        metadata json NOT NULL,
        level text NOT NULL CHECK (level IN {LEVELS}),
        created_at timestamptz NOT NULL,
        expires_at timestamptz
    )
    """,
    "CREATE INDEX answers_by_owner ON answers (owner_id, created_at DESC)",
    "CREATE INDEX answers_by_conversation ON answers (conversation_id) WHERE conversation_id IS NOT NULL",
    "CREATE INDEX answers_by_expiry ON answers (expires_at) WHERE expires_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
