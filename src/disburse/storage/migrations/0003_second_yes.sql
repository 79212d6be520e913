-- What one person asks for and another agrees to: ends of doubts and of frozen payouts, corrections of top-ups, withdrawals.
-- Two rows, both append-only: what was asked, and what was answered. A request is answered once.

-- `evidence` is bounded; `evidence_digest` (SHA-256) and `evidence_bytes` are of all that was handed in. `origin_id`: the payout
-- that is to end, the top-up that is to be reversed, or the request itself for a withdrawal. `seen_event`: the payout's last
-- event when it was asked; a payout that moved since is another question.
CREATE TABLE requests (
    shard smallint NOT NULL,
    request_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('resolve', 'reverse', 'withdraw')),
    origin_id uuid NOT NULL,
    reference text,
    attempt integer,
    outcome text CHECK (outcome IN ('paid', 'not-moved')),
    seen_event bigint,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000000),
    evidence text NOT NULL CHECK (length(evidence) <= 4000),
    evidence_digest bytea NOT NULL,
    evidence_bytes bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, request_id),
    CONSTRAINT a_request_is_whole CHECK ((kind = 'resolve') = (attempt IS NOT NULL AND outcome IS NOT NULL
        AND seen_event IS NOT NULL) AND (kind = 'resolve') <> (reference IS NOT NULL))
) /* PARTITION BY HASH (shard) */;
CREATE INDEX requests_by_origin ON requests (shard, origin_id);
CREATE INDEX requests_by_reference ON requests (shard, merchant_id, reference) WHERE reference IS NOT NULL;

-- The second person's answer. `effect`: what an approval did, in a word; of a refusal, its reason.
CREATE TABLE decisions (
    shard smallint NOT NULL,
    request_id uuid NOT NULL,
    merchant_id integer NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('approved', 'refused')),
    effect text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (shard, request_id)
) /* PARTITION BY HASH (shard) */;

-- Persons speak too. `clock_at`: the database's clock when a provider's not-found was stored, which two not-founds are apart by.
ALTER TABLE evidence DROP CONSTRAINT evidence_kind_check;
ALTER TABLE evidence ADD CONSTRAINT evidence_kind_check CHECK (kind IN ('answer', 'inquiry', 'callback', 'lease', 'person'));
ALTER TABLE evidence ADD COLUMN clock_at timestamptz;

-- Frozen payouts are few; who lists or counts them must not walk all the others.
CREATE INDEX payouts_frozen ON payouts (shard, payout_id) WHERE frozen IS NOT NULL;

GRANT SELECT, INSERT ON requests, decisions TO disburse_app;
