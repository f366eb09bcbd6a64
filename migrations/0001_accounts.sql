-- Who owns what. An org pays, a project separates its clients, a key acts for one project.

CREATE TABLE setting (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- Keys and signed URLs are derived from this unless NANOBANANA_SECRET overrides it.
INSERT INTO setting (name, value)
VALUES ('secret', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));

-- Ids sort by time as bytes, so every id column compares bytes.
CREATE TABLE org (
    id             text COLLATE "C" PRIMARY KEY,
    name           text NOT NULL,
    plan           text NOT NULL,
    retention_days int CHECK (retention_days > 0), -- NULL keeps images for good
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE project (
    id         text COLLATE "C" PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL REFERENCES org (id),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX project_org ON project (org_id, id);

CREATE TABLE api_key (
    id             text COLLATE "C" PRIMARY KEY,
    org_id         text COLLATE "C" NOT NULL REFERENCES org (id),
    project_id     text COLLATE "C" NOT NULL REFERENCES project (id),
    name           text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('live', 'test')),
    hash           bytea NOT NULL UNIQUE, -- HMAC-SHA256(pepper, key)
    pepper_version smallint NOT NULL,
    last4          text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    revoked_at     timestamptz
);
CREATE INDEX api_key_project ON api_key (project_id, id);
