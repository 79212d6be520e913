"""What providers said, beside what it changed: nothing ended without proof, and no proof was lost. SQL only.

`effect` is what a row of evidence changed when it was heard: a state, `frozen:` and a contradiction's name, nothing, or
`unmatched` where it speaks of no attempt of ours.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

# State of an attempt, what the provider must have said, what that changed: the proof without which no attempt is there.
_PROOFS = """VALUES
    ('accepted', 'Accepted', 'in_flight'), ('unknown', 'Unknown', 'in_doubt'), ('unknown', 'NotFound', 'in_doubt'),
    ('unknown', 'NotExecuted', 'in_doubt'),
    ('settled', 'Settled', 'paid'), ('settled', 'Returned', 'returned'),
    ('rejected', 'Rejected', 'failed'), ('rejected', 'Rejected', 'queued'),
    ('not_sent', 'NotSent', 'queued'), ('not_sent', 'Absent', 'queued')"""

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
                WHERE e.shard = a.shard AND e.payout_id = a.payout_id AND e.attempt = a.number AND proof.state = a.state)""",
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
        "E11 a contradiction freezes",
        "A payout is frozen by a message that contradicts what was proven, that message and its event are kept, and it stays frozen.",
        """WITH said AS (SELECT shard, payout_id, count(*) AS times, min(substr(effect, 8)) AS why FROM evidence
                         WHERE starts_with(effect, 'frozen:') GROUP BY 1, 2),
                told AS (SELECT shard, payout_id, min(detail) AS why FROM events WHERE kind = 'payout.frozen' GROUP BY 1, 2)
           SELECT payout_id AS payout, p.frozen, said.why AS evidence, told.why AS event
           FROM (SELECT shard, payout_id, frozen FROM payouts WHERE frozen IS NOT NULL) AS p
           FULL JOIN said USING (shard, payout_id) FULL JOIN told USING (shard, payout_id)
           WHERE (p.frozen = said.why AND p.frozen = told.why AND said.times = 1) IS NOT TRUE""",
    ),
    Check(
        "E11 money beyond proof is in suspense",
        "What a provider paid after it was proven not to is posted from suspense, once and whole, and nothing else is.",
        """SELECT payout_id AS payout, said.attempt, p.amount_minor AS amount, posted.amount AS posted
           FROM (SELECT shard, payout_id, attempt, 'contradiction-' || attempt AS phase FROM evidence
                 WHERE effect = 'frozen:paid_after_refusal') AS said
           FULL JOIN (SELECT shard, origin_id AS payout_id, phase, amount_minor AS amount FROM postings
                      WHERE reason = 'contradiction') AS posted USING (shard, payout_id, phase)
           LEFT JOIN payouts p USING (shard, payout_id)
           WHERE (said.attempt IS NOT NULL AND posted.amount = p.amount_minor) IS NOT TRUE""",
    ),
)
