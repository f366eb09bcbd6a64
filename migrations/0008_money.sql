-- What is sold, what is owed, and who used what.

-- What an organization can be on. It is data: a change holds from the next period on
-- for whoever is on the plan.
CREATE TABLE plan (
    name           text PRIMARY KEY,
    title          text NOT NULL,
    place          int NOT NULL,         -- in lists; the first is what whoever registers is on
    offered        boolean NOT NULL,     -- to customers
    price_micros   bigint NOT NULL,      -- a month, in millionths of a US dollar
    period         text NOT NULL CHECK (period IN ('month', 'day')),
    credits        int NOT NULL CHECK (credits >= 0), -- granted at the beginning of each period
    credit_micros  int NOT NULL CHECK (credit_micros >= 0), -- what a used credit costs, or is worth
    metered        boolean NOT NULL,     -- what is used beyond the granted is let in, and billed afterwards
    rate_limit     int NOT NULL,         -- generations an hour; 0: any number
    concurrency    int NOT NULL,         -- generations at the same time; 0: as many as the fleet runs
    retention_days int CHECK (retention_days > 0), -- NULL keeps images for good
    priority       smallint NOT NULL CHECK (priority BETWEEN 1 AND 4) -- 1 has the longest head start
);
INSERT INTO plan VALUES
    ('free',          'Free',          1, true,  0,        'month', 50,   0,     false, 10,   5,  30,   3),
    ('free_daily',    'Free, daily',   2, false, 0,        'day',   3,    0,     false, 10,   5,  30,   3),
    ('hobby',         'Hobby',         3, true,  9000000,  'month', 500,  18000, false, 100,  10, NULL, 2),
    ('pro',           'Pro',           4, true,  29000000, 'month', 2000, 14500, false, 500,  25, NULL, 1),
    ('pay_as_you_go', 'Pay as you go', 5, true,  0,        'month', 0,    20000, true,  1000, 50, NULL, 1),
    ('unlimited',     'Unlimited',     6, false, 0,        'month', 0,    0,     true,  0,    0,  30,   1);

-- When the organization's months begin; NULL: with the calendar's (UTC).
ALTER TABLE org ADD COLUMN period_anchor timestamptz;
-- Whose free credits it may have; NULL: nobody's.
ALTER TABLE org ADD COLUMN founder text COLLATE "C";
CREATE INDEX org_founder ON org (founder) WHERE founder IS NOT NULL;

-- What an organization may use in a period. Each of granted, reserved and used is the
-- sum of the entries'. Plans, prices and limits are those of the period: they are
-- copied, so that one row decides on a submission.
CREATE TABLE credit_account (
    org_id        text COLLATE "C" NOT NULL,
    period        timestamptz NOT NULL,  -- when it begins
    ends_at       timestamptz NOT NULL,
    plan          text NOT NULL,
    metered       boolean NOT NULL DEFAULT false,
    credit_micros int NOT NULL DEFAULT 0,
    granted       bigint NOT NULL DEFAULT 0,
    reserved      bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    used          bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    bought        bigint NOT NULL DEFAULT 0 CHECK (bought >= 0), -- of granted: what the next period gets as far as it is left
    given         bigint NOT NULL DEFAULT 0 CHECK (given >= 0), -- of granted: by operators, for whatever plan it is
    owed          bigint NOT NULL DEFAULT 0 CHECK (owed >= 0), -- what could not be taken back: it is not available, and later periods grant less
    closed        boolean NOT NULL DEFAULT false, -- a change of plan has ended it: the next one lets in instead
    withheld      boolean NOT NULL DEFAULT false, -- what the plan grants waits for its payment
    held          boolean NOT NULL DEFAULT false, -- metered, and not let in: the subscription is not paid
    reported      bigint NOT NULL DEFAULT 0 CHECK (reported >= 0), -- of used, what is in reports for Stripe: it takes nothing of granted
    budget_since  timestamptz,           -- when the first account begins that changes of plan have ended within the budget's period; NULL: none was
    spend_limit   bigint,                -- the budget: reserved and used, here and in these, reach it at most together; NULL: no limit
    warn_at       bigint,                -- used credits that someone wants to hear of next; NULL: nobody
    let_in        int NOT NULL DEFAULT 0, -- how many submissions the last statement let in, for itself to read
    subscription  text,                  -- that it was opened by, which pays for its use; NULL: none
    reported_at   timestamptz,           -- when the last report was written; NULL: never
    PRIMARY KEY (org_id, period),
    CHECK (ends_at > period),
    CHECK (metered OR granted >= used - reported + reserved)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- Of bought credits that may still have to be carried on.
CREATE INDEX credit_account_bought ON credit_account (ends_at) WHERE bought > 0;
-- Of those that something has to be taken from as it comes back.
CREATE INDEX credit_account_owed ON credit_account (org_id) WHERE owed > 0;
-- Those that are running. It has nothing that changes with use.
CREATE INDEX credit_account_ends ON credit_account (ends_at);

-- Why the accounts are what they are. What a row says is added to its account; rows
-- are never changed.
CREATE TABLE credit_entry (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    org_id     text COLLATE "C" NOT NULL,
    period     timestamptz NOT NULL,
    kind       text NOT NULL CHECK (kind IN
                   ('allowance', 'grant', 'purchase', 'adjust', 'carry', 'refund', 'reserve', 'settle', 'release')),
    granted    int NOT NULL DEFAULT 0,
    reserved   int NOT NULL DEFAULT 0,
    used       int NOT NULL DEFAULT 0,
    bought     int NOT NULL DEFAULT 0,
    micros     bigint NOT NULL DEFAULT 0, -- what was used costs
    subject    text COLLATE "C", -- a generation, the batch that several are reserved as, or what else happens once
    reason     text,
    actor      text,             -- who did it, where it was a person or a key
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id)
);
-- A generation is reserved once, and settled or released once.
CREATE UNIQUE INDEX credit_entry_subject ON credit_entry (subject, (kind = 'reserve')) WHERE subject IS NOT NULL;
-- Those that people may have written something in.
CREATE INDEX credit_entry_written ON credit_entry (org_id, id) WHERE kind IN ('grant', 'purchase', 'adjust', 'refund');
-- What people have written in can be taken out.
CREATE FUNCTION refuse_credit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.reason IS NULL AND NEW.actor IS NULL AND to_jsonb(NEW) - '{reason,actor}'::text[] = to_jsonb(OLD) - '{reason,actor}'::text[] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'entries of credits are never changed or deleted';
END $$;
CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE ON credit_entry FOR EACH ROW EXECUTE FUNCTION refuse_credit_change();
CREATE TRIGGER credit_entry_whole BEFORE TRUNCATE ON credit_entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_credit_change();

-- What a generation costs. All are NULL for one that is free: of a test key, or from
-- before there were credits.
ALTER TABLE generation
    ADD COLUMN credits       int,         -- reserved
    ADD COLUMN charged       int,         -- of these, once it has ended
    ADD COLUMN credit_micros int,         -- what one costs
    ADD COLUMN credit_period timestamptz, -- whose account they are taken from
    ADD COLUMN batch_id      text COLLATE "C"; -- what it was reserved with; NULL: by itself
-- Ended and not settled: by a program of a version that knows no credits, which a
-- trigger notices. An index would read the whole table while everybody waits.
CREATE TABLE unsettled (generation_id text COLLATE "C" PRIMARY KEY);
CREATE FUNCTION note_unsettled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unsettled VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER generation_unsettled AFTER UPDATE OF finished_at ON generation FOR EACH ROW
    WHEN (NEW.credits IS NOT NULL AND NEW.charged IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION note_unsettled();

-- What a generation's calls have cost. It is volatile so that it also sees what was
-- committed while the statement that asks waited for the generation's row.
CREATE FUNCTION paid_micros(id text) RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(cost_micros), 0) FROM attempt WHERE generation_id = id
$$;

-- What an image costs, which may have been made by a cheaper model than the one that
-- was reserved for; NULL: its share of the reserved, or nothing where that is free. It
-- is never below 0, which a CHECK would read all images for.
ALTER TABLE image ADD COLUMN credits int;

-- The images that a generation has, and what they cost: each its share of the reserved
-- at most. It is volatile as paid_micros is. Their ids begin with the generation's.
CREATE FUNCTION stored_images(generation text, share int, OUT images int, OUT credits int) LANGUAGE sql VOLATILE AS $$
    SELECT count(*)::int, coalesce(sum(least(i.credits, share)), 0)::int FROM image AS i
    WHERE i.id >= 'img_' || substr(generation, 5, 24) AND i.id < 'img_' || substr(generation, 5, 24) || '~'
        AND i.generation_id = generation
$$;

-- What ended in an hour (UTC), of live keys. It is written with the entries, and can be
-- counted anew from them.
CREATE TABLE usage_hour (
    org_id          text COLLATE "C" NOT NULL,
    hour            timestamptz NOT NULL,
    project_id      text COLLATE "C" NOT NULL,
    api_key_id      text COLLATE "C" NOT NULL,
    model           text NOT NULL,
    size            text NOT NULL,       -- "1K", "2K", "4K"
    kind            text NOT NULL,
    succeeded       int NOT NULL DEFAULT 0,
    failed          int NOT NULL DEFAULT 0,
    canceled        int NOT NULL DEFAULT 0,
    expired         int NOT NULL DEFAULT 0,
    images          int NOT NULL DEFAULT 0,
    credits         bigint NOT NULL DEFAULT 0,
    micros          bigint NOT NULL DEFAULT 0, -- what they cost the customer
    provider_micros bigint NOT NULL DEFAULT 0, -- what the providers' answers cost
    latency         int[] NOT NULL,      -- of those that succeeded, from accepted to ended: how many in each class
    PRIMARY KEY (org_id, hour, project_id, api_key_id, model, size, kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- The same by days (UTC), for what reads months of it.
CREATE TABLE usage_day (
    org_id          text COLLATE "C" NOT NULL,
    day             timestamptz NOT NULL,
    project_id      text COLLATE "C" NOT NULL,
    api_key_id      text COLLATE "C" NOT NULL,
    model           text NOT NULL,
    size            text NOT NULL,
    kind            text NOT NULL,
    succeeded       int NOT NULL DEFAULT 0,
    failed          int NOT NULL DEFAULT 0,
    canceled        int NOT NULL DEFAULT 0,
    expired         int NOT NULL DEFAULT 0,
    images          int NOT NULL DEFAULT 0,
    credits         bigint NOT NULL DEFAULT 0,
    micros          bigint NOT NULL DEFAULT 0,
    provider_micros bigint NOT NULL DEFAULT 0,
    latency         int[] NOT NULL,
    PRIMARY KEY (org_id, day, project_id, api_key_id, model, size, kind)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- For who asks about all organizations.
CREATE INDEX usage_day_day ON usage_day USING brin (day);

-- What a customer has with Stripe, as it was when it was last fetched.
CREATE TABLE subscription (
    org_id              text COLLATE "C" PRIMARY KEY,
    customer            text NOT NULL UNIQUE, -- Stripe's cus_...
    subscription        text UNIQUE,          -- Stripe's sub_...; NULL: none yet
    plan                text,
    next_plan           text,                 -- that takes its place when the period ends
    status              text,                 -- as Stripe has it: 'active', 'past_due', ...
    period_start        timestamptz,
    period_end          timestamptz,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    latest_invoice      text,
    fetched_at          timestamptz,
    tried_at            timestamptz,          -- when fetching or canceling it was begun last
    created_at          timestamptz NOT NULL DEFAULT now(),
    lost                boolean NOT NULL DEFAULT false -- it has ended since Stripe did not have it, and may be found again
);

-- Pages that customers may still pay on, or have paid on without our hearing of it.
CREATE TABLE checkout (
    id         text COLLATE "C" PRIMARY KEY, -- Stripe's cs_...
    org_id     text COLLATE "C" NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now() -- when Stripe was asked for it at last
);
CREATE INDEX checkout_asked ON checkout (asked_at);

CREATE TABLE invoice (
    id           text COLLATE "C" PRIMARY KEY, -- Stripe's in_...
    org_id       text COLLATE "C" NOT NULL,
    number       text,
    status       text NOT NULL,
    currency     text NOT NULL,
    amount_due   bigint NOT NULL,  -- in the currency's smallest unit
    amount_paid  bigint NOT NULL,
    refunded     bigint NOT NULL DEFAULT 0,
    refunded_at  timestamptz,      -- when Stripe was asked for that
    period_start timestamptz,
    period_end   timestamptz,
    url          text,             -- where the customer sees it
    pdf          text,
    payment      text,             -- Stripe's pi_... that has paid it
    fetched_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX invoice_org ON invoice (org_id, created_at, id);
CREATE INDEX invoice_payment ON invoice (payment) WHERE payment IS NOT NULL;

-- Payments that operators give back. A row is written before Stripe is asked, and names
-- what is asked for, however often.
CREATE TABLE refund_request (
    id         text COLLATE "C" PRIMARY KEY,
    org_id     text COLLATE "C" NOT NULL,
    invoice    text COLLATE "C" NOT NULL, -- Stripe's in_...
    amount     bigint NOT NULL CHECK (amount > 0), -- in the currency's smallest unit
    reason     text NOT NULL,
    actor      text NOT NULL,
    refund     text,                      -- Stripe's re_...; NULL: not known to be given back
    created_at timestamptz NOT NULL DEFAULT now(),
    owner       text COLLATE "C" NOT NULL, -- the account or organization whose key it is
    key         text COLLATE "C" NOT NULL, -- SHA-256 of the Idempotency-Key, in hex: for good, as what is paid twice is lost
    fingerprint bytea NOT NULL,            -- of what was asked for with it, SHA-256
    UNIQUE (owner, key)
);
CREATE INDEX refund_request_org ON refund_request (org_id);

-- What Stripe has told, each event once. The objects are fetched anew: an event that
-- comes late or out of order says only that something has changed.
CREATE TABLE stripe_event (
    id          text COLLATE "C" PRIMARY KEY, -- Stripe's evt_...
    type        text NOT NULL,
    object_id   text NOT NULL,
    customer    text,
    created_at  timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    handled_at  timestamptz,
    error       text -- of the last try
);
CREATE INDEX stripe_event_unhandled ON stripe_event (received_at) WHERE handled_at IS NULL;
CREATE INDEX stripe_event_handled ON stripe_event (handled_at) WHERE handled_at IS NOT NULL;

-- What metered use is reported to Stripe. A row is written before it is sent, and names
-- the same use for every repetition.
CREATE TABLE usage_report (
    identifier  text COLLATE "C" PRIMARY KEY,
    org_id      text COLLATE "C" NOT NULL,
    period      timestamptz NOT NULL,
    customer    text NOT NULL,
    credits     bigint NOT NULL CHECK (credits > 0),
    at          timestamptz NOT NULL, -- when it was written
    told_at     timestamptz,          -- as of when Stripe was told of it at last; NULL: never
    created_at  timestamptz NOT NULL DEFAULT now(),
    sent_at     timestamptz,
    error       text,
    tried_at    timestamptz           -- when Stripe was asked at last
);
CREATE INDEX usage_report_unsent ON usage_report (created_at) WHERE sent_at IS NULL;
CREATE INDEX usage_report_sent ON usage_report (sent_at) WHERE sent_at IS NOT NULL;

-- What an organization wants to spend at most, and to hear of.
CREATE TABLE budget (
    org_id            text COLLATE "C" PRIMARY KEY,
    credits           bigint NOT NULL CHECK (credits >= 0), -- in a period
    alerts            int[] NOT NULL,   -- percents of it
    hard_stop         boolean NOT NULL, -- nothing is let in beyond it
    downgrade_at      int,              -- percent from which on pictures are asked for in downgrade_quality
    downgrade_quality text,
    updated_at        timestamptz NOT NULL DEFAULT now()
);

-- Who was told of which share of what, in a period. What is true no more, since there
-- are more credits or a larger budget, is taken out, to be told again.
CREATE TABLE spend_alert (
    org_id     text COLLATE "C" NOT NULL, -- '': of all, to whoever runs the service
    period     timestamptz NOT NULL,      -- for them a day (UTC)
    what       text NOT NULL,          -- 'quota', 'budget' or 'operator'
    percent    int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, period, what, percent)
);

-- Requests, for 30 days: all that change something, and all that failed.
CREATE TABLE request_log (
    id            text COLLATE "C" PRIMARY KEY, -- req_..., the answer's X-Request-Id
    org_id        text COLLATE "C" NOT NULL,
    project_id    text COLLATE "C",
    api_key_id    text COLLATE "C",
    account_id    text COLLATE "C",
    method        text NOT NULL,
    path          text NOT NULL,       -- without the query, and with nothing in it but names and ids
    operation     text,
    status        smallint NOT NULL,
    code          text,                -- of the problem
    ms            int NOT NULL,
    ip            text NOT NULL,
    user_agent    text NOT NULL,
    generation_id text COLLATE "C",
    test          boolean NOT NULL,
    created_at    timestamptz NOT NULL
);
CREATE INDEX request_log_org ON request_log (org_id, id);
-- Among many, what went wrong here is rare, as is what one generation was asked for.
CREATE INDEX request_log_broken ON request_log (org_id, id) WHERE status >= 500;
CREATE INDEX request_log_generation ON request_log (org_id, generation_id, id) WHERE generation_id IS NOT NULL;
-- What people asked for goes with them.
CREATE INDEX request_log_account ON request_log (account_id) WHERE account_id IS NOT NULL;
