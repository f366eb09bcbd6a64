-- How customers learn what has happened.

ALTER TABLE generation
    ADD COLUMN webhook_url    text,   -- is told of this generation alone
    ADD COLUMN webhook_events text[]; -- and of what: types of events, or patterns of them

-- Numbers an organization's events in the order of their commits: the row stays
-- locked until then. Whoever has read number n will never meet a lower one that
-- was not there before.
CREATE TABLE event_sequence (
    org_id text COLLATE "C" PRIMARY KEY,
    last   bigint NOT NULL
) WITH (fillfactor = 50);

-- Written in the transaction that makes it true, and never changed. The id of a
-- generation's event is derived from the generation's: there is one for each change.
CREATE TABLE event (
    id         text COLLATE "C" PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL, -- of the organization's events
    type       text NOT NULL,
    test       boolean NOT NULL, -- of what was asked with a test key
    created_at timestamptz NOT NULL,
    data       jsonb -- what the rows do not tell
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX event_project ON event (project_id, test, sequence);
CREATE INDEX event_age ON event (created_at);

CREATE TABLE webhook_endpoint (
    id              text COLLATE "C" PRIMARY KEY,
    org_id          text COLLATE "C" NOT NULL REFERENCES org (id),
    project_id      text COLLATE "C" REFERENCES project (id), -- NULL: all of the organization's
    test            boolean NOT NULL, -- is told of what test keys ask, or of what live keys do
    url             text NOT NULL,
    events          text[] NOT NULL, -- types, or patterns of them: '*', 'generation.*'
    description     text NOT NULL,
    api_version     text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    disabled_at     timestamptz,
    disabled_reason text CHECK (disabled_reason IN ('asked', 'gone', 'failing')),
    failing_since   timestamptz, -- the first failed attempt since the last that succeeded
    failed_at       timestamptz, -- the last failed attempt, to the hour
    deleted_at      timestamptz,
    revision        int NOT NULL DEFAULT 1 -- grows when it is changed so that earlier attempts say nothing about it
);
CREATE INDEX webhook_endpoint_project ON webhook_endpoint (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX webhook_endpoint_org ON webhook_endpoint (org_id) WHERE project_id IS NULL AND deleted_at IS NULL;

-- What deliveries are signed with: all that have not expired.
CREATE TABLE webhook_secret (
    owner      text COLLATE "C" NOT NULL, -- an endpoint, or a project and mode for webhook_url
    n          int NOT NULL,              -- 1 is the owner's first
    org_id     text COLLATE "C" NOT NULL,
    sealed     bytea NOT NULL,            -- encrypted
    last4      text NOT NULL,             -- tells its owner which one it is
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,               -- NULL: the present one
    PRIMARY KEY (owner, n)
);

-- An event on its way to an endpoint. A pending one has a ticket, which asks a
-- worker to attempt it, or waits with due_at until the watch makes one. Most are
-- delivered by the worker that made the event, without ever waiting: no index holds
-- what changes then, so that it stays a HOT update.
CREATE TABLE webhook_delivery (
    endpoint_id     text COLLATE "C" NOT NULL, -- 'request': the generation's webhook_url
    event_id        text COLLATE "C" NOT NULL,
    org_id          text COLLATE "C" NOT NULL,
    project_id      text COLLATE "C" NOT NULL,
    state           text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'held')), -- held: kept for a replay
    tries           int NOT NULL DEFAULT 0, -- attempts since it was last queued: its place in the schedule
    attempts        int NOT NULL DEFAULT 0, -- of all time
    ticket          bigint,      -- the only one that may attempt it
    sender          text,        -- the worker that was to attempt it at once
    due_at          timestamptz, -- while it waits without a ticket: not before
    next_attempt_at timestamptz, -- while it is pending, for its owner
    created_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    log             jsonb,       -- the latest attempts
    PRIMARY KEY (endpoint_id, event_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, project_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_delivery_age ON webhook_delivery (created_at);
-- What a project's webhook_urls are told; the key finds that of all projects.
CREATE INDEX webhook_delivery_request ON webhook_delivery (project_id, event_id) WHERE endpoint_id = 'request';
