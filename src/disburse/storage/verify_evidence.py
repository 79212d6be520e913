"""What providers said, beside what it changed: nothing ended without proof, and no proof was lost. SQL only.

`effect` is what a row of evidence changed when it was heard: a state, `frozen:` and a contradiction's name, `thawed:` and the
state, nothing, or `unmatched` where it speaks of no attempt of ours. What persons said has two more checks (`verify_persons.py`).
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

# State of an attempt, what the provider must have said, what that changed: the proof without which no attempt is there.
_PROOFS = """VALUES
    ('accepted', 'Accepted', 'in_flight'), ('unknown', 'Unknown', 'in_doubt'), ('unknown', 'NotFound', 'in_doubt'),
    ('unknown', 'NotExecuted', 'in_doubt'),
    ('settled', 'Settled', 'paid'), ('settled', 'Returned', 'returned'),
    ('rejected', 'Rejected', 'failed'), ('rejected', 'Rejected', 'queued'),
    ('not_sent', 'NotSent', 'queued'), ('not_sent', 'Absent', 'queued'), ('not_sent', 'NotFound', 'queued'),
    ('settled', 'VouchedPaid', 'paid'), ('settled', 'VouchedPaid', 'thawed:paid'),
    ('rejected', 'VouchedNotMoved', 'failed'), ('rejected', 'VouchedNotMoved', 'thawed:failed'),
    ('rejected', 'VouchedPaid', 'thawed:paid')"""

# What evidence changed, and the states of an attempt in which that change is still to be seen.
_STANDS = """VALUES ('paid', 'settled'), ('returned', 'settled'), ('failed', 'rejected'),
    ('queued', 'rejected'), ('queued', 'not_sent')"""

EVIDENCE = (
    Check(
        "E3 every outcome rests on evidence",
        "An attempt that was sent is accepted, unknown, settled, refused or absent only because a stored message made it so.",
        f"""SELECT a.merchant_id AS merchant, a.payout_id AS payout, a.number AS attempt, a.state
            FROM attempts a
            WHERE a.connector IS NOT NULL AND a.state NOT IN ('due', 'open') AND NOT EXISTS (
                SELECT FROM evidence e JOIN ({_PROOFS}) AS proof (state, verdict, effect) USING (verdict, effect)
                WHERE e.shard = a.shard AND e.payout_id = a.payout_id AND proof.state = a.state
                  AND (e.attempt = a.number OR (e.kind = 'person' AND a.state = 'rejected' AND a.reason = 'resolved')))""",
    ),
    Check(
        "E9 what evidence changed still stands",
        "Whatever a stored message ended is still ended that way: nothing was rewritten after it.",
        f"""SELECT e.merchant_id AS merchant, e.payout_id AS payout, e.attempt, e.effect, a.state
            FROM evidence e
            LEFT JOIN attempts a ON a.shard = e.shard AND a.payout_id = e.payout_id AND a.number = e.attempt
            LEFT JOIN ({_STANDS}) AS stands (effect, state) ON stands.effect = e.effect AND stands.state = a.state
            WHERE e.effect IN ('paid', 'returned', 'failed', 'queued') AND stands.state IS NULL""",
    ),
    Check(
        "E7 evidence speaks of its attempt",
        "A matched message carries the id and the connector of the attempt it was applied to; any other was kept unmatched.",
        """SELECT e.merchant_id AS merchant, e.payout_id AS payout, e.attempt, e.effect, encode(e.digest, 'hex') AS message
           FROM evidence e
           LEFT JOIN attempts a ON a.shard = e.shard AND a.payout_id = e.payout_id AND a.number = e.attempt
           WHERE CASE WHEN e.effect = 'unmatched' THEN num_nonnulls(e.payout_id, e.attempt, e.merchant_id) = 0
                      ELSE a.end_to_end_id = e.end_to_end_id AND a.connector = e.connector END IS NOT TRUE""",
    ),
    Check(
        "E2 an operation is remembered",
        "What a two-step provider made and was stored is what its attempt is asked by: nothing else of it may have been executed.",
        """SELECT e.merchant_id AS merchant, e.payout_id AS payout, e.attempt, e.detail AS made, a.provider_reference AS asked_by
           FROM evidence e
           LEFT JOIN attempts a ON a.shard = e.shard AND a.payout_id = e.payout_id AND a.number = e.attempt
           WHERE e.verdict = 'Made' AND a.provider_reference IS DISTINCT FROM e.detail""",
    ),
    Check(
        "E2 an operation is one attempt's",
        "An operation of a two-step provider belongs to the attempt it was made for, and is no other attempt's reference.",
        """SELECT 'remembered' AS what, e.payout_id AS payout, e.attempt, e.connector, e.detail AS operation, o.payout_id AS belongs_to
           FROM evidence e LEFT JOIN provider_operations o ON o.connector = e.connector AND o.reference = e.detail
           WHERE e.verdict = 'Made' AND (o.payout_id = e.payout_id AND o.number = e.attempt) IS NOT TRUE
           UNION ALL
           SELECT 'asked by', a.payout_id, a.number, a.connector, a.provider_reference, o.payout_id
           FROM attempts a JOIN provider_operations o ON o.connector = a.connector AND o.reference = a.provider_reference
           WHERE o.payout_id <> a.payout_id OR o.number <> a.number
           UNION ALL
           SELECT 'of nobody', o.payout_id, o.number, o.connector, o.reference, a.payout_id
           FROM provider_operations o LEFT JOIN attempts a
             ON a.payout_id = o.payout_id AND a.number = o.number AND a.connector = o.connector
           WHERE a.payout_id IS NULL""",
    ),
    Check(
        "E3 absence is found twice",
        "Where a not-found ended an attempt, another was stored before it, both while nobody could send and some time apart.",
        """SELECT e.merchant_id AS merchant, e.payout_id AS payout, e.attempt FROM evidence e
           WHERE e.verdict = 'NotFound' AND e.effect = 'queued' AND NOT EXISTS (
               SELECT FROM evidence first WHERE first.shard = e.shard AND first.end_to_end_id = e.end_to_end_id
                 AND first.digest <> e.digest AND first.verdict = 'NotFound' AND first.effect = 'nothing'
                 AND first.clock_at <= e.clock_at)""",
    ),
    Check(
        "E11 a contradiction freezes",
        "A payout is frozen by messages that contradict what was proven, each told in an event, and stays so until persons end it.",
        """WITH said AS (SELECT shard, payout_id, count(*) FILTER (WHERE starts_with(effect, 'frozen:')) AS frozen,
                                count(*) FILTER (WHERE starts_with(effect, 'thawed:') AND kind = 'person') AS thawed
                         FROM evidence WHERE starts_with(effect, 'frozen:') OR starts_with(effect, 'thawed:') GROUP BY 1, 2),
                told AS (SELECT shard, payout_id, count(*) FILTER (WHERE kind = 'payout.frozen') AS frozen,
                                count(*) FILTER (WHERE kind = 'payout.thawed') AS thawed,
                                (array_agg(detail ORDER BY number DESC))[1] AS why,
                                (array_agg(kind ORDER BY number DESC))[1] = 'payout.frozen' AS still
                         FROM events WHERE kind IN ('payout.frozen', 'payout.thawed') GROUP BY 1, 2)
           SELECT payout_id AS payout, p.frozen, said.frozen AS evidence, told.frozen AS events, told.thawed
           FROM (SELECT shard, payout_id, frozen FROM payouts) AS p
           FULL JOIN said USING (shard, payout_id) FULL JOIN told USING (shard, payout_id)
           WHERE (p.frozen IS NOT NULL OR said.frozen IS NOT NULL OR told.frozen IS NOT NULL)
             AND (said.frozen = told.frozen AND said.thawed = told.thawed
                  AND said.frozen = said.thawed + (p.frozen IS NOT NULL)::int
                  AND told.still = (p.frozen IS NOT NULL) AND coalesce(p.frozen, told.why) = told.why) IS NOT TRUE""",
    ),
    Check(
        "E11 money beyond proof is in suspense",
        "What a provider said it paid after it was proven not to is posted from suspense, each time it was told, and nothing else is.",
        """SELECT payout_id AS payout, attempt, said.amount AS told, posted.amount AS posted
           FROM (SELECT e.shard, e.payout_id, e.attempt, count(*) AS times,
                        sum(CASE e.detail WHEN '' THEN p.amount_minor
                            ELSE replace(split_part(e.detail, ' ', 1), '.', '')::bigint END)::bigint AS amount
                 FROM evidence e JOIN payouts p USING (shard, payout_id)
                 WHERE e.effect = 'frozen:paid_after_refusal' GROUP BY 1, 2, 3) AS said
           FULL JOIN (SELECT shard, origin_id AS payout_id, split_part(phase, '-', 2)::int AS attempt, count(*) AS times,
                             sum(amount_minor)::bigint AS amount
                      FROM postings WHERE reason = 'contradiction' GROUP BY 1, 2, 3) AS posted USING (shard, payout_id, attempt)
           LEFT JOIN (SELECT shard, payout_id, attempt, count(*) AS times FROM evidence
                      WHERE verdict = 'VouchedPaid' AND starts_with(effect, 'thawed:') GROUP BY 1, 2, 3) AS vouched
             USING (shard, payout_id, attempt)
           LEFT JOIN payouts p USING (shard, payout_id)
           WHERE (posted.times - coalesce(said.times, 0) BETWEEN 0 AND coalesce(vouched.times, 0)
                  AND posted.amount = coalesce(said.amount, 0)
                      + (posted.times - coalesce(said.times, 0)) * p.amount_minor) IS NOT TRUE""",
    ),
)
