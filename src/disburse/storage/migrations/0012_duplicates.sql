-- What the duplicate guard of registries remembers of payouts: fingerprints by which a payee and a debt are found again.

-- One payout. Fingerprints are as in domain/duplicates.Trace, 0 for what is not known; place, person and short are keyed. Payouts have
-- no index of their own for this, since every door would pay for it: a reader follows the merchant's events (`event_to`) and adds what is new.
CREATE TABLE duplicate_traces (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    at timestamptz NOT NULL,
    place bigint NOT NULL,
    person bigint NOT NULL,
    patronymic smallint NOT NULL,
    short bigint NOT NULL,
    number bigint NOT NULL,
    detail bigint NOT NULL,
    telling bigint NOT NULL,
    words bigint NOT NULL,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX duplicate_traces_by_place ON duplicate_traces (shard, place, at);
CREATE INDEX duplicate_traces_by_person ON duplicate_traces (shard, person, at) WHERE person <> 0;
CREATE INDEX duplicate_traces_by_number ON duplicate_traces (shard, number, at) WHERE number <> 0;

-- The keyed names of a registry's rows, by the payout that a row is to become: a payout's own row has no name that could be read.
CREATE TABLE duplicate_names (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    person bigint NOT NULL,
    patronymic smallint NOT NULL,
    short bigint NOT NULL,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;

-- Up to which event of a merchant its payouts are remembered.
CREATE TABLE duplicate_places (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    event_to bigint NOT NULL,
    PRIMARY KEY (shard, merchant_id)
) /* PARTITION BY HASH (shard) */;

-- None of it is money or evidence: it may be forgotten, and be gathered again.
GRANT SELECT, INSERT, UPDATE, DELETE ON duplicate_traces, duplicate_names, duplicate_places TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO duplicate_traces (shard, payout_id, merchant_id, at, place, person, patronymic, short, number, detail, telling, words)
SELECT 0, uuid_in(md5(n::text)::cstring), n % 3, 'epoch', n, n, 1, n, n, n, 0, 0 FROM generate_series(1, 300) AS n;
INSERT INTO duplicate_names (shard, payout_id, person, patronymic, short)
SELECT 0, uuid_in(md5(n::text)::cstring), n, 1, n FROM generate_series(1, 300) AS n;
INSERT INTO duplicate_places (shard, merchant_id, event_to) SELECT 0, n, 0 FROM generate_series(1, 300) AS n;
ANALYZE duplicate_traces, duplicate_names, duplicate_places;
TRUNCATE duplicate_traces, duplicate_names, duplicate_places;
