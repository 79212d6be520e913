-- Rules a merchant's payouts go by: limits, policies of approval, times, and what becomes of payouts that lacked money (decision 15).

-- `ruled`: the merchant has limits or policies. It stands on the row that is locked, so that a transaction which read nothing
-- cannot pass them by: its one statement refuses to hold money of such a merchant (storage/statement.py).
ALTER TABLE merchants ADD COLUMN ruled boolean NOT NULL DEFAULT false;

-- `limits` and `policies`: JSON, as domain/limits.py and domain/policies.py spell them. `time_zone`: whose days and months limits count.
ALTER TABLE merchant_settings ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC', ADD COLUMN limits text NOT NULL DEFAULT '[]',
    ADD COLUMN policies text NOT NULL DEFAULT '[]', ADD COLUMN execute_unfunded boolean NOT NULL DEFAULT false;

-- Who wants its payouts that lacked money executed: few, and looked for all the time.
CREATE INDEX merchants_that_wait ON merchant_settings (shard, merchant_id) WHERE execute_unfunded;

-- When payouts are to be sent. `done_at`: when, by the database's clock, its time had come; `look_at`: not looked at before.
CREATE TABLE schedules (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    execute_at timestamptz NOT NULL,
    look_at timestamptz NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX schedules_open ON schedules (shard, look_at) WHERE done_at IS NULL;

-- Payouts in the state `unfunded`, by their merchant's numbers: the oldest is executed first once there is money.
CREATE TABLE unfunded (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    number bigint NOT NULL,
    payout_id uuid NOT NULL,
    currency text NOT NULL,
    needed_minor bigint NOT NULL,
    look_at timestamptz NOT NULL,
    PRIMARY KEY (shard, merchant_id, number)
) /* PARTITION BY HASH (shard) */;

-- What of a merchant's limits a payout uses, written with its hold, and the sums of that. Where the hold is released the sums
-- go down again in the same statement; the use itself stays.
CREATE TABLE limit_uses (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    rail text NOT NULL,
    payee bytea NOT NULL,
    on_day date NOT NULL,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;

-- `scope`: nothing for all payouts, `rail:` and a rail, or `payee:` and the digest of where the money goes.
CREATE TABLE limit_counters (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    currency text NOT NULL,
    period text NOT NULL CHECK (period IN ('day', 'month')),
    starts_on date NOT NULL,
    scope text NOT NULL,
    payouts bigint NOT NULL CHECK (payouts >= 0),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (shard, merchant_id, currency, period, starts_on, scope)
) /* PARTITION BY HASH (shard) */;

-- What needs the yes of persons before it goes on: a payout, or a registry. `digest` is of all that they are shown; `maker`: who may
-- not be one of them. `summary` is for people.
CREATE TABLE approval_needs (
    shard smallint NOT NULL,
    subject_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    merchant_id integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payout', 'registry')),
    needed integer NOT NULL CHECK (needed BETWEEN 1 AND 9),
    summary text NOT NULL,
    maker text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, subject_id, digest)
) /* PARTITION BY HASH (shard) */;

-- What each of them said, once, of the digest that they saw.
CREATE TABLE approvals (
    shard smallint NOT NULL,
    subject_id uuid NOT NULL,
    digest bytea NOT NULL,
    actor text NOT NULL,
    merchant_id integer NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('yes', 'no')),
    why text NOT NULL CHECK (length(why) <= 1000),
    at timestamptz NOT NULL,
    PRIMARY KEY (shard, subject_id, digest, actor)
) /* PARTITION BY HASH (shard) */;

ALTER TABLE limit_counters SET (fillfactor = 50);
GRANT SELECT, INSERT ON schedules, unfunded, limit_uses, limit_counters, approval_needs, approvals TO disburse_app;
GRANT UPDATE ON schedules, unfunded, limit_counters TO disburse_app;
GRANT DELETE ON unfunded TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO schedules (shard, payout_id, merchant_id, execute_at, look_at, done_at)
SELECT 0, uuid_in(md5(n::text)::cstring), n, 'epoch', timestamptz 'epoch' + n * interval '1 s', CASE WHEN n % 3 > 0 THEN timestamptz 'epoch' END
FROM generate_series(1, 300) AS n;
INSERT INTO unfunded (shard, merchant_id, number, payout_id, currency, needed_minor, look_at)
SELECT 0, n % 30, n, uuid_in(md5(n::text)::cstring), 'RUB', 1, 'epoch' FROM generate_series(1, 300) AS n;
INSERT INTO limit_uses (shard, payout_id, merchant_id, currency, amount_minor, rail, payee, on_day)
SELECT 0, uuid_in(md5(n::text)::cstring), n % 30, 'RUB', 1, 'card', '\x00', 'epoch' FROM generate_series(1, 300) AS n;
INSERT INTO limit_counters (shard, merchant_id, currency, period, starts_on, scope, payouts, amount_minor)
SELECT 0, n % 30, 'RUB', 'day', 'epoch', n::text, 1, 1 FROM generate_series(1, 300) AS n;
INSERT INTO approval_needs (shard, subject_id, digest, merchant_id, kind, needed, summary, maker, at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), sha256('x'), n % 30, 'payout', 1, '', '', 'epoch', 'migration' FROM generate_series(1, 300) AS n;
INSERT INTO approvals (shard, subject_id, digest, actor, merchant_id, verdict, why, at)
SELECT 0, uuid_in(md5(n::text)::cstring), sha256('x'), 'migration', n % 30, 'yes', '', 'epoch' FROM generate_series(1, 300) AS n;
ANALYZE schedules, unfunded, limit_uses, limit_counters, approval_needs, approvals;
TRUNCATE schedules, unfunded, limit_uses, limit_counters, approval_needs, approvals;

INSERT INTO unfunded (shard, merchant_id, number, payout_id, currency, needed_minor, look_at)
SELECT shard, merchant_id, number, payout_id, currency, amount_minor + fee_minor, updated_at FROM payouts WHERE state = 'unfunded';
