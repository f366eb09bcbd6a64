-- Who people are, what they may do, how often, and what they have changed.

-- All that is altered below, in the order in which programs lock it: a row's children
-- first. Taken one by one as they are altered, they would meet the programs' half way.
LOCK TABLE api_key, project, org IN ACCESS EXCLUSIVE MODE;

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
CREATE INDEX account_claims ON account (email_key text_pattern_ops, id); -- also by the beginning of an address

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
    ADD COLUMN erased_at    timestamptz, -- nothing was found any more that it had entered
    ADD COLUMN rate_limit   int CHECK (rate_limit >= 0); -- generations an hour in place of the plan's; 0: any number
CREATE INDEX org_unerased ON org (id) WHERE deleted_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX org_name ON org (lower(name) text_pattern_ops, id);

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
CREATE INDEX invitation_org ON invitation (org_id, id);
CREATE INDEX invitation_email ON invitation (email_key);
CREATE INDEX invitation_inviter ON invitation (invited_by);

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
    ADD COLUMN usage_id      text COLLATE "C", -- the first key of the rotations that led to it, under which they are counted together; NULL: itself
    ADD COLUMN last_used_at  timestamptz, -- to the minute
    ADD COLUMN warned_at     timestamptz; -- that it will expire
CREATE INDEX api_key_org ON api_key (org_id, id);
CREATE INDEX api_key_expiry ON api_key (expires_at) WHERE revoked_at IS NULL AND warned_at IS NULL;

-- Test keys see their own generations, however few of a project's those are.
CREATE INDEX generation_test ON generation (project_id, id) WHERE test;

-- Generations that keys with a monthly limit have asked for, those of a key and of
-- what rotation made of it together.
CREATE TABLE api_key_usage (
    usage_id text COLLATE "C" NOT NULL,
    month    date NOT NULL,
    used     int NOT NULL,
    granted  int NOT NULL, -- of these, by the latest submission
    PRIMARY KEY (usage_id, month)
) WITH (fillfactor = 50);

-- Every administrative change, written with it.
CREATE TABLE audit_entry (
    id          text COLLATE "C" PRIMARY KEY,
    sequence    bigint NOT NULL UNIQUE,   -- its place in the log
    org_id      text COLLATE "C", -- NULL: of the service
    project_id  text COLLATE "C",
    at          timestamptz NOT NULL DEFAULT now(),
    actor_kind  text NOT NULL CHECK (actor_kind IN ('account', 'key', 'token', 'command', 'service')),
    actor_id    text NOT NULL,
    operator    boolean NOT NULL DEFAULT false, -- made by who runs the service, whom organizations do not see
    ip          text NOT NULL,
    user_agent  text NOT NULL,
    request_id  text NOT NULL,
    action      text NOT NULL, -- 'key.create', 'membership.update'
    target_kind text NOT NULL,
    target_id   text NOT NULL,
    before      jsonb,
    after       jsonb
);
CREATE INDEX audit_entry_org ON audit_entry (org_id, sequence);
CREATE INDEX audit_entry_actor ON audit_entry (actor_id, id);
CREATE INDEX audit_entry_target ON audit_entry (target_id, id);

-- Who follows the log from one entry to the next misses one that was begun earlier
-- and is committed later. So each writer holds, to its end, a shared lock whose key
-- is the last place that was taken before its own, and nobody is shown what comes
-- behind the least such key. Writers do not wait for each other.
CREATE SEQUENCE audit_entry_sequence;

CREATE FUNCTION audit_entry_place() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken bigint;
BEGIN
    SELECT last_value INTO taken FROM audit_entry_sequence;
    PERFORM pg_advisory_xact_lock_shared(x'6175640000000000'::bigint + taken); -- "aud", and 40 bits for the place
    NEW.sequence := nextval('audit_entry_sequence');
    RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_placed BEFORE INSERT ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_entry_place();

-- The place up to which no entry is missing from what a later statement sees. The
-- last place is read before the locks: who takes a lock after that gets a later one.
CREATE FUNCTION audit_entry_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    held bigint;
BEGIN
    SELECT last_value INTO last FROM audit_entry_sequence;
    SELECT min(place) INTO held
    FROM pg_locks, LATERAL (SELECT (classid::bigint << 32 | objid::bigint) - x'6175640000000000'::bigint AS place) AS key
    WHERE locktype = 'advisory' AND objsubid = 1 AND place BETWEEN 0 AND x'ffffffffff'::bigint
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(last, held);
END $$;

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
    expires_at timestamptz, -- when its link does; NULL: it has none that does
    sent_at    timestamptz,
    failed_at  timestamptz, -- given up
    tries      int NOT NULL DEFAULT 0, -- each claims it anew
    claimed_until timestamptz,         -- until then only the try that claimed it may send it
    error      text
);
CREATE INDEX mail_age ON mail (created_at);
-- What is erased with a person or an organization.
CREATE INDEX mail_account ON mail (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX mail_recipient ON mail (recipient);
CREATE INDEX mail_org ON mail (org_id) WHERE org_id IS NOT NULL;
CREATE INDEX mail_inviter ON mail ((data ->> 'inviter_id')) WHERE kind = 'invitation';
CREATE INDEX mail_waiting ON mail (created_at) WHERE sent_at IS NULL AND failed_at IS NULL;

-- The generic cell rate algorithm (ITU-T I.371): when a bucket is empty again. What a
-- crash forgets is a fresh start.
CREATE UNLOGGED TABLE rate_limit (
    bucket   text COLLATE "C" PRIMARY KEY,
    empty_at bigint NOT NULL -- the theoretical arrival time, in microseconds since 1970
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- Takes from buckets, one take after the other: from all of its buckets, or from none
-- if one of them is too full. buckets are all that occur, each once and in order, so
-- that two transactions wait for each other in one direction only. A line is one
-- bucket of a group of equal takes: which group (ascending), how many takes (counts),
-- which bucket (its place), and in microseconds the period and what each take costs.
-- Returns how full each line's bucket was before its group.
CREATE FUNCTION take_rate_limits(buckets text[], groups int[], counts int[], places int[], periods bigint[], costs bigint[])
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    was    bigint[];
    empty  bigint[];
    filled bigint[];
    moment bigint;
    passes bigint;
    first  int := 1;
    next   int;
BEGIN
    -- Locks every bucket and makes those that are missing, but changes none.
    INSERT INTO rate_limit AS r (bucket, empty_at)
    SELECT b.bucket, 0 FROM unnest(buckets) WITH ORDINALITY AS b (bucket, place)
    ORDER BY b.place
    ON CONFLICT (bucket) DO UPDATE SET empty_at = r.empty_at WHERE false;
    SELECT array_agg((SELECT r.empty_at FROM rate_limit AS r WHERE r.bucket = b.bucket) ORDER BY b.place) INTO was
    FROM unnest(buckets) WITH ORDINALITY AS b (bucket, place);
    empty := was;
    moment := extract(epoch FROM clock_timestamp()) * 1000000; -- it may have waited
    WHILE first <= cardinality(groups) LOOP
        passes := counts[first];
        next := first;
        WHILE groups[next] = groups[first] LOOP -- NULL past the end
            -- Fuller than full it is if its period, or the clock, has been changed.
            empty[places[next]] := least(empty[places[next]], moment + periods[next]);
            filled[next] := greatest(0, empty[places[next]] - moment);
            passes := least(passes, (periods[next] - filled[next]) / costs[next]);
            next := next + 1;
        END LOOP;
        IF passes > 0 THEN
            FOR line IN first .. next - 1 LOOP
                empty[places[line]] := moment + filled[line] + passes * costs[line];
            END LOOP;
        END IF;
        first := next;
    END LOOP;
    FOR place IN 1 .. cardinality(buckets) LOOP
        IF empty[place] <> was[place] THEN
            UPDATE rate_limit SET empty_at = empty[place] WHERE bucket = buckets[place];
        END IF;
    END LOOP;
    RETURN filled;
END $$;
-- One plan does for any number of buckets: making one for each call costs more.
ALTER FUNCTION take_rate_limits SET plan_cache_mode = force_generic_plan;
