-- Who people are, what they may do, how often, and what they have changed.

CREATE TABLE account (
    id           text COLLATE "C" PRIMARY KEY,
    email        text NOT NULL,          -- as it was typed
    email_key    text NOT NULL,          -- as it is compared
    name         text NOT NULL,
    password     text,                   -- argon2id in the form of PHC; NULL: single sign-on only
    operator     boolean NOT NULL DEFAULT false, -- runs the service
    created_at   timestamptz NOT NULL DEFAULT now(),
    verified_at  timestamptz,            -- the address has been shown to be theirs
    suspended_at timestamptz,
    erased_at    timestamptz
);
-- Until it is verified anyone may claim an address, so that registering tells nobody
-- who has an account.
CREATE UNIQUE INDEX account_email ON account (email_key) WHERE verified_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX account_claims ON account (email_key, id);

-- Who an issuer of single sign-on says that someone is.
CREATE TABLE account_identity (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    account_id text COLLATE "C" NOT NULL REFERENCES account (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX account_identity_account ON account_identity (account_id);

-- What a mailed link proves, once.
CREATE TABLE account_token (
    hash       bytea PRIMARY KEY, -- SHA-256 of the token
    account_id text COLLATE "C" NOT NULL REFERENCES account (id),
    purpose    text NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX account_token_account ON account_token (account_id);
CREATE INDEX account_token_expiry ON account_token (expires_at);

-- A sign-in. Its refresh tokens are numbered: only the latest one is good, and an
-- earlier one that comes again was stolen, or its thief has been before.
CREATE TABLE session (
    id           text COLLATE "C" PRIMARY KEY,
    account_id   text COLLATE "C" NOT NULL REFERENCES account (id),
    method       text NOT NULL CHECK (method IN ('password', 'oidc')),
    refresh      int NOT NULL DEFAULT 1,
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    ended_reason text, -- 'logout', 'revoked', 'reuse', 'password', 'suspended', 'erased'
    ip           text NOT NULL,
    user_agent   text NOT NULL
);
CREATE INDEX session_account ON session (account_id, id);
CREATE INDEX session_expiry ON session (expires_at);

ALTER TABLE org
    ADD COLUMN suspended_at timestamptz,
    ADD COLUMN deleted_at   timestamptz,
    ADD COLUMN rate_limit   int CHECK (rate_limit >= 0); -- generations an hour in place of the plan's; 0: any number

CREATE TABLE membership (
    org_id     text COLLATE "C" NOT NULL REFERENCES org (id),
    account_id text COLLATE "C" NOT NULL REFERENCES account (id),
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'billing', 'read_only')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, account_id)
);
CREATE INDEX membership_account ON membership (account_id, org_id);

CREATE TABLE invitation (
    id          text COLLATE "C" PRIMARY KEY,
    org_id      text COLLATE "C" NOT NULL REFERENCES org (id),
    email       text NOT NULL,
    email_key   text NOT NULL,
    role        text NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'billing', 'read_only')),
    hash        bytea NOT NULL UNIQUE, -- SHA-256 of the token that was mailed
    invited_by  text COLLATE "C" NOT NULL, -- an account or a key
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    revoked_at  timestamptz
);
CREATE UNIQUE INDEX invitation_open ON invitation (org_id, email_key) WHERE accepted_at IS NULL AND revoked_at IS NULL;

ALTER TABLE project
    ADD COLUMN slug           text,   -- NULL: made before there were any
    ADD COLUMN retention_days int CHECK (retention_days > 0), -- NULL: the organization's
    ADD COLUMN webhook_url    text,   -- for generations that name none
    ADD COLUMN webhook_events text[],
    ADD COLUMN rate_limit     int CHECK (rate_limit > 0),     -- generations an hour; NULL: the organization's alone
    ADD COLUMN archived_at    timestamptz;
CREATE UNIQUE INDEX project_slug ON project (org_id, slug) WHERE archived_at IS NULL;

ALTER TABLE api_key
    ALTER COLUMN project_id DROP NOT NULL,
    DROP CONSTRAINT api_key_kind_check,
    ADD CONSTRAINT api_key_kind_check CHECK (kind IN ('live', 'test', 'master')),
    ADD CONSTRAINT api_key_project_check CHECK ((kind = 'master') = (project_id IS NULL)),
    ADD COLUMN scopes        text[] NOT NULL DEFAULT '{*}',
    ADD COLUMN ip_allowlist  text[],  -- addresses and CIDR ranges; NULL: any
    ADD COLUMN monthly_limit int CHECK (monthly_limit > 0), -- generations a calendar month (UTC)
    ADD COLUMN rate_limit    int CHECK (rate_limit > 0),    -- generations an hour
    ADD COLUMN operator      boolean NOT NULL DEFAULT false, -- a master key that administers the service
    ADD COLUMN created_by    text COLLATE "C", -- an account or a key; NULL: the command line
    ADD COLUMN replaced_by   text COLLATE "C", -- by rotation
    ADD COLUMN last_used_at  timestamptz, -- to the minute
    ADD COLUMN warned_at     timestamptz; -- that it will expire
CREATE INDEX api_key_org ON api_key (org_id, id);
CREATE INDEX api_key_expiry ON api_key (expires_at) WHERE revoked_at IS NULL AND warned_at IS NULL;

-- Generations that keys with a monthly limit have asked for.
CREATE TABLE api_key_usage (
    api_key_id text COLLATE "C" NOT NULL,
    month      date NOT NULL,
    used       int NOT NULL,
    granted    int NOT NULL, -- of these, by the latest submission
    PRIMARY KEY (api_key_id, month)
) WITH (fillfactor = 50);

-- Every administrative change, written with it.
CREATE TABLE audit_entry (
    id          text COLLATE "C" PRIMARY KEY,
    org_id      text COLLATE "C", -- NULL: of the service
    project_id  text COLLATE "C",
    at          timestamptz NOT NULL DEFAULT now(),
    actor_kind  text NOT NULL CHECK (actor_kind IN ('account', 'key', 'token', 'command', 'service')),
    actor_id    text NOT NULL,
    ip          text NOT NULL,
    user_agent  text NOT NULL,
    request_id  text NOT NULL,
    action      text NOT NULL, -- 'key.create', 'membership.update'
    target_kind text NOT NULL,
    target_id   text NOT NULL,
    before      jsonb,
    after       jsonb
);
CREATE INDEX audit_entry_org ON audit_entry (org_id, id);
CREATE INDEX audit_entry_actor ON audit_entry (actor_id, id);

CREATE FUNCTION audit_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_append_only();

-- Mail on its way. What a link proves is sealed, and forgotten once it is sent.
CREATE TABLE mail (
    id         text COLLATE "C" PRIMARY KEY,
    kind       text NOT NULL,
    recipient  text NOT NULL,
    account_id text COLLATE "C", -- whom it is to, if they have an account
    org_id     text COLLATE "C", -- what it is about
    data       jsonb NOT NULL,
    sealed     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz,
    failed_at  timestamptz, -- given up
    tries      int NOT NULL DEFAULT 0,
    error      text
);
CREATE INDEX mail_age ON mail (created_at);

-- The generic cell rate algorithm (ITU-T I.371): when a bucket is empty again. What a
-- crash forgets is a fresh start.
CREATE UNLOGGED TABLE rate_limit (
    bucket text COLLATE "C" PRIMARY KEY,
    empty_at timestamptz NOT NULL -- the theoretical arrival time
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
