-- The tables of the house. Read with docs/architecture.md; rules of the schema (design, sections 4 and 5):
-- `shard` comes first in every key of a table that takes part in moving money; no triggers, sequences or enum types;
-- times and ids come from the program; money is bigint minor units with a currency.
-- "PARTITION BY HASH (shard)" stands in comments: a test switches it on, and PostgreSQL then refuses what a cluster would.

-- One row: who this installation is. The system identifier and timeline tell a restored or copied database from the one we left;
-- `key_check` is a fingerprint under the key file's fingerprint key, so that another key file is noticed before it seals anything.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    installation_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    released_by text,
    released_at timestamptz,
    key_check bytea NOT NULL,
    merchants integer NOT NULL DEFAULT 0 CHECK (merchants < 1048576),
    settings_version bigint NOT NULL DEFAULT 0,
    operators integer NOT NULL DEFAULT 0
);

-- The row every writing operation locks first, and nothing else after it: it decides balances, numbers and races.
CREATE TABLE merchants (
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 1023),
    merchant_id integer NOT NULL CHECK (merchant_id BETWEEN 1 AND 1048575),
    payouts bigint NOT NULL DEFAULT 0,
    postings bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, merchant_id)
) /* PARTITION BY HASH (shard) */;

-- What a merchant is and may do; read through a short cache. Secrets are SHA-256 digests of at least 128 random bits;
-- the signing key must be read again, so it is sealed.
CREATE TABLE merchant_settings (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    name text NOT NULL,
    login text NOT NULL,
    payouts text NOT NULL DEFAULT 'on' CHECK (payouts IN ('on', 'off', 'denied')),
    pci_dss boolean NOT NULL DEFAULT false,
    require_sign boolean NOT NULL DEFAULT false,
    sbp_bank text,
    answer_wait_ms integer NOT NULL DEFAULT 2000 CHECK (answer_wait_ms BETWEEN 0 AND 6000),
    payout_id_as_number boolean NOT NULL DEFAULT false,
    json_by_default boolean NOT NULL DEFAULT false,
    state_word text CHECK (state_word IN ('InProcess', 'InProgress')),
    language text NOT NULL DEFAULT 'ru' CHECK (language IN ('ru', 'en')),
    eshop_id bigint,
    project_id bigint NOT NULL,
    fees text NOT NULL DEFAULT '{}',
    password_digest bytea NOT NULL,
    unitpay_key_digest bytea NOT NULL,
    unitpay_test_key_digest bytea NOT NULL,
    bearer_digest bytea NOT NULL,
    api_key_digest bytea NOT NULL,
    sign_key_sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, merchant_id)
) /* PARTITION BY HASH (shard) */;

-- What is asked by something other than an id (login, bearer token, API key): shard is taken from a hash of what is asked by.
CREATE TABLE lookups (
    shard smallint NOT NULL,
    kind text NOT NULL,
    key_digest bytea NOT NULL,
    merchant_shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    PRIMARY KEY (shard, kind, key_digest)
) /* PARTITION BY HASH (shard) */;

-- IntellectMoney user tokens: several alive at once, renewed by use.
CREATE TABLE tokens (
    shard smallint NOT NULL,
    token_digest bytea NOT NULL,
    merchant_shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (shard, token_digest)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX tokens_by_expiry ON tokens (shard, expires_at);

CREATE TABLE operators (
    operator_id integer PRIMARY KEY,
    name text NOT NULL UNIQUE,
    token_digest bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    actor text NOT NULL
);

-- Who is at work; readiness asks for a worker seen lately.
CREATE TABLE workers (
    worker_id text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- One obligation to one payee. `base` is derived from (installation, merchant, surface, reference), so its uniqueness is the
-- promise that a reference makes at most one payout, for ever, and it is how a provider's message finds the payout.
CREATE TABLE payouts (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    number bigint NOT NULL,
    surface text NOT NULL,
    reference text,
    base text NOT NULL,
    fingerprint bytea NOT NULL,
    rail text NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    fee_minor bigint NOT NULL CHECK (fee_minor BETWEEN 0 AND 1000000000000000),
    amount_text text NOT NULL,
    display text NOT NULL,
    destination_digest bytea NOT NULL,
    sealed bytea NOT NULL,
    comment text,
    sandbox_only boolean NOT NULL DEFAULT false,
    state text NOT NULL CHECK (state IN ('created', 'unfunded', 'awaiting_approval', 'scheduled', 'queued', 'in_flight',
        'in_doubt', 'paid', 'failed', 'cancelled', 'expired', 'returned')),
    frozen text,
    reason text,
    attempts integer NOT NULL,
    returned_minor bigint NOT NULL DEFAULT 0 CHECK (returned_minor BETWEEN 0 AND amount_minor),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    first_event bigint NOT NULL,
    last_event bigint NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, payout_id),
    CONSTRAINT one_payout_a_reference UNIQUE (shard, base)
) /* PARTITION BY HASH (shard) */;

-- Payouts that were created and wait to be executed: the sweeper expires what nobody executes.
CREATE TABLE expiries (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX expiries_by_time ON expiries (shard, expires_at);

-- One try through one connector. A row in state open is the intent: it is committed before the first byte leaves.
CREATE TABLE attempts (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    merchant_id integer NOT NULL,
    state text NOT NULL CHECK (state IN ('due', 'open', 'accepted', 'unknown', 'settled', 'rejected', 'not_sent')),
    due_at timestamptz NOT NULL,
    connector text,
    end_to_end_id text,
    request_digest bytea,
    owner text,
    epoch integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    opened_at timestamptz,
    provider_reference text,
    doubt_turns integer NOT NULL DEFAULT 0,
    doubt_since timestamptz,
    asked integer NOT NULL DEFAULT 0,
    ask_at timestamptz,
    ended_at timestamptz,
    reason text,
    actor text NOT NULL,
    PRIMARY KEY (shard, payout_id, number),
    CONSTRAINT an_intent_is_whole CHECK (state = 'due' OR (state = 'not_sent' AND connector IS NULL) OR (connector IS NOT NULL
        AND end_to_end_id IS NOT NULL AND request_digest IS NOT NULL AND owner IS NOT NULL AND lease_until IS NOT NULL
        AND opened_at IS NOT NULL))
) /* PARTITION BY HASH (shard) */;

-- A payout has at most one attempt that moved money, or may have. This index is the exactly-once guarantee.
CREATE UNIQUE INDEX one_live_attempt ON attempts (shard, payout_id) WHERE state NOT IN ('rejected', 'not_sent');
CREATE INDEX attempts_due ON attempts (shard, due_at) WHERE state = 'due';
CREATE INDEX attempts_to_ask ON attempts (shard, ask_at) WHERE state IN ('open', 'accepted', 'unknown');

-- Money moved from one account to another. Append-only by grants; numbered without gaps for each merchant.
CREATE TABLE postings (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    origin_id uuid NOT NULL,
    phase text NOT NULL,
    currency text NOT NULL,
    source text NOT NULL,
    destination text NOT NULL CHECK (destination <> source),
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    reason text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, merchant_id, number),
    CONSTRAINT posted_once UNIQUE (shard, origin_id, phase)
) /* PARTITION BY HASH (shard) */;

-- Cached sums of the postings, changed in the same transaction.
CREATE TABLE balances (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    currency text NOT NULL,
    account text NOT NULL,
    balance_minor bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, merchant_id, currency, account),
    CONSTRAINT no_overdraft CHECK (balance_minor >= 0 OR account = 'funding' OR starts_with(account, 'suspense:'))
) /* PARTITION BY HASH (shard) */;

CREATE TABLE top_ups (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    reference text NOT NULL,
    top_up_id uuid NOT NULL,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, merchant_id, reference)
) /* PARTITION BY HASH (shard) */;

-- What happened, numbered without gaps for each merchant, in the transaction that made it happen. Append-only.
CREATE TABLE events (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    payout_id uuid,
    kind text NOT NULL,
    state text,
    attempt integer,
    detail text,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, merchant_id, number)
) /* PARTITION BY HASH (shard) */;

-- What providers said: answers, inquiries, callbacks. A row first, deduplicated by its digest; `effect` is what it changed.
-- Append-only. What speaks of no attempt of ours is kept without a payout, with the effect 'unmatched'.
CREATE TABLE evidence (
    shard smallint NOT NULL,
    end_to_end_id text NOT NULL,
    digest bytea NOT NULL,
    merchant_id integer,
    payout_id uuid,
    attempt integer,
    connector text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('answer', 'inquiry', 'callback', 'lease')),
    verdict text NOT NULL,
    detail text NOT NULL,
    effect text NOT NULL,
    heard_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, end_to_end_id, digest)
) /* PARTITION BY HASH (shard) */;

-- A known reference that came with other content: one event for each such content.
CREATE TABLE mismatches (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (shard, payout_id, fingerprint)
) /* PARTITION BY HASH (shard) */;

-- Rows that change several times in their short lives find room on their own page, so that no index learns of it.
ALTER TABLE merchants SET (fillfactor = 50);
ALTER TABLE balances SET (fillfactor = 50);
ALTER TABLE payouts SET (fillfactor = 60);
ALTER TABLE attempts SET (fillfactor = 70);

-- The program's own role may read all and change what changes; books, events and evidence it can only add to.
GRANT SELECT ON ALL TABLES IN SCHEMA disburse TO disburse_app;
GRANT INSERT ON ALL TABLES IN SCHEMA disburse TO disburse_app;
GRANT UPDATE ON installation, merchants, merchant_settings, tokens, operators, workers, payouts, expiries, attempts, balances
    TO disburse_app;
GRANT DELETE ON tokens, workers, expiries, lookups TO disburse_app;
REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM disburse_app;
