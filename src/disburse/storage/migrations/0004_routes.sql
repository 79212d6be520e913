-- Routing: what all workers know of each provider, and what was decided for a payout whose route was not the plain first one.

-- One row a connector: its breaker, its rate, whose turn it is to ask its balance. Few rows, no bucket: every worker of every
-- bucket shares them. Changed by transactions of their own, guarded by what they read, and never under a merchant's lock.
CREATE TABLE connector_facts (
    connector text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    breaker text NOT NULL CHECK (breaker IN ('closed', 'open', 'half_open')),
    changed_at timestamptz NOT NULL,
    window_from timestamptz NOT NULL,
    generation bigint NOT NULL,
    good integer NOT NULL,
    bad integer NOT NULL,
    openings integer NOT NULL,
    retry_at timestamptz,
    trial_by text,
    trial_until timestamptz,
    last_fault text,
    last_fault_at timestamptz,
    tokens_free_at timestamptz,
    balance_turn_at timestamptz,
    balance_fault text
);

-- What a provider said that it holds for us, as of when it was asked.
CREATE TABLE connector_balances (
    connector text NOT NULL,
    currency text NOT NULL,
    balance_minor bigint NOT NULL,
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (connector, currency)
);

-- What routing decided for an attempt, with its reasons: written with the claim, and while an attempt has to wait. None where the
-- first route was free and no rule was asked. `looked`: how often it was decided, `since` the first of these times.
CREATE TABLE routings (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    number integer NOT NULL,
    merchant_id integer NOT NULL,
    decision text NOT NULL,
    looked integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (shard, payout_id, number)
) /* PARTITION BY HASH (shard) */;

GRANT SELECT, INSERT, UPDATE ON connector_facts, connector_balances, routings TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO routings (shard, payout_id, number, merchant_id, decision, since, at)
SELECT 0, uuid_in(md5(n::text)::cstring), 1, n, '', 'epoch', 'epoch' FROM generate_series(1, 300) AS n;
ANALYZE routings;
TRUNCATE routings;
