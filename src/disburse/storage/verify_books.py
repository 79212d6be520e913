"""The ledger: postings, cached balances, holds, and what each account must come to. SQL only.

Holds, accounts and payouts are compared three ways that do not lean on each other: the sums of postings against the cached
balances, the postings of each payout against its state, and the balances against the payouts and attempts under way.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check, gapless

# Reason, source, destination: the table of design.md section 4. A reversal turns any of them round.
_ROUTES = """VALUES
    ('top_up', 'funding', 'available'), ('hold', 'available', 'held'), ('claim', 'held', 'in_flight'),
    ('doubt', 'in_flight', 'in_doubt'), ('heard', 'in_doubt', 'in_flight'),
    ('paid', 'in_flight', 'paid'), ('paid', 'in_doubt', 'paid'), ('fee', 'held', 'fees'),
    ('try_again', 'in_flight', 'held'), ('try_again', 'in_doubt', 'held'),
    ('release', 'held', 'available'), ('release', 'in_flight', 'available'), ('release', 'in_doubt', 'available'),
    ('returned', 'paid', 'available'), ('contradiction', 'suspense', 'paid'), ('withdrawal', 'available', 'funding'),
    ('covered', 'held', 'suspense'), ('covered', 'in_flight', 'suspense'), ('covered', 'in_doubt', 'suspense'),
    ('returned', 'suspense', 'available')"""


def _accounts(expected: str, which: str) -> str:
    """Balances of some accounts against what other rows (shard, merchant_id, currency, account, amount) say they must be."""
    return f"""
        WITH expected AS (SELECT shard, merchant_id, currency, account, sum(amount)::bigint AS amount
                          FROM ({expected}) AS one GROUP BY 1, 2, 3, 4),
             kept AS (SELECT * FROM balances WHERE {which})
        SELECT merchant_id AS merchant, currency, account, coalesce(kept.balance_minor, 0) AS balance,
               coalesce(expected.amount, 0) AS expected
        FROM expected FULL JOIN kept USING (shard, merchant_id, currency, account)
        WHERE coalesce(kept.balance_minor, 0) <> coalesce(expected.amount, 0)"""


_POSTINGS = (
    Check(
        "L1 postings are whole",
        "Each posting moves more than zero, and no more than 10^15 minor units, from one account to another.",
        """SELECT merchant_id AS merchant, number AS posting, source, destination, amount_minor AS amount FROM postings
           WHERE (source <> destination AND amount_minor BETWEEN 1 AND 1000000000000000) IS NOT TRUE""",
    ),
    Check(
        "L1 postings go where their reason says",
        "Each posting goes between the kinds of account that its reason allows, and stays with one provider.",
        f"""SELECT merchant_id AS merchant, p.reason, p.source, p.destination, p.posting
            FROM (SELECT merchant_id, reason, source, destination, min(number) AS posting FROM postings
                  WHERE reason <> 'reversal' GROUP BY shard, merchant_id, reason, source, destination) AS p
            LEFT JOIN ({_ROUTES}) AS route (reason, source, destination) ON route.reason = p.reason
              AND route.source = split_part(p.source, ':', 1) AND route.destination = split_part(p.destination, ':', 1)
            WHERE route.reason IS NULL OR (p.reason IN ('doubt', 'heard', 'paid', 'contradiction')
              AND split_part(p.source, ':', 2) <> split_part(p.destination, ':', 2))""",
    ),
    Check(
        "L2 all accounts together are zero",
        "The balances of a merchant in one currency sum to zero.",
        """SELECT merchant_id AS merchant, currency, sum(balance_minor)::bigint AS sum FROM balances
           GROUP BY shard, merchant_id, currency HAVING sum(balance_minor) <> 0""",
    ),
    Check(
        "L3 balances equal postings",
        "Each cached balance is the sum of the postings of its account.",
        _accounts(
            """SELECT shard, merchant_id, currency, account, amount
               FROM (SELECT shard, merchant_id, currency, source, destination, sum(amount_minor) AS total
                     FROM postings GROUP BY 1, 2, 3, 4, 5) AS flow
               CROSS JOIN LATERAL (VALUES (source, -total), (destination, total)) AS side (account, amount)""",
            "true",
        ),
    ),
    Check(
        "L4 no account was ever overdrawn",
        "After every posting, in the order of their numbers, each account but funding and suspense is zero or more.",
        """SELECT merchant_id AS merchant, currency, account, min(number) AS posting, min(balance)::bigint AS lowest
           FROM (SELECT shard, merchant_id, currency, account, number,
                        sum(change) OVER (PARTITION BY shard, merchant_id, currency, account ORDER BY number
                                          RANGE UNBOUNDED PRECEDING) AS balance
                 FROM (SELECT shard, merchant_id, currency, source AS account, number, -amount_minor AS change FROM postings
                       UNION ALL
                       SELECT shard, merchant_id, currency, destination, number, amount_minor FROM postings) AS sides
                 WHERE account <> 'funding' AND NOT starts_with(account, 'suspense:')) AS prefixes
           WHERE balance < 0 GROUP BY shard, merchant_id, currency, account""",
    ),
    Check(
        "L7 nothing is posted twice",
        "One payout or top-up has at most one posting of each phase.",
        """SELECT origin_id AS origin, phase, count(*) AS postings FROM postings
           GROUP BY shard, origin_id, phase HAVING count(*) > 1""",
    ),
    Check(
        "L7 each top-up has its posting",
        "Each top-up stands in the books once, with its merchant, currency and amount, and the books know no other.",
        """SELECT coalesce(t.merchant_id, p.merchant_id) AS merchant, t.top_up_id AS top_up, p.number AS posting
           FROM top_ups t
           FULL JOIN (SELECT * FROM postings WHERE reason = 'top_up') AS p ON p.shard = t.shard AND p.origin_id = t.top_up_id
           WHERE (p.merchant_id = t.merchant_id AND p.currency = t.currency AND p.amount_minor = t.amount_minor) IS NOT TRUE""",
    ),
    Check(
        "W1 each top-up is told",
        "A merchant has one event for each of its top-ups.",
        """SELECT merchant_id AS merchant, coalesce(t.times, 0) AS top_ups, coalesce(e.times, 0) AS events
           FROM (SELECT shard, merchant_id, count(*) AS times FROM top_ups GROUP BY 1, 2) AS t
           FULL JOIN (SELECT shard, merchant_id, count(*) AS times FROM events WHERE kind = 'top_up' GROUP BY 1, 2) AS e
             USING (shard, merchant_id)
           WHERE coalesce(t.times, 0) <> coalesce(e.times, 0)""",
    ),
    Check(
        "L8 postings belong to their origin",
        "Each posting has the merchant and the currency of the payout, top-up or withdrawal it was made for.",
        """SELECT p.merchant_id AS merchant, p.number AS posting, p.currency, p.origin_id AS origin
           FROM postings p
           LEFT JOIN (SELECT shard, payout_id AS origin_id, merchant_id, currency FROM payouts
                      UNION ALL SELECT shard, top_up_id, merchant_id, currency FROM top_ups
                      UNION ALL SELECT shard, request_id, merchant_id, currency FROM requests WHERE kind = 'withdraw') AS origin
             USING (shard, origin_id)
           WHERE (origin.merchant_id = p.merchant_id AND origin.currency = p.currency) IS NOT TRUE""",
    ),
    Check(
        "L9 posting numbers have no gaps",
        "A merchant's postings are numbered 1, 2, 3 and so on, up to the counter on its row.",
        gapless("postings", "postings"),
    ),
)

_HOLDS = (
    Check(
        "H1 one hold of amount and fee",
        "A payout has no hold before it is executed and one afterwards, of its amount and fee.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, p.amount_minor + p.fee_minor AS expected,
                  coalesce(hold.times, 0) AS holds, hold.amount AS held
           FROM payouts p
           LEFT JOIN (SELECT shard, origin_id, count(*) AS times, sum(amount_minor)::bigint AS amount FROM postings
                      WHERE reason = 'hold' GROUP BY 1, 2) AS hold ON hold.shard = p.shard AND hold.origin_id = p.payout_id
           WHERE coalesce(hold.times, 0) <> CASE
                     WHEN p.state IN ('created', 'unfunded') THEN 0
                     WHEN p.state IN ('cancelled', 'expired') AND p.attempts = 0 THEN least(coalesce(hold.times, 0), 1)
                     ELSE 1 END
              OR hold.amount <> p.amount_minor + p.fee_minor""",
    ),
    Check(
        "H2 a hold ends once and whole",
        "A final payout's hold was settled or released, all of it and never both; another's was not touched.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, coalesce(e.paid, 0) AS paid,
                  coalesce(e.fee, 0) AS fee, coalesce(e.released, 0) AS released
           FROM payouts p
           LEFT JOIN (SELECT shard, origin_id, sum(amount_minor) FILTER (WHERE reason = 'hold')::bigint AS held,
                             sum(amount_minor) FILTER (WHERE reason IN ('paid', 'covered'))::bigint AS paid,
                             sum(amount_minor) FILTER (WHERE reason = 'fee')::bigint AS fee,
                             sum(amount_minor) FILTER (WHERE reason = 'release')::bigint AS released
                      FROM postings WHERE reason IN ('hold', 'paid', 'covered', 'fee', 'release') GROUP BY 1, 2) AS e
             ON e.shard = p.shard AND e.origin_id = p.payout_id
           WHERE (coalesce(e.paid, 0), coalesce(e.fee, 0), coalesce(e.released, 0)) <> CASE
               WHEN p.state IN ('paid', 'returned') THEN (p.amount_minor, p.fee_minor, 0::bigint)
               WHEN p.state IN ('failed', 'cancelled', 'expired') THEN (0::bigint, 0::bigint, coalesce(e.held, 0))
               ELSE (0::bigint, 0::bigint, 0::bigint) END""",
    ),
    Check(
        "H3 held money equals payouts under way",
        "A merchant's held, in_flight and in_doubt together are the amounts and fees of its executed payouts that are not final.",
        """WITH owed AS (SELECT shard, merchant_id, currency, sum(amount_minor + fee_minor)::bigint AS amount FROM payouts
                         WHERE state IN ('awaiting_approval', 'scheduled', 'queued', 'in_flight', 'in_doubt') GROUP BY 1, 2, 3),
                kept AS (SELECT shard, merchant_id, currency, sum(balance_minor)::bigint AS amount FROM balances
                         WHERE split_part(account, ':', 1) IN ('held', 'in_flight', 'in_doubt') GROUP BY 1, 2, 3)
           SELECT merchant_id AS merchant, currency, coalesce(kept.amount, 0) AS held, coalesce(owed.amount, 0) AS payouts
           FROM owed FULL JOIN kept USING (shard, merchant_id, currency)
           WHERE coalesce(kept.amount, 0) <> coalesce(owed.amount, 0)""",
    ),
    Check(
        "H3 each payout's money lies where its state says",
        "By its own postings a payout's money is held when it waits, in_flight or in_doubt when it is there, and nowhere after.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, coalesce(n.held, 0) AS held,
                  coalesce(n.in_flight, 0) AS in_flight, coalesce(n.in_doubt, 0) AS in_doubt
           FROM payouts p
           LEFT JOIN (SELECT shard, origin_id,
                             sum(CASE 'held' WHEN destination THEN amount_minor WHEN source THEN -amount_minor END)::bigint
                                 AS held,
                             sum(CASE WHEN starts_with(destination, 'in_flight:') THEN amount_minor
                                      WHEN starts_with(source, 'in_flight:') THEN -amount_minor END)::bigint AS in_flight,
                             sum(CASE WHEN starts_with(destination, 'in_doubt:') THEN amount_minor
                                      WHEN starts_with(source, 'in_doubt:') THEN -amount_minor END)::bigint AS in_doubt
                      FROM postings GROUP BY 1, 2) AS n ON n.shard = p.shard AND n.origin_id = p.payout_id
           WHERE (coalesce(n.held, 0), coalesce(n.in_flight, 0), coalesce(n.in_doubt, 0)) <> CASE
               WHEN p.state IN ('awaiting_approval', 'scheduled', 'queued')
                   THEN (p.amount_minor + p.fee_minor, 0::bigint, 0::bigint)
               WHEN p.state = 'in_flight' THEN (p.fee_minor, p.amount_minor, 0::bigint)
               WHEN p.state = 'in_doubt' THEN (p.fee_minor, 0::bigint, p.amount_minor)
               ELSE (0::bigint, 0::bigint, 0::bigint) END""",
    ),
    Check(
        "H3 money at providers equals attempts under way",
        "in_flight of a connector is the amounts of its open and accepted attempts, in_doubt of its unknown ones.",
        _accounts(
            """SELECT a.shard, a.merchant_id, p.currency, p.amount_minor AS amount,
                      CASE WHEN a.state = 'unknown' THEN 'in_doubt:' ELSE 'in_flight:' END || a.connector AS account
               FROM attempts a JOIN payouts p USING (shard, payout_id) WHERE a.state IN ('open', 'accepted', 'unknown')""",
            "starts_with(account, 'in_flight:') OR starts_with(account, 'in_doubt:')",
        ),
    ),
    Check(
        "H4 no release while an attempt lives",
        "A hold is released only when every attempt is proven to have moved nothing.",
        """SELECT DISTINCT p.merchant_id AS merchant, p.origin_id AS payout, a.number AS attempt, a.state
           FROM postings p JOIN attempts a ON a.shard = p.shard AND a.payout_id = p.origin_id
           WHERE p.reason = 'release' AND a.state NOT IN ('rejected', 'not_sent')""",
    ),
)

_TOTALS = (
    Check(
        "R1 paid money equals settled attempts",
        "paid of a connector is the amounts of its settled attempts, less what came back, with what it paid beyond proof.",
        _accounts(
            """SELECT a.shard, a.merchant_id, p.currency, 'paid:' || a.connector AS account,
                      p.amount_minor - p.returned_minor AS amount
               FROM attempts a JOIN payouts p USING (shard, payout_id) WHERE a.state = 'settled'
               UNION ALL
               SELECT shard, merchant_id, currency, destination, amount_minor FROM postings WHERE reason = 'contradiction'
               UNION ALL
               SELECT shard, merchant_id, currency, source, -amount_minor FROM postings
               WHERE reason = 'reversal' AND starts_with(phase, 'reverse-contradiction-')""",
            "starts_with(account, 'paid:')",
        ),
    ),
    Check(
        "E11 suspense holds contradictions alone",
        "suspense of a connector is what it paid after it had refused, less what persons turned round or covered, and nothing else.",
        _accounts(
            """SELECT shard, merchant_id, currency, source AS account, -amount_minor AS amount FROM postings
               WHERE reason = 'contradiction' OR (reason = 'returned' AND starts_with(source, 'suspense:'))
               UNION ALL
               SELECT shard, merchant_id, currency, destination, amount_minor FROM postings
               WHERE reason = 'covered' OR (reason = 'reversal' AND starts_with(phase, 'reverse-contradiction-'))""",
            "starts_with(account, 'suspense:')",
        ),
    ),
    Check(
        "H2 fees are those of paid payouts",
        "A merchant's fees are the fees of its paid payouts, those whose money came back included.",
        _accounts(
            """SELECT shard, merchant_id, currency, 'fees' AS account, fee_minor AS amount FROM payouts
               WHERE state IN ('paid', 'returned')""",
            "account = 'fees'",
        ),
    ),
    Check(
        "E8 what came back was paid",
        "A payout's returned amount is the sum of its returns, at most its amount, and more than zero only when it is returned.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, p.returned_minor AS returned,
                  coalesce(back.amount, 0) AS postings
           FROM payouts p
           LEFT JOIN (SELECT shard, origin_id, sum(amount_minor)::bigint AS amount FROM postings WHERE reason = 'returned'
                      GROUP BY 1, 2) AS back ON back.shard = p.shard AND back.origin_id = p.payout_id
           WHERE p.returned_minor <> coalesce(back.amount, 0) OR p.returned_minor NOT BETWEEN 0 AND p.amount_minor
              OR (p.returned_minor > 0) <> (p.state = 'returned')""",
    ),
)

BOOKS = (*_POSTINGS, *_HOLDS, *_TOTALS)
