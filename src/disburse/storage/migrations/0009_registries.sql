-- Registries: files of payouts, planned once and applied row by row (decision 14).

-- One file. `again`: its rows without references have names of its own; `repeats`: the same content was applied before, and persons agreed to that. `content` (SHA-256 over the good rows) is known once it is planned, as are `rows_digest`, `digest` (over the whole plan) and `plan`
-- (JSON: totals and the rules it was made under). `applied_to`: rows up to this one were dealt with. `made`, `found`, `refused` count their fates; `given_up`
-- the rows after it that a person stopped. `watched_to`: chunks up to this one are over. `waits`: what stops it now, if anything does.
CREATE TABLE registries (
    shard smallint NOT NULL,
    registry_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    state text NOT NULL CHECK (state IN ('uploaded', 'planned', 'awaiting_approval', 'approved', 'executing', 'completed',
        'completed_with_errors', 'cancelled')),
    file_name text NOT NULL CHECK (length(file_name) <= 255),
    file_digest bytea NOT NULL,
    file_bytes bigint NOT NULL,
    again boolean NOT NULL,
    repeats boolean NOT NULL DEFAULT false,
    only_good boolean NOT NULL DEFAULT false,
    rows_read integer NOT NULL DEFAULT 0,
    good integer NOT NULL DEFAULT 0,
    bad integer NOT NULL DEFAULT 0,
    held integer NOT NULL DEFAULT 0,
    content bytea,
    rows_digest bytea,
    digest bytea,
    plan text,
    applied_to integer NOT NULL DEFAULT 0,
    made integer NOT NULL DEFAULT 0,
    found integer NOT NULL DEFAULT 0,
    refused integer NOT NULL DEFAULT 0,
    given_up integer NOT NULL DEFAULT 0,
    waits text,
    owner text,
    lease_until timestamptz,
    asked_by text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, registry_id),
    CONSTRAINT a_plan_is_whole CHECK ((content IS NULL) = (digest IS NULL) AND (digest IS NULL) = (plan IS NULL)
        AND (digest IS NULL) = (rows_digest IS NULL) AND (digest IS NOT NULL OR state IN ('uploaded', 'cancelled'))),
    CONSTRAINT rows_add_up CHECK (good + bad + held = rows_read AND made + found + refused + given_up <= good)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX registries_by_merchant ON registries (shard, merchant_id, registry_id);
-- What is paid under one content is paid once, unless a second person agreed to it.
CREATE UNIQUE INDEX one_registry_a_content ON registries (shard, merchant_id, content)
    WHERE NOT again AND NOT repeats AND state IN ('awaiting_approval', 'approved', 'executing', 'completed', 'completed_with_errors');
CREATE INDEX registries_at_work ON registries (shard, registry_id) WHERE state IN ('approved', 'executing');

-- One line of a file. `faults` and `questions` are JSON lists; a good row has neither, and all that its payout needs.
CREATE TABLE registry_rows (
    shard smallint NOT NULL,
    registry_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    line integer NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('good', 'bad', 'held')),
    reference text,
    rail text,
    currency text,
    amount_minor bigint CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    fee_minor bigint CHECK (fee_minor BETWEEN 0 AND 1000000000000000),
    amount_text text,
    display text,
    comment text,
    route text,
    payout_id uuid,
    base text,
    fingerprint bytea,
    destination_digest bytea,
    sealed bytea,
    execute_at timestamptz,
    faults text,
    questions text,
    PRIMARY KEY (shard, registry_id, number),
    CONSTRAINT one_row_a_payout UNIQUE (shard, registry_id, base),
    CONSTRAINT a_row_is_whole CHECK ((verdict = 'bad') = (faults IS NOT NULL) AND (verdict = 'held') = (questions IS NOT NULL)
        AND (verdict = 'bad') = (payout_id IS NULL) AND (payout_id IS NULL) = (base IS NULL) AND (payout_id IS NULL) = (sealed IS NULL)
        AND (payout_id IS NULL OR num_nulls(fingerprint, rail, currency, amount_minor, fee_minor, amount_text, display, destination_digest) = 0))
) /* PARTITION BY HASH (shard) */;

-- Rows of one registry, a thousand or so: `digest` is of what they say. `over`: every payout of them is final, and the counts are the last ones.
CREATE TABLE registry_chunks (
    shard smallint NOT NULL,
    registry_id uuid NOT NULL,
    chunk integer NOT NULL CHECK (chunk > 0),
    first_row integer NOT NULL,
    last_row integer NOT NULL CHECK (last_row >= first_row),
    good integer NOT NULL,
    digest bytea NOT NULL,
    over boolean NOT NULL DEFAULT false,
    paid integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    ended integer NOT NULL DEFAULT 0,
    open integer NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, registry_id, chunk)
) /* PARTITION BY HASH (shard) */;

-- What became of a row, where it is not simply "its payout was made". Append-only.
CREATE TABLE registry_fates (
    shard smallint NOT NULL,
    registry_id uuid NOT NULL,
    number integer NOT NULL,
    fate text NOT NULL CHECK (fate IN ('found', 'refused')),
    payout_id uuid,
    reason text,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, registry_id, number),
    CONSTRAINT a_fate_is_whole CHECK ((fate = 'found') = (reason IS NULL) AND (fate = 'refused' OR payout_id IS NOT NULL))
) /* PARTITION BY HASH (shard) */;

ALTER TABLE registries SET (fillfactor = 30);
ALTER TABLE registry_chunks SET (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON registries, registry_chunks TO disburse_app;
GRANT SELECT, INSERT ON registry_rows, registry_fates TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO registries (shard, registry_id, merchant_id, state, file_name, file_digest, file_bytes, again, created_at, updated_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), n, 'uploaded', '', '\x00', 0, false, 'epoch', 'epoch', 'migration' FROM generate_series(1, 300) AS n;
INSERT INTO registry_rows (shard, registry_id, number, line, verdict, faults, base, payout_id, sealed, rail, currency, amount_minor, fee_minor, amount_text,
    display, fingerprint, destination_digest)
SELECT 0, uuid_in(md5((n % 3)::text)::cstring), n, n, 'good', NULL, n::text, uuid_in(md5(n::text)::cstring), '\x00', 'card', 'RUB', 1, 0, '', '', '\x00', '\x00'
FROM generate_series(1, 300) AS n;
INSERT INTO registry_chunks (shard, registry_id, chunk, first_row, last_row, good, digest)
SELECT 0, uuid_in(md5((n % 3)::text)::cstring), n, n, n, 1, '\x00' FROM generate_series(1, 300) AS n;
INSERT INTO registry_fates (shard, registry_id, number, fate, payout_id, at, actor)
SELECT 0, uuid_in(md5((n % 3)::text)::cstring), n, 'found', uuid_in(md5(n::text)::cstring), 'epoch', 'migration' FROM generate_series(1, 300) AS n;
ANALYZE registries, registry_rows, registry_chunks, registry_fates;
TRUNCATE registries, registry_rows, registry_chunks, registry_fates;
