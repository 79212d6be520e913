-- Events as merchants see them, and the webhook endpoints that they are sent to.

-- `previous`: the number of the payout's event before this one, so that who folds a payout's events notices one that is missing.
-- `returned_minor`: what of the payout has come back so far. Events that tell no state of a payout have neither.
ALTER TABLE events ADD COLUMN previous bigint;
ALTER TABLE events ADD COLUMN returned_minor bigint;

UPDATE events e SET previous = told.previous
FROM (SELECT shard, merchant_id, number, lag(number) OVER (PARTITION BY shard, payout_id ORDER BY number) AS previous
      FROM events WHERE payout_id IS NOT NULL AND state IS NOT NULL) AS told
WHERE e.shard = told.shard AND e.merchant_id = told.merchant_id AND e.number = told.number AND told.previous IS NOT NULL;

UPDATE events e SET returned_minor = back.minor
FROM (SELECT told.shard, told.merchant_id, told.number, sum(p.amount_minor)::bigint AS minor
      FROM events told JOIN postings p ON p.shard = told.shard AND p.origin_id = told.payout_id AND p.reason = 'returned'
          AND p.at <= told.at
      WHERE told.state IS NOT NULL GROUP BY told.shard, told.merchant_id, told.number) AS back
WHERE e.shard = back.shard AND e.merchant_id = back.merchant_id AND e.number = back.number;

-- Where a merchant's events are sent. What persons decide (url, types, state, secrets, resend) changes under the merchant's lock
-- and raises `version`; how far delivery has come changes under the lease, guarded by owner and epoch.
-- `types`: words with spaces between them; none means all. `done_to`: every event up to this number was delivered, is not wanted, or stands in webhook_late.
-- `resend_next` to `resend_to` are sent once more. `failures`: tries in a row that failed; none is begun before `rest_until`.
CREATE TABLE webhooks (
    shard smallint NOT NULL,
    webhook_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2000),
    types text,
    state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
    reason text,
    version integer NOT NULL DEFAULT 1,
    secret_sealed bytea NOT NULL,
    previous_sealed bytea,
    previous_until timestamptz,
    since bigint NOT NULL CHECK (since >= 0),
    done_to bigint NOT NULL CHECK (done_to >= since),
    resend_next bigint,
    resend_to bigint,
    owner text,
    epoch integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    rest_until timestamptz,
    last_answer text,
    last_at timestamptz,
    created_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, webhook_id),
    CONSTRAINT a_resend_is_whole CHECK ((resend_next IS NULL) = (resend_to IS NULL)),
    CONSTRAINT two_secrets_at_most CHECK ((previous_sealed IS NULL) = (previous_until IS NULL))
) /* PARTITION BY HASH (shard) */;
CREATE INDEX webhooks_by_merchant ON webhooks (shard, merchant_id);
CREATE INDEX webhooks_by_owner ON webhooks (shard, owner);

-- Events that an endpoint did not take, and those of the same payouts behind them (`next_at` is none: they wait for the first).
CREATE TABLE webhook_late (
    shard smallint NOT NULL,
    webhook_id uuid NOT NULL,
    number bigint NOT NULL,
    merchant_id integer NOT NULL,
    payout_id uuid,
    tries integer NOT NULL,
    since timestamptz NOT NULL,
    next_at timestamptz,
    event_at timestamptz NOT NULL,
    PRIMARY KEY (shard, webhook_id, number)
) /* PARTITION BY HASH (shard) */;

ALTER TABLE webhooks SET (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, webhook_late TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO webhooks (shard, webhook_id, merchant_id, url, state, secret_sealed, since, done_to, owner, created_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), n, '', 'active', '\x00', 0, 0, (n % 3)::text, 'epoch', 'migration'
FROM generate_series(1, 300) AS n;
INSERT INTO webhook_late (shard, webhook_id, number, merchant_id, tries, since, event_at)
SELECT 0, uuid_in(md5(n::text)::cstring), n, n, 1, 'epoch', 'epoch' FROM generate_series(1, 300) AS n;
ANALYZE webhooks, webhook_late;
TRUNCATE webhooks, webhook_late;
