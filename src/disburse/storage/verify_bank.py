"""A bank's own book beside ours: whether what it says it paid is what we say was paid. SQL only.

The book comes in as arrays, one entry a payment: it was read by `operations/verify.py`. Two checks need a book that was read
before the snapshot was taken (an intent is committed before the bank hears of it, so every payment in such a book has its
attempt here), two need one read after (what we call settled, the bank had written down before it said so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from disburse.storage.database import Transaction
from disburse.storage.verify_check import Check

_LINES = "unnest($2::text[], $3::int8[], $4::text[]) AS line (end_to_end_id, amount, currency)"

_OURS = """SELECT a.end_to_end_id, a.shard, a.payout_id, a.merchant_id, a.number, a.state, p.state AS payout_state,
        p.amount_minor, p.currency, p.returned_minor
    FROM attempts a JOIN payouts p USING (shard, payout_id) WHERE a.connector = $1"""


@dataclass(frozen=True, slots=True)
class BankBook:
    """What a bank wrote down, its payments side by side: ids, minor units, currencies. `returned`: ids whose money came back."""

    connector: str
    paid: Sequence[str]
    amounts: Sequence[int]
    currencies: Sequence[str]
    returned: Sequence[str] = field(default=())


def book_checks(book: BankBook) -> tuple[Check, ...]:
    """What must hold of a book that was read before the snapshot."""
    values = (book.connector, list(book.paid), list(book.amounts), list(book.currencies))
    return (
        Check(
            "R1 the bank paid each obligation once",
            "No two payments in the bank's book are for one base: that would be a double payment.",
            """SELECT base, count(*) AS payments, min(end_to_end_id) AS first, max(end_to_end_id) AS last
               FROM (SELECT regexp_replace(end_to_end_id, '-[^-]*$', '') AS base, end_to_end_id
                     FROM unnest($1::text[]) AS line (end_to_end_id)) AS lines
               GROUP BY base HAVING count(*) > 1""",
            (list(book.paid),),
        ),
        Check(
            "E2 the bank paid nothing without our intent",
            "Every payment in the bank's book has an attempt of ours that was stored before it was sent.",
            f"""SELECT DISTINCT line.end_to_end_id AS id, line.amount, line.currency
                FROM {_LINES} LEFT JOIN ({_OURS}) AS ours USING (end_to_end_id) WHERE ours.state IS NULL""",
            values,
        ),
        Check(
            "E7 the bank paid what we ordered",
            "Every payment in the bank's book has the amount and the currency of the attempt it was made for.",
            f"""SELECT DISTINCT line.end_to_end_id AS id, line.amount AS paid, line.currency, ours.amount_minor AS ordered
                FROM {_LINES} JOIN ({_OURS}) AS ours USING (end_to_end_id)
                WHERE (line.amount, line.currency) <> (ours.amount_minor, ours.currency)""",
            values,
        ),
        Check(
            "R1 the bank paid nothing we call unpaid",
            "No payment in the bank's book is for a payout or an attempt that we call ended without one, unless it is in suspense.",
            f"""SELECT DISTINCT line.end_to_end_id AS id, ours.merchant_id AS merchant, ours.state AS attempt,
                       ours.payout_state AS payout
                FROM {_LINES} JOIN ({_OURS}) AS ours USING (end_to_end_id)
                LEFT JOIN (SELECT shard, origin_id, split_part(replace(phase, 'reverse-', ''), '-', 2) AS attempt,
                                  count(*) FILTER (WHERE reason = 'contradiction')
                                      - count(*) FILTER (WHERE reason = 'reversal') AS standing
                           FROM postings WHERE reason = 'contradiction'
                              OR (reason = 'reversal' AND starts_with(phase, 'reverse-contradiction-')) GROUP BY 1, 2, 3) AS posted
                  ON posted.shard = ours.shard AND posted.origin_id = ours.payout_id AND posted.attempt = ours.number::text
                WHERE coalesce(posted.standing, 0) = 0 AND (ours.state IN ('rejected', 'not_sent')
                   OR ours.payout_state IN ('failed', 'cancelled', 'expired'))""",
            values,
        ),
    )


def our_checks(book: BankBook) -> tuple[Check, ...]:
    """What must hold of a book that was read after the snapshot; an earlier one may lack the latest lines."""
    return (
        Check(
            "R1 the bank paid what we call paid",
            "Every settled attempt of ours is a payment in the bank's book, unless persons found that it moved nothing.",
            f"""SELECT ours.end_to_end_id AS id, ours.merchant_id AS merchant, ours.amount_minor AS amount, ours.currency
                FROM ({_OURS}) AS ours LEFT JOIN (SELECT DISTINCT end_to_end_id FROM unnest($2::text[]) AS line (end_to_end_id))
                  AS line USING (end_to_end_id)
                WHERE ours.state = 'settled' AND line.end_to_end_id IS NULL
                  AND NOT EXISTS (SELECT FROM evidence e WHERE e.shard = ours.shard AND e.payout_id = ours.payout_id
                                  AND e.verdict = 'VouchedNotMoved')""",
            (book.connector, list(book.paid)),
        ),
        Check(
            "R1 the bank returned what we call returned",
            "Every payout of ours whose money came back from the bank has a return in its book.",
            f"""SELECT ours.end_to_end_id AS id, ours.merchant_id AS merchant, ours.returned_minor AS amount, ours.currency
                FROM ({_OURS}) AS ours LEFT JOIN (SELECT DISTINCT end_to_end_id FROM unnest($2::text[]) AS line (end_to_end_id))
                  AS line USING (end_to_end_id)
                WHERE ours.state = 'settled' AND ours.returned_minor > 0 AND line.end_to_end_id IS NULL
                  AND NOT EXISTS (SELECT FROM evidence e WHERE e.shard = ours.shard AND e.payout_id = ours.payout_id
                                  AND e.verdict = 'VouchedNotMoved')""",
            (book.connector, list(book.returned)),
        ),
    )


async def unsettled(tx: Transaction, book: BankBook) -> int:
    """How many of the bank's payments we do not know of yet: their attempts are open, accepted or unknown."""
    count: int = await tx.fetchval(
        f"""SELECT count(*) FROM ({_OURS}) AS ours JOIN unnest($2::text[]) AS line (end_to_end_id) USING (end_to_end_id)
            WHERE ours.state IN ('open', 'accepted', 'unknown')""",
        book.connector,
        list(book.paid),
    )
    return count
