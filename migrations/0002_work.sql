-- What is asked for and what came of it.

-- org_id and project_id carry no foreign key here and below: the authenticated
-- key has vouched for them, and a key-share lock per row would be paid on every
-- submission.
CREATE TABLE generation (
    id            text COLLATE "C" PRIMARY KEY,
    org_id        text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C" NOT NULL,
    api_key_id    text COLLATE "C" NOT NULL,
    kind          text NOT NULL,
    status        text NOT NULL CHECK (status IN
                      ('queued', 'processing', 'succeeded', 'failed', 'canceled', 'expired')),
    test          boolean NOT NULL, -- asked with a test key
    simulated     boolean NOT NULL, -- made by the simulator, whatever the key
    model         text NOT NULL,    -- as asked
    model_used    text NOT NULL,    -- ours, after aliases and retirements
    prompt        text NOT NULL,
    params        jsonb NOT NULL,
    n             smallint NOT NULL,
    metadata      jsonb,
    tags          jsonb,
    fence         int NOT NULL DEFAULT 0,      -- grows with each claim; a write names its own
    tries         int NOT NULL DEFAULT 0, -- runs that ended in a fault which counts
    attempts      int NOT NULL DEFAULT 0, -- paid calls begun
    worker        text,
    river_job_id  bigint, -- the ticket of the latest claim
    error         jsonb,
    image_errors  jsonb,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    finished_at   timestamptz,
    deadline_at   timestamptz NOT NULL, -- not begun by then: expired
    removed_at    timestamptz,
    purge_at      timestamptz -- when blobs without a row are to be looked for
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX generation_project ON generation (project_id, id);
CREATE INDEX generation_purge ON generation (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE attempt (
    generation_id text COLLATE "C" NOT NULL,
    n             int NOT NULL,
    org_id        text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C" NOT NULL,
    fence         int NOT NULL,
    image_index   smallint NOT NULL,
    route         text NOT NULL,
    model         text NOT NULL, -- upstream name
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    outcome       text, -- NULL while it runs; 'succeeded', 'ambiguous', 'canceled' or a kind of error
    code          text,
    prompt_tokens int,
    image_tokens  int,
    text_tokens   int,
    cost_micros   bigint, -- millionths of a US dollar
    request_id    text,
    PRIMARY KEY (generation_id, n)
) WITH (fillfactor = 80);

-- An image's id is its generation's with the index in the last bits, so that it
-- is known before the row exists and needs no index of its own.
CREATE TABLE image (
    id            text COLLATE "C" PRIMARY KEY,
    generation_id text COLLATE "C" NOT NULL,
    org_id        text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C" NOT NULL,
    idx           smallint NOT NULL,
    blob_key      text NOT NULL,
    media_type    text NOT NULL,
    bytes         bigint NOT NULL,
    width         int NOT NULL,
    height        int NOT NULL,
    sha256        bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz, -- NULL: kept for good
    deleted_at    timestamptz, -- by its owner
    purged_at     timestamptz  -- the blob is gone
);
CREATE INDEX image_expiry ON image (expires_at) WHERE purged_at IS NULL AND expires_at IS NOT NULL;

CREATE TABLE idempotency_key (
    project_id    text COLLATE "C" NOT NULL,
    test          boolean NOT NULL,
    route         text NOT NULL,
    key           text COLLATE "C" NOT NULL,
    org_id        text COLLATE "C" NOT NULL,
    fingerprint   bytea NOT NULL,
    generation_id text COLLATE "C" NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (project_id, test, route, key)
);
CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at);
