"""Registries beside the payouts that they made: every row once, with the row's content, and sums that add up. SQL only.

A row's payout is looked up by what the row itself says (its id), and fates are counted anew; the counters on a registry's row are what is judged.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

_APPLIED = "('executing', 'completed', 'completed_with_errors')"

# Good rows of applied registries that were dealt with, each with the fate that it has, and the payout that it must have.
_DEALT = """SELECT r.shard, r.registry_id, r.merchant_id, w.number, w.payout_id AS planned, w.base, w.fingerprint, w.currency, w.amount_minor, w.fee_minor,
        w.rail, coalesce(f.fate, 'made') AS fate, CASE WHEN f.number IS NULL THEN w.payout_id ELSE f.payout_id END AS payout_id
    FROM registries r JOIN registry_rows w ON w.shard = r.shard AND w.registry_id = r.registry_id AND w.number <= r.applied_to AND w.verdict = 'good'
    LEFT JOIN registry_fates f ON f.shard = w.shard AND f.registry_id = w.registry_id AND f.number = w.number
    WHERE r.applied_to > 0"""

REGISTRIES = (
    Check(
        "A3 each applied row has its one payout",
        "A good row up to its registry's place has exactly one payout, of the row's merchant, payee, amount and currency, unless it was refused; "
        "and one that the registry made has the row's own id, name and fee.",
        f"""SELECT d.registry_id AS registry, d.number AS "row", d.fate, p.payout_id AS payout
            FROM ({_DEALT}) AS d LEFT JOIN payouts p ON p.shard = d.shard AND p.payout_id = d.payout_id
            WHERE d.fate <> 'refused' AND (p.merchant_id = d.merchant_id AND p.base = d.base AND p.fingerprint = d.fingerprint AND p.surface = 'own'
                AND p.currency = d.currency AND p.amount_minor = d.amount_minor AND p.rail = d.rail
                AND (d.fate = 'found' OR p.fee_minor = d.fee_minor)) IS NOT TRUE""",
    ),
    Check(
        "A3 no row is paid before its turn",
        "Rows behind a registry's place, bad rows, held rows and refused ones have made no payout.",
        """SELECT w.registry_id AS registry, w.number AS "row", w.verdict, p.payout_id AS payout
           FROM registry_rows w JOIN registries r USING (shard, registry_id)
           JOIN payouts p ON p.shard = w.shard AND p.payout_id = w.payout_id
           LEFT JOIN registry_fates f ON f.shard = w.shard AND f.registry_id = w.registry_id AND f.number = w.number
           WHERE w.verdict <> 'good' OR w.number > r.applied_to OR f.number IS NOT NULL""",
    ),
    Check(
        "A3 rows by state add up",
        "A registry's counters are what its rows and fates say: read, good, bad, held, made, found, refused, given up.",
        f"""SELECT r.registry_id AS registry, 'rows' AS what, coalesce(w.rows, 0) AS found, r.rows_read AS expected
            FROM registries r LEFT JOIN (
                SELECT shard, registry_id, count(*) AS rows, count(*) FILTER (WHERE verdict = 'good') AS good, count(*) FILTER (WHERE verdict = 'bad') AS bad,
                    count(*) FILTER (WHERE verdict = 'held') AS held FROM registry_rows GROUP BY 1, 2) AS w USING (shard, registry_id)
            WHERE r.digest IS NOT NULL AND (coalesce(w.rows, 0), coalesce(w.good, 0), coalesce(w.bad, 0), coalesce(w.held, 0))
                <> (r.rows_read, r.good, r.bad, r.held)
            UNION ALL
            SELECT r.registry_id, 'fates', coalesce(d.rows, 0), r.made + r.found + r.refused
            FROM registries r LEFT JOIN (
                SELECT shard, registry_id, count(*) AS rows, count(*) FILTER (WHERE fate = 'made') AS made, count(*) FILTER (WHERE fate = 'found') AS found,
                    count(*) FILTER (WHERE fate = 'refused') AS refused FROM ({_DEALT}) AS dealt GROUP BY 1, 2) AS d USING (shard, registry_id)
            WHERE (coalesce(d.made, 0), coalesce(d.found, 0), coalesce(d.refused, 0)) <> (r.made, r.found, r.refused)
            UNION ALL
            SELECT registry_id, 'left', good - made - found - refused - given_up, 0 FROM registries
            WHERE (state IN ('completed', 'completed_with_errors') OR given_up > 0) AND good <> made + found + refused + given_up""",
    ),
    Check(
        "A3 one registry a content",
        "The same rows were applied once, unless persons agreed to more.",
        f"""SELECT merchant_id AS merchant, encode(content, 'hex') AS content, count(*) AS registries, min(registry_id::text) AS registry
            FROM registries WHERE NOT again AND NOT repeats AND state IN {_APPLIED}
            GROUP BY shard, merchant_id, content HAVING count(*) > 1
            UNION ALL
            SELECT r.merchant_id, 'agreed to by too few', coalesce(y.persons, 0), r.registry_id::text
            FROM registries r LEFT JOIN (
                SELECT n.shard, n.subject_id, n.digest, n.needed, count(DISTINCT a.actor) FILTER (WHERE a.verdict = 'yes' AND a.actor <> n.maker) AS persons
                FROM approval_needs n LEFT JOIN approvals a USING (shard, subject_id, digest) WHERE n.kind = 'registry' GROUP BY 1, 2, 3, 4) AS y
              ON y.shard = r.shard AND y.subject_id = r.registry_id AND y.digest = r.digest
            WHERE r.state IN ('approved', 'executing', 'completed', 'completed_with_errors')
              AND ((r.again OR r.repeats) AND y.persons IS NULL OR y.persons < y.needed)""",
    ),
    Check(
        "A2 rows are what was planned",
        "The digests of a registry's rows, of all its pieces and of its plan are those that were stored when it was planned.",
        """SELECT c.registry_id AS registry, c.chunk AS piece, encode(c.digest, 'hex') AS planned
           FROM registry_chunks c JOIN registries r USING (shard, registry_id)
           LEFT JOIN (SELECT k.shard, k.registry_id, k.chunk, sha256(convert_to(string_agg(
                   CASE WHEN w.verdict = 'bad' THEN w.number || '|bad' ELSE concat_ws('|', w.number, w.verdict, encode(uuid_send(w.payout_id), 'hex'), w.rail,
                       w.currency, w.amount_minor, w.fee_minor, encode(w.fingerprint, 'hex'), w.base) END, E'\\n' ORDER BY w.number), 'UTF8')) AS digest
               FROM registry_chunks k JOIN registry_rows w ON w.shard = k.shard AND w.registry_id = k.registry_id
                   AND w.number BETWEEN k.first_row AND k.last_row
               GROUP BY 1, 2, 3) AS now ON now.shard = c.shard AND now.registry_id = c.registry_id AND now.chunk = c.chunk
           WHERE r.digest IS NOT NULL AND now.digest IS DISTINCT FROM c.digest
           UNION ALL
           SELECT r.registry_id, 0, encode(r.rows_digest, 'hex') FROM registries r
           LEFT JOIN (SELECT shard, registry_id, sha256(string_agg(digest, '' ORDER BY chunk)) AS digest FROM registry_chunks GROUP BY 1, 2) AS c
               USING (shard, registry_id)
           WHERE r.digest IS NOT NULL AND (c.digest, sha256(convert_to(r.plan, 'UTF8'))) IS DISTINCT FROM (r.rows_digest, r.digest)
           UNION ALL
           SELECT registry_id, -1, digest_in_plan FROM (
               SELECT registry_id, rows_digest, plan::json ->> 'rows_digest' AS digest_in_plan FROM registries WHERE digest IS NOT NULL) AS told
           WHERE encode(rows_digest, 'hex') IS DISTINCT FROM digest_in_plan""",
    ),
    Check(
        "A3 completed means final",
        "A completed registry has no payout that is not final; without errors each of its rows was paid.",
        f"""SELECT d.registry_id AS registry, d.number AS "row", p.state
            FROM ({_DEALT}) AS d JOIN registries r USING (shard, registry_id) JOIN payouts p ON p.shard = d.shard AND p.payout_id = d.payout_id
            WHERE d.fate <> 'refused' AND (r.state IN ('completed', 'completed_with_errors')
                AND p.state NOT IN ('paid', 'returned', 'failed', 'cancelled', 'expired')
                OR r.state = 'completed' AND p.state NOT IN ('paid', 'returned'))
            UNION ALL
            SELECT registry_id, rows_read - made - found, 'rows without a payout' FROM registries WHERE state = 'completed' AND rows_read <> made + found""",
    ),
)
