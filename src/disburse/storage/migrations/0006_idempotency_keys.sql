-- What a request with an Idempotency-Key came to, for ever: the payout it made or acted on, or the refusal it met. Written in the
-- transaction that did it, so a key is known exactly when its work is done. Append-only: no program forgets a key.

-- `key_digest` is SHA-256 of the key, `fingerprint` a keyed digest of what was asked, as it was understood. A refusal is a row of
-- its own, in the words that it was told in; the reference that came with it stays free.
CREATE TABLE idempotency_keys (
    shard smallint NOT NULL,
    merchant_id integer NOT NULL,
    key_digest bytea NOT NULL,
    fingerprint bytea NOT NULL,
    payout_id uuid,
    refusal text,
    detail text,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, merchant_id, key_digest),
    CONSTRAINT a_key_has_one_answer CHECK ((payout_id IS NULL) = (refusal IS NOT NULL) AND (refusal IS NULL) = (detail IS NULL))
) /* PARTITION BY HASH (shard) */;

GRANT SELECT, INSERT ON idempotency_keys TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO idempotency_keys (shard, merchant_id, key_digest, fingerprint, payout_id, at, actor)
SELECT 0, n, '\x00', '\x00', uuid_in(md5(n::text)::cstring), 'epoch', 'migration' FROM generate_series(1, 300) AS n;
ANALYZE idempotency_keys;
TRUNCATE idempotency_keys;
