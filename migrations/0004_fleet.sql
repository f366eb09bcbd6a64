-- Who works, what may run at the same time, and where paid calls may go.

CREATE TABLE worker (
    id          text COLLATE "C" PRIMARY KEY,
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now(), -- its heartbeat, each second
    slots       int NOT NULL,                 -- interactive generations it runs at the same time
    batch_slots int NOT NULL,                 -- the same for batches
    routes      jsonb NOT NULL DEFAULT '[]'   -- its provider routes as it sees them
) WITH (fillfactor = 50);

-- What an organization has under way in a queue. A submission beyond its cap is
-- held, without a ticket, until one of its own ends.
CREATE TABLE admission (
    org_id  text COLLATE "C" NOT NULL,
    queue   text NOT NULL CHECK (queue IN ('generate', 'batch')),
    running int NOT NULL DEFAULT 0, -- live generations with a ticket
    held    int NOT NULL DEFAULT 0, -- live generations that wait for one
    PRIMARY KEY (org_id, queue)
) WITH (fillfactor = 50);

ALTER TABLE generation
    ADD COLUMN queue   text NOT NULL DEFAULT 'generate' CHECK (queue IN ('generate', 'batch')),
    ADD COLUMN held_at timestamptz; -- since when it waits for its organization's turn, without a ticket

-- Finds what is live without indexing the state, which would make each change of
-- it a new entry in every index.
CREATE INDEX generation_live ON generation (org_id, queue, id) WHERE finished_at IS NULL;

INSERT INTO admission (org_id, queue, running)
SELECT org_id, queue, count(*) FROM generation WHERE finished_at IS NULL GROUP BY org_id, queue;

ALTER TABLE attempt ADD COLUMN provider text; -- of the route

-- What the fleet knows of its routes. No row: nothing is known against the route.
CREATE TABLE provider_route (
    name            text COLLATE "C" PRIMARY KEY,
    enabled         boolean NOT NULL DEFAULT true, -- false: drained by an operator
    cooldown_until  timestamptz, -- the upstream asked for a pause
    cooldown_reason text,
    open_until      timestamptz, -- the breaker is open; NULL: closed
    changed_at      timestamptz NOT NULL DEFAULT now(),
    changed_by      text
);
