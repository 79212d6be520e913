-- A two-step provider's operation belongs to one attempt at most, for ever: executed for one, it must not be taken for the payment
-- of another. One row for each operation that an attempt was ever told of, whether it was executed or not; written in the
-- transaction that remembers it, before anything is executed, and never changed.

-- No bucket: an id that is given to merchants of two buckets has to meet itself here. A cluster distributes this table by
-- `reference`, and remembering is then a transaction in two places. Providers of one step never write here.
CREATE TABLE provider_operations (
    connector text NOT NULL,
    reference text NOT NULL,
    payout_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (connector, reference)
);

GRANT SELECT, INSERT ON provider_operations TO disburse_app;

-- As in migration 0002: the planner is shown that there are many.
INSERT INTO provider_operations (connector, reference, payout_id, number, at, actor)
SELECT 'x', n::text, uuid_in(md5(n::text)::cstring), 1, 'epoch', 'migration' FROM generate_series(1, 300) AS n;
ANALYZE provider_operations;
TRUNCATE provider_operations;

-- What was remembered until now. Where two attempts already have one operation it is the first one's, so that no third can get
-- it; `disburse verify` names the others.
INSERT INTO provider_operations (connector, reference, payout_id, number, at, actor)
SELECT DISTINCT ON (connector, detail) connector, detail, payout_id, attempt, heard_at, actor
FROM evidence WHERE verdict = 'Made' AND payout_id IS NOT NULL AND attempt IS NOT NULL
ORDER BY connector, detail, heard_at, payout_id, attempt;
