"""What payouts go by: times, limits, and the yes of persons. SQL only.

The digest that persons agreed to and the sums of what limits count are computed here a second time, from the rows themselves.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

# All that a person is shown of a payout, as operations/policies.py digests it.
_DIGEST = """sha256(convert_to(concat_ws(E'\\n', 'payout:1', p.payout_id, p.merchant_id, p.rail, p.currency, p.amount_minor, p.fee_minor,
        encode(p.fingerprint, 'hex'), p.display,
        coalesce(to_char(s.execute_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '')), 'UTF8'))"""

# How each subject stands by its latest digest: distinct operators who said yes and are not the maker, and those who said no.
_STANDING = """SELECT n.shard, n.subject_id, n.merchant_id, n.kind, n.needed, n.digest,
        count(DISTINCT a.actor) FILTER (WHERE a.verdict = 'yes' AND a.actor <> n.maker AND o.operator_id IS NOT NULL) AS yes,
        count(*) FILTER (WHERE a.verdict = 'no') AS no
    FROM (SELECT DISTINCT ON (shard, subject_id) * FROM approval_needs ORDER BY shard, subject_id, at DESC, digest DESC) AS n
    LEFT JOIN approvals a ON a.shard = n.shard AND a.subject_id = n.subject_id AND a.digest = n.digest
    LEFT JOIN operators o ON a.actor = 'operator:' || o.operator_id
    GROUP BY 1, 2, 3, 4, 5, 6"""

_TIMES = (
    Check(
        "E16 nothing is sent before its time",
        "A payout with a time has no attempt before its time had come, by the database's clock.",
        """SELECT s.merchant_id AS merchant, s.payout_id AS payout, p.state, p.attempts
           FROM schedules s JOIN payouts p USING (shard, payout_id)
           WHERE (s.done_at IS NULL AND p.attempts > 0) OR s.done_at < s.execute_at""",
    ),
    Check(
        "E16 what is scheduled falls due",
        "Each scheduled payout stands on the list of those whose time is to come.",
        """SELECT p.merchant_id AS merchant, p.payout_id AS payout FROM payouts p LEFT JOIN schedules s USING (shard, payout_id)
           WHERE p.state = 'scheduled' AND (s.payout_id IS NOT NULL AND s.done_at IS NULL AND s.look_at >= s.execute_at) IS NOT TRUE""",
    ),
    Check(
        "H6 what lacks money is on the list",
        "The list of payouts that lack money has each of them once, with what it needs, and nothing else.",
        """SELECT coalesce(p.merchant_id, u.merchant_id) AS merchant, coalesce(p.payout_id, u.payout_id) AS payout
           FROM (SELECT * FROM payouts WHERE state = 'unfunded') AS p FULL JOIN unfunded u USING (shard, payout_id)
           WHERE (u.merchant_id = p.merchant_id AND u.number = p.number AND u.currency = p.currency
               AND u.needed_minor = p.amount_minor + p.fee_minor) IS NOT TRUE""",
    ),
)

_APPROVALS = (
    Check(
        "A1 enough persons agreed",
        "What needed approval and goes on, or went on, was agreed to by as many operators, none of them its maker, and refused by none; "
        "what waits has not been.",
        f"""SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, n.needed, n.yes, n.no
            FROM payouts p LEFT JOIN ({_STANDING}) AS n ON n.shard = p.shard AND n.subject_id = p.payout_id
            WHERE CASE
                WHEN p.state = 'awaiting_approval' THEN n.no = 0 AND n.yes < n.needed
                WHEN n.needed IS NULL OR p.state IN ('cancelled', 'expired') THEN true
                ELSE n.no = 0 AND n.yes >= n.needed END IS NOT TRUE""",
    ),
    Check(
        "A1 persons agreed to what is paid",
        "The digest that persons agree to is of the payout as it stands: payee, amount, fee, rail and time.",
        f"""SELECT p.merchant_id AS merchant, p.payout_id AS payout, p.state, n.digest
            FROM ({_STANDING}) AS n JOIN payouts p ON p.shard = n.shard AND p.payout_id = n.subject_id
            LEFT JOIN schedules s ON s.shard = p.shard AND s.payout_id = p.payout_id
            WHERE n.kind = 'payout' AND p.state NOT IN ('cancelled', 'expired') AND n.digest <> {_DIGEST}""",
    ),
    Check(
        "A1 an approval is a person's",
        "Each answer is an operator's, of a digest that somebody was shown and its merchant; no maker said yes.",
        """SELECT a.merchant_id AS merchant, a.subject_id AS subject, a.actor, a.verdict
           FROM approvals a LEFT JOIN approval_needs n USING (shard, subject_id, digest)
           LEFT JOIN operators o ON a.actor = 'operator:' || o.operator_id
           WHERE (o.operator_id IS NOT NULL AND n.merchant_id = a.merchant_id AND (a.verdict = 'no' OR a.actor <> n.maker)) IS NOT TRUE""",
    ),
)

_LIMITS = (
    Check(
        "V1 counters are what payouts used",
        "A merchant's counters of a day and a month are the payouts that used them and did not give their money back.",
        """WITH expected AS (
               SELECT u.shard, u.merchant_id, u.currency, k.period, k.starts_on, k.scope, count(*) AS payouts,
                   sum(u.amount_minor)::bigint AS amount
               FROM limit_uses u JOIN payouts p USING (shard, payout_id)
               CROSS JOIN LATERAL (VALUES ('day', u.on_day), ('month', date_trunc('month', u.on_day::timestamp)::date)) AS t (period, starts_on)
               CROSS JOIN LATERAL (VALUES (''), ('rail:' || u.rail), ('payee:' || encode(u.payee, 'hex'))) AS s (scope)
               CROSS JOIN LATERAL (SELECT t.period, t.starts_on, s.scope) AS k
               WHERE p.state NOT IN ('failed', 'cancelled', 'expired') GROUP BY 1, 2, 3, 4, 5, 6)
           SELECT merchant_id AS merchant, currency, period, starts_on::text AS starts_on, c.payouts AS counted,
                  coalesce(e.payouts, 0) AS payouts, c.amount_minor AS sum, coalesce(e.amount, 0) AS amount
           FROM limit_counters c FULL JOIN expected e USING (shard, merchant_id, currency, period, starts_on, scope)
           WHERE coalesce(c.payouts, 0) <> coalesce(e.payouts, 0) OR coalesce(c.amount_minor, 0) <> coalesce(e.amount, 0)""",
    ),
    Check(
        "V1 what is used is what is paid",
        "What a payout used of its merchant's limits is its own amount, rail and payee, and its money was held.",
        """SELECT u.merchant_id AS merchant, u.payout_id AS payout, u.amount_minor AS used, p.amount_minor AS amount, p.state
           FROM limit_uses u LEFT JOIN payouts p USING (shard, payout_id)
           WHERE (p.merchant_id = u.merchant_id AND p.amount_minor = u.amount_minor AND p.currency = u.currency AND p.rail = u.rail
               AND p.destination_digest = u.payee AND p.state NOT IN ('created', 'unfunded')) IS NOT TRUE""",
    ),
    Check(
        "V1 merchants with rules are known by them",
        "The row that a merchant's transactions lock says that it has limits or policies when its settings do.",
        """SELECT m.merchant_id AS merchant, m.ruled FROM merchants m LEFT JOIN merchant_settings s USING (shard, merchant_id)
           WHERE m.ruled <> (coalesce(s.limits, '[]') <> '[]' OR coalesce(s.policies, '[]') <> '[]')""",
    ),
)

RULES = (*_TIMES, *_APPROVALS, *_LIMITS)
