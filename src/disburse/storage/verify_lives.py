"""Payouts, attempts and events: who may stand beside whom, what is numbered, what an obligation may have. SQL only.

What a state means is written out here a second time, apart from the code that moves payouts. Only which steps exist comes
from the table in `domain/payout.py`: it is the law.
"""

from __future__ import annotations

from disburse.domain.payout import FINAL, MOVES, PayoutState
from disburse.storage.verify_check import Check, gapless

S = PayoutState
_BIRTHS = {(None, state) for state in (S.CREATED, *MOVES[S.CREATED].values())}
_STEPS = {(before, after) for before, moves in MOVES.items() for after in moves.values()}
_SAME = {(state, state) for state in PayoutState}  # accepted, frozen, returned once more
_AT_ONCE = {(S.IN_FLIGHT, S.RETURNED), (S.IN_DOUBT, S.RETURNED)}  # a return was heard of before the payment

_LEGAL = sorted((str(before or "nothing"), str(after)) for before, after in _BIRTHS | _STEPS | _SAME | _AT_ONCE)

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

_PAYOUTS = (
    Check(
        "C1 one payout a reference",
        "A merchant's reference on one surface has one payout, for ever, and no two payouts share what their ids derive from.",
        """SELECT merchant_id AS merchant, 'reference' AS shared, count(*) AS payouts, min(payout_id::text) AS payout FROM payouts
           WHERE reference IS NOT NULL GROUP BY shard, merchant_id, surface, reference HAVING count(*) > 1
           UNION ALL
           SELECT min(merchant_id), 'base', count(*), min(payout_id::text) FROM payouts GROUP BY base HAVING count(*) > 1""",
    ),
    Check(
        "C3 one event a mismatch",
        "Each content that differed from the one its reference stands for is told in one event.",
        """SELECT payout_id AS payout, coalesce(m.times, 0) AS contents, coalesce(e.times, 0) AS events
           FROM (SELECT shard, payout_id, count(*) AS times FROM mismatches GROUP BY 1, 2) AS m
           FULL JOIN (SELECT shard, payout_id, count(*) AS times FROM events WHERE kind = 'payout.reference_mismatch'
                      GROUP BY 1, 2) AS e USING (shard, payout_id)
           WHERE coalesce(m.times, 0) <> coalesce(e.times, 0)""",
    ),
    Check(
        "L9 payout numbers have no gaps",
        "A merchant's payouts are numbered 1, 2, 3 and so on, up to the counter on its row.",
        gapless("payouts", "payouts"),
    ),
    Check(
        "H6 what waits will expire",
        "Each payout that was not executed, or waits for approval, stands on the sweeper's list, no later than its time.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state
           FROM payouts p LEFT JOIN expiries e USING (shard, payout_id)
           WHERE p.state IN ('created', 'unfunded', 'awaiting_approval') AND (e.expires_at <= p.expires_at) IS NOT TRUE""",
    ),
    Check(
        "E4 ids carry their bucket",
        "A payout's id and base name the bucket its rows are in, so that whoever has the id finds them.",
        f"""SELECT merchant_id AS merchant, payout_id AS payout, shard AS bucket FROM payouts
            WHERE (('x' || substr(replace(payout_id::text, '-', ''), 17, 3))::bit(12)::int & 1023) <> shard
               OR (base ~ '^[a-z2-7]{{28}}$' AND 32 * (strpos('{_LETTERS}', substr(base, 1, 1)) - 1)
                   + strpos('{_LETTERS}', substr(base, 2, 1)) - 1 = shard) IS NOT TRUE""",
    ),
    Check(
        "S3 a payout's rows are its merchant's",
        "Attempts, their routes, events, evidence and waiting lists name a payout that exists, in its bucket, and its merchant.",
        """SELECT r.what, r.merchant_id AS merchant, r.payout_id AS payout
           FROM (SELECT 'attempt' AS what, shard, merchant_id, payout_id FROM attempts
                 UNION ALL SELECT 'route', shard, merchant_id, payout_id FROM routings
                 UNION ALL SELECT 'event', shard, merchant_id, payout_id FROM events WHERE payout_id IS NOT NULL
                 UNION ALL SELECT 'evidence', shard, merchant_id, payout_id FROM evidence WHERE payout_id IS NOT NULL
                 UNION ALL SELECT 'expiry', shard, merchant_id, payout_id FROM expiries
                 UNION ALL SELECT 'time', shard, merchant_id, payout_id FROM schedules
                 UNION ALL SELECT 'approval', shard, merchant_id, subject_id FROM approval_needs WHERE kind = 'payout') AS r
           LEFT JOIN payouts p USING (shard, payout_id)
           WHERE (p.merchant_id = r.merchant_id) IS NOT TRUE""",
    ),
    Check(
        "H5 final means finished",
        "A payout has an end time when its state is final, and only then.",
        """SELECT merchant_id AS merchant, payout_id AS payout, state, finished_at IS NOT NULL AS finished FROM payouts
           WHERE (state IN ('paid', 'failed', 'cancelled', 'expired', 'returned')) <> (finished_at IS NOT NULL)""",
    ),
)

_ATTEMPTS = (
    Check(
        "E1 one live attempt",
        "A payout has at most one attempt that moved money or may have: the others were refused or never sent.",
        """SELECT merchant_id AS merchant, payout_id AS payout, count(*) AS live FROM attempts
           WHERE state NOT IN ('rejected', 'not_sent') GROUP BY shard, merchant_id, payout_id HAVING count(*) > 1""",
    ),
    Check(
        "E1 attempts fit the payout's state",
        "A queued payout's live attempt is due, one in flight is open or accepted, one in doubt unknown, one paid settled, and no "
        "other payout has a live attempt; whatever failed had one. What persons had covered has none and is paid.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, coalesce(t.attempts, 0) AS attempts, t.live
           FROM payouts p
           LEFT JOIN (SELECT shard, payout_id, count(*) AS attempts,
                             string_agg(state, ' ' ORDER BY number) FILTER (WHERE state NOT IN ('rejected', 'not_sent')) AS live
                      FROM attempts GROUP BY 1, 2) AS t USING (shard, payout_id)
           LEFT JOIN postings covered ON covered.shard = p.shard AND covered.origin_id = p.payout_id AND covered.phase = 'end'
             AND covered.reason = 'covered'
           WHERE CASE
               WHEN p.state IN ('paid', 'returned') AND covered.number IS NOT NULL THEN t.live IS NULL AND t.attempts > 0
               WHEN p.state IN ('created', 'unfunded') THEN t.attempts IS NULL
               WHEN p.state IN ('awaiting_approval', 'scheduled') THEN coalesce(t.live, 'due') = 'due'
               WHEN p.state = 'queued' THEN t.live = 'due'
               WHEN p.state = 'in_flight' THEN t.live IN ('open', 'accepted')
               WHEN p.state = 'in_doubt' THEN t.live = 'unknown'
               WHEN p.state IN ('paid', 'returned') THEN t.live = 'settled'
               WHEN p.state = 'failed' THEN t.live IS NULL AND t.attempts > 0
               ELSE t.live IS NULL END IS NOT TRUE""",
    ),
    Check(
        "E3 attempts follow one another",
        "A payout's attempts are numbered 1 up to its count of attempts, and only the last one may be live.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.attempts AS counted, coalesce(t.rows, 0) AS attempts,
                  t.first, t.last, t.live
           FROM payouts p
           LEFT JOIN (SELECT shard, payout_id, count(DISTINCT number) AS rows, min(number) AS first, max(number) AS last,
                             min(number) FILTER (WHERE state NOT IN ('rejected', 'not_sent')) AS live
                      FROM attempts GROUP BY 1, 2) AS t USING (shard, payout_id)
           WHERE coalesce(t.rows, 0) <> p.attempts OR coalesce(t.first, 1) <> 1 OR coalesce(t.last, 0) <> p.attempts
              OR t.live < t.last""",
    ),
    Check(
        "E4 end-to-end ids derive from the base",
        "What the provider knows an attempt by is the payout's base, a dash and the attempt's number; none is used twice.",
        """SELECT a.merchant_id AS merchant, a.payout_id AS payout, a.number AS attempt, 'other' AS id
           FROM attempts a JOIN payouts p USING (shard, payout_id)
           WHERE a.end_to_end_id <> p.base || '-' || a.number
           UNION ALL
           SELECT min(merchant_id), (array_agg(payout_id ORDER BY payout_id))[1], min(number), 'shared' FROM attempts
           WHERE end_to_end_id IS NOT NULL GROUP BY connector, end_to_end_id HAVING count(*) > 1""",
    ),
    Check(
        "E2 an intent is whole",
        "Whatever may have left the house has its connector, id, request digest, owner, lease and time; what is due has none.",
        """SELECT merchant_id AS merchant, payout_id AS payout, number AS attempt, state FROM attempts
           WHERE num_nonnulls(connector, end_to_end_id, request_digest, owner, lease_until, opened_at)
                 NOT IN (CASE WHEN state = 'due' THEN 0 ELSE 6 END, CASE WHEN state IN ('due', 'not_sent') THEN 0 ELSE 6 END)
              OR octet_length(request_digest) <> 32 OR btrim(owner) = ''
              OR (epoch > 0) <> (connector IS NOT NULL)""",
    ),
    Check(
        "E15 nothing under way is forgotten",
        "Each attempt whose end nobody knows has a time of its next question, and doubt has a beginning; an ended one has an end.",
        """SELECT merchant_id AS merchant, payout_id AS payout, number AS attempt, state FROM attempts
           WHERE (state IN ('open', 'accepted', 'unknown')) <> (ask_at IS NOT NULL)
              OR (state = 'unknown') <> (doubt_since IS NOT NULL)
              OR (state IN ('settled', 'rejected', 'not_sent')) <> (ended_at IS NOT NULL)""",
    ),
)

_EVENTS = (
    Check(
        "W1 event numbers have no gaps",
        "A merchant's events are numbered 1, 2, 3 and so on, up to the counter on its row.",
        gapless("events", "events"),
    ),
    Check(
        "H5 the last event names the state",
        "A payout's last event, mismatches of its reference aside, names the state it is in; the payout knows first and last.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, last.state AS told,
                  p.last_event AS knows, e.last AS event
           FROM payouts p
           LEFT JOIN (SELECT shard, payout_id, min(number) AS first, max(number) AS last FROM events
                      WHERE kind <> 'payout.reference_mismatch' GROUP BY 1, 2) AS e USING (shard, payout_id)
           LEFT JOIN events last ON last.shard = p.shard AND last.merchant_id = p.merchant_id AND last.number = e.last
           WHERE p.first_event IS DISTINCT FROM e.first OR p.last_event IS DISTINCT FROM e.last
              OR p.state IS DISTINCT FROM last.state""",
    ),
    Check(
        "E8 payouts move by the table",
        "From one event of a payout to the next its state makes only steps that the table of states has.",
        """SELECT told.merchant_id AS merchant, told.payout_id AS payout, told.number AS event, told.before, told.state
           FROM (SELECT merchant_id, payout_id, number, state,
                        lag(state, 1, 'nothing') OVER (PARTITION BY shard, payout_id ORDER BY number) AS before
                 FROM events WHERE payout_id IS NOT NULL AND state IS NOT NULL) AS told
           LEFT JOIN unnest($1::text[], $2::text[]) AS legal (before, state) USING (before, state)
           WHERE legal.state IS NULL""",
        ([before for before, _ in _LEGAL], [after for _, after in _LEGAL]),
    ),
    Check(
        "W5 final stays final",
        "After an event with a final state a payout has no event but a return, a contradiction, its end by persons, or a mismatch.",
        """SELECT e.merchant_id AS merchant, e.payout_id AS payout, e.number AS event, e.kind
           FROM events e
           JOIN (SELECT shard, payout_id, min(number) AS number FROM events WHERE state = ANY ($1::text[]) GROUP BY 1, 2) AS ended
             ON ended.shard = e.shard AND ended.payout_id = e.payout_id AND e.number > ended.number
           WHERE e.kind NOT IN ('payout.returned', 'payout.frozen', 'payout.thawed', 'payout.reference_mismatch')""",
        (sorted(str(state) for state in FINAL),),
    ),
    Check(
        "W1 every act names its actor",
        "Each payout, attempt, operation, posting, top-up, event, request and piece of evidence says who did it.",
        """SELECT what, merchant_id AS merchant, row, actor
           FROM (SELECT 'payout' AS what, merchant_id, payout_id::text AS row, actor FROM payouts
                 UNION ALL SELECT 'attempt', merchant_id, payout_id || '-' || number, actor FROM attempts
                 UNION ALL SELECT 'posting', merchant_id, number::text, actor FROM postings
                 UNION ALL SELECT 'top-up', merchant_id, top_up_id::text, actor FROM top_ups
                 UNION ALL SELECT 'event', merchant_id, number::text, actor FROM events
                 UNION ALL SELECT 'evidence', merchant_id, encode(digest, 'hex'), actor FROM evidence
                 UNION ALL SELECT 'request', merchant_id, request_id::text, actor FROM requests
                 UNION ALL SELECT 'decision', merchant_id, request_id::text, actor FROM decisions
                 UNION ALL SELECT 'approval', merchant_id, subject_id::text, actor FROM approvals
                 UNION ALL SELECT 'operation', NULL, connector || ' ' || reference, actor FROM provider_operations
                 UNION ALL SELECT 'merchant', merchant_id, '', actor FROM merchant_settings
                 UNION ALL SELECT 'operator', NULL, operator_id::text, actor FROM operators) AS acts
           WHERE coalesce(btrim(actor), '') = ''""",
    ),
)

LIVES = (*_PAYOUTS, *_ATTEMPTS, *_EVENTS)
