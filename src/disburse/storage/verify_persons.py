"""What persons did, beside the two yeses it needs: nobody alone ends a doubt, moves a frozen payout, or takes money out. SQL only.

A request names who asked, a decision who agreed; both are append-only (`verify_schema.py`), so what they say was said.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

# What persons can do and the trace of it in evidence and books: kind, the request's id or origin, what it was about.
_DONE = """SELECT shard, 'resolve' AS kind, detail AS request, NULL::uuid AS origin_id, payout_id AS about FROM evidence
        WHERE kind = 'person'
    UNION ALL SELECT shard, 'reverse', NULL, origin_id, origin_id FROM postings
        WHERE reason = 'reversal' AND phase = 'reverse-top-up'
    UNION ALL SELECT shard, 'withdraw', origin_id::text, origin_id, origin_id FROM postings WHERE reason = 'withdrawal'"""

PERSONS = (
    Check(
        "A1 two persons decide",
        "Whatever was agreed to was asked for by one operator before, and agreed to by another.",
        """SELECT d.merchant_id AS merchant, d.request_id AS request, r.actor AS asked, d.actor AS answered, d.verdict
           FROM decisions d LEFT JOIN requests r USING (shard, request_id)
           LEFT JOIN operators a ON r.actor = 'operator:' || a.operator_id
           LEFT JOIN operators b ON d.actor = 'operator:' || b.operator_id
           WHERE (a.operator_id IS NOT NULL AND b.operator_id IS NOT NULL AND r.merchant_id = d.merchant_id
                  AND (d.verdict = 'refused' OR a.operator_id <> b.operator_id)) IS NOT TRUE""",
    ),
    Check(
        "A1 persons' acts have their second yes",
        "Each end by persons, reversal of a top-up and withdrawal was agreed to, and each agreement was carried out, once.",
        f"""SELECT coalesce(asked.kind, done.kind) AS kind, asked.request_id AS request, done.about,
                   coalesce(done.times, 0) AS times
            FROM (SELECT r.*, CASE r.kind WHEN 'reverse' THEN NULL ELSE r.request_id::text END AS request,
                         CASE r.kind WHEN 'resolve' THEN NULL ELSE r.origin_id END AS origin
                  FROM requests r JOIN decisions d USING (shard, request_id) WHERE d.verdict = 'approved') AS asked
            FULL JOIN (SELECT shard, kind, request, origin_id, about, count(*) AS times FROM ({_DONE}) AS done
                       GROUP BY 1, 2, 3, 4, 5) AS done
              ON done.shard = asked.shard AND done.kind = asked.kind
             AND coalesce(done.request, '') = coalesce(asked.request, '')
             AND coalesce(done.origin_id::text, '') = coalesce(asked.origin::text, '')
            WHERE (done.times = 1 AND done.about = asked.origin_id) IS NOT TRUE""",
    ),
    Check(
        "L7 each withdrawal has its posting",
        "A withdrawal stands in the books with the merchant, currency and amount that were agreed to.",
        """SELECT n.merchant_id AS merchant, n.number AS posting, n.amount_minor AS amount, r.amount_minor AS agreed
           FROM postings n LEFT JOIN requests r ON r.shard = n.shard AND r.request_id = n.origin_id AND r.kind = 'withdraw'
           WHERE n.reason = 'withdrawal' AND (n.merchant_id = r.merchant_id AND n.currency = r.currency
               AND n.amount_minor = r.amount_minor) IS NOT TRUE""",
    ),
    Check(
        "L5 a reversal turns one posting round",
        "Each reversal has the posting it turns round, of the same origin and amount, from and to the other way about.",
        """SELECT back.merchant_id AS merchant, back.number AS posting, back.phase, there.number AS reversed
           FROM postings back LEFT JOIN postings there ON there.shard = back.shard AND there.origin_id = back.origin_id
             AND back.phase = 'reverse-' || there.phase
           WHERE back.reason = 'reversal' AND (there.number < back.number AND there.merchant_id = back.merchant_id
               AND there.source = back.destination AND there.destination = back.source AND there.currency = back.currency
               AND there.amount_minor = back.amount_minor) IS NOT TRUE""",
    ),
    Check(
        "W1 corrections are told",
        "A merchant has one event for each reversal of a top-up and one for each withdrawal.",
        """SELECT merchant_id AS merchant, kind, coalesce(n.times, 0) AS postings, coalesce(e.times, 0) AS events
           FROM (SELECT shard, merchant_id, CASE reason WHEN 'withdrawal' THEN 'withdrawal' ELSE 'top_up.reversed' END AS kind,
                        count(*) AS times
                 FROM postings WHERE reason = 'withdrawal' OR (reason = 'reversal' AND phase = 'reverse-top-up') GROUP BY 1, 2, 3) AS n
           FULL JOIN (SELECT shard, merchant_id, kind, count(*) AS times FROM events
                      WHERE kind IN ('withdrawal', 'top_up.reversed') GROUP BY 1, 2, 3) AS e USING (shard, merchant_id, kind)
           WHERE coalesce(n.times, 0) <> coalesce(e.times, 0)""",
    ),
)
