-- An Idempotency-Key may name any request that makes or changes something, not payouts alone.

-- `subject_id`: what the request made or changed, where it is no payout: an endpoint, an API key, a payee, a registry. `proof`: the SHA-256 of a
-- secret that the request made and that is kept sealed elsewhere: so a repeat can tell whether the one that is there is still that one.
ALTER TABLE idempotency_keys ADD COLUMN subject_id uuid, ADD COLUMN proof bytea;
ALTER TABLE idempotency_keys DROP CONSTRAINT a_key_has_one_answer;
ALTER TABLE idempotency_keys ADD CONSTRAINT a_key_has_one_answer CHECK (num_nonnulls(payout_id, subject_id, refusal) = 1
    AND (refusal IS NULL) = (detail IS NULL) AND (proof IS NULL OR subject_id IS NOT NULL));
