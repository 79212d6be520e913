-- What merchants keep with us beside payouts: API keys, of which they may have several, and payees with saved destinations.

-- A key is kept as SHA-256; `ending` is its last four characters, by which people know it again. From `ends_at` on it is refused.
-- That a key leads to its merchant stands in `lookups`. merchant_settings.api_key_digest is the first key's and is read no more.
CREATE TABLE api_keys (
    shard smallint NOT NULL,
    key_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    name text NOT NULL CHECK (length(name) <= 60),
    key_digest bytea NOT NULL,
    ending text NOT NULL CHECK (length(ending) <= 4),
    created_at timestamptz NOT NULL,
    ends_at timestamptz,
    actor text NOT NULL,
    PRIMARY KEY (shard, key_id)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX api_keys_by_merchant ON api_keys (shard, merchant_id);

INSERT INTO api_keys (shard, key_id, merchant_id, name, key_digest, ending, created_at, actor)
SELECT shard, encode(substr(sha256(convert_to('api key ' || merchant_id, 'UTF8')), 1, 16), 'hex')::uuid, merchant_id, 'first', api_key_digest, '', created_at, actor
FROM merchant_settings;

-- Whom a merchant pays, by a reference of its own. A destination is sealed like a payout's, for its own id; it never changes, it
-- is only retired. The first one is what a payout that names the payee alone is for, always.
CREATE TABLE payees (
    shard smallint NOT NULL,
    payee_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    reference text NOT NULL,
    created_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, payee_id),
    CONSTRAINT one_payee_a_reference UNIQUE (shard, merchant_id, reference)
) /* PARTITION BY HASH (shard) */;
CREATE INDEX payees_by_merchant ON payees (shard, merchant_id, payee_id);

CREATE TABLE payee_destinations (
    shard smallint NOT NULL,
    payee_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    destination_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    rail text NOT NULL,
    display text NOT NULL,
    destination_digest bytea NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz,
    actor text NOT NULL,
    PRIMARY KEY (shard, payee_id, number),
    CONSTRAINT one_payee_a_destination_id UNIQUE (shard, destination_id)
) /* PARTITION BY HASH (shard) */;

GRANT SELECT, INSERT ON api_keys, payees, payee_destinations TO disburse_app;
GRANT UPDATE ON api_keys, payee_destinations TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO payees (shard, payee_id, merchant_id, reference, created_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), n % 3, n::text, 'epoch', 'migration' FROM generate_series(1, 300) AS n;
INSERT INTO payee_destinations (shard, payee_id, number, destination_id, merchant_id, rail, display, destination_digest, sealed, created_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), 1, uuid_in(md5(n::text)::cstring), n % 3, 'card', '', '\x00', '\x00', 'epoch', 'migration'
FROM generate_series(1, 300) AS n;
INSERT INTO api_keys (shard, key_id, merchant_id, name, key_digest, ending, created_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), n, 'migration', '\x00', '', 'epoch', 'migration' FROM generate_series(1, 300) AS n;
ANALYZE api_keys, payees, payee_destinations;
TRUNCATE payees, payee_destinations;
DELETE FROM api_keys WHERE actor = 'migration' AND name = 'migration';
