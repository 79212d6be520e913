-- Which saved payee a payout was made for. Only payouts that named one have a row, so nobody else pays for it.
CREATE TABLE payout_payees (
    shard smallint NOT NULL,
    payout_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    payee_id uuid NOT NULL,
    PRIMARY KEY (shard, payout_id)
) /* PARTITION BY HASH (shard) */;

GRANT SELECT, INSERT ON payout_payees TO disburse_app;

-- As in migration 0002: the planner is shown what a bucket is.
INSERT INTO payout_payees (shard, payout_id, merchant_id, payee_id)
SELECT 0, uuid_in(md5(n::text)::cstring), n % 3, uuid_in(md5(n::text)::cstring) FROM generate_series(1, 300) AS n;
ANALYZE payout_payees;
TRUNCATE payout_payees;
