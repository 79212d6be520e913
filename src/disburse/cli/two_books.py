"""Three books side by side: A's, B's and the bank's. Lives here: the comparison, line by line; it trusts no status of anybody.

What binds them: A's end-to-end id is B's reference where A spoke UnitPay; where it spoke IntellectMoney, B's operation is what A
remembered as the provider's reference. B's own end-to-end id is what stands in the bank's book.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from disburse.cli.two_houses import UNITPAY
from disburse.domain.money import read_amount
from disburse.storage.database import Transaction

WAYS: Final = (0, 11, 22, 33, 44, 55, 66, 77, 88, 99)
_PAID: Final = ("paid", "returned")
_NEVER: Final = ("failed", "created", "cancelled", "expired")

Row = Mapping[str, Any]


@dataclass(slots=True)
class Compared:
    """What the comparison found. `ways`: minor units, payouts, paid by the bank, by B, by A, failed at A."""

    lines: int = 0
    attempts: int = 0
    orphans: int = 0
    paid_minor: int = 0
    ways: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


async def read_a(tx: Transaction) -> tuple[list[Any], list[Any]]:
    """A's payouts, and every attempt that was handed to a provider."""
    payouts = await tx.fetch(
        "SELECT payout_id, reference, base, state, amount_minor, currency, rail, frozen FROM payouts ORDER BY merchant_id, number"
    )
    attempts = await tx.fetch(
        """SELECT a.end_to_end_id, a.connector, a.provider_reference, a.state, p.base, p.amount_minor, p.currency, p.rail,
                  p.state AS payout_state
           FROM attempts a JOIN payouts p USING (shard, payout_id) WHERE a.end_to_end_id IS NOT NULL ORDER BY a.end_to_end_id"""
    )
    return payouts, attempts


async def read_b(tx: Transaction) -> list[Any]:
    """B's payouts."""
    return await tx.fetch(
        """SELECT payout_id, surface, reference, base, state, amount_minor, currency, rail, frozen FROM payouts
           ORDER BY merchant_id, number"""
    )


def compare(payouts: Sequence[Row], attempts: Sequence[Row], theirs: Sequence[Row], book: Sequence[dict[str, Any]]) -> Compared:
    """Every line of the bank's book followed up to A's payout, and every payout of A and B followed down to the book."""
    found = Compared(len(book), len(attempts))
    by_base = {row["base"]: row for row in theirs}
    sender = _senders(attempts, theirs, found)
    paid_at_b: Counter[str] = Counter()
    paid_at_a: Counter[str] = Counter()
    for line in book:
        base = line["end_to_end_id"].rpartition("-")[0]
        there = by_base.get(base)
        if there is None:
            found.wrong.append(f"the bank knows {line['end_to_end_id']}, B does not")
            continue
        here = sender.get(there["payout_id"])
        if here is None:
            found.wrong.append(f"the bank knows B's payout {there['payout_id']}, of which A knows nothing")
            continue
        if line["did"] == "absent":
            continue
        _same(line, there, here, found.wrong)
        if line["did"] == "paid":
            paid_at_b[base] += 1
            paid_at_a[here["base"]] += 1
            found.paid_minor += here["amount_minor"]
            if here["state"] != "settled" or here["payout_state"] not in _PAID:
                found.wrong.append(f"the bank paid {here['end_to_end_id']}, which A calls {here['state']} ({here['payout_state']})")
    found.wrong += _of_a_house("A", payouts, paid_at_a) + _of_a_house("B", theirs, paid_at_b)
    found.orphans = sum(row["payout_id"] not in sender for row in theirs)
    found.ways = _by_way(payouts, theirs, book)
    return found


def _senders(attempts: Iterable[Row], theirs: Iterable[Row], found: Compared) -> dict[Any, Row]:
    """A's attempt behind each payout of B. What nobody at A stands behind must never have been executed."""
    by_reference = {row["reference"]: row["payout_id"] for row in theirs if row["surface"] == "unitpay"}
    by_operation = {str(row["payout_id"]): row["payout_id"] for row in theirs}
    sender: dict[Any, Row] = {}
    for attempt in attempts:
        unitpay = attempt["connector"] == UNITPAY
        there = by_reference.get(attempt["end_to_end_id"]) if unitpay else by_operation.get(attempt["provider_reference"] or "")
        if there is None:
            if attempt["state"] == "settled":
                found.wrong.append(f"A calls {attempt['end_to_end_id']} settled, B has no such payout")
            continue
        if there in sender:
            found.wrong.append(f"two attempts of A share B's payout {there}")
        sender[there] = attempt
    for row in theirs:
        if row["payout_id"] not in sender and row["state"] not in ("created", "expired"):
            found.wrong.append(f"B's payout {row['payout_id']} is {row['state']}, and A did not send it")
    return sender


def _same(line: dict[str, Any], there: Row, here: Row, wrong: list[str]) -> None:
    deed = (read_amount(line["amount"], line["currency"]).minor, line["currency"], line["rail"])
    at_b = (there["amount_minor"], there["currency"], there["rail"])
    at_a = (here["amount_minor"], here["currency"], here["rail"])
    if not deed == at_b == at_a:
        wrong.append(f"{here['end_to_end_id']}: the bank has {deed}, B {at_b}, A {at_a}")


def _of_a_house(name: str, rows: Iterable[Row], paid: Counter[str]) -> list[str]:
    """A house's payouts against how often the bank paid each: paid once, or failed and never."""
    wrong = []
    for row in rows:
        times, who = paid[row["base"]], f"{name}'s payout {row['payout_id']}"
        if times > 1:
            wrong.append(f"{who} was paid {times} times")
        if row["frozen"] is not None:
            wrong.append(f"{who} is frozen")
        if row["state"] in _PAID and times == 0:
            wrong.append(f"{who} is called {row['state']}, and the bank did not pay it")
        elif row["state"] in _NEVER and times > 0:
            wrong.append(f"{who} is called {row['state']}, and the bank paid it")
        elif row["state"] not in _PAID + _NEVER:
            wrong.append(f"{who} is {row['state']}")
    return wrong


def _by_way(
    payouts: Iterable[Row], theirs: Iterable[Row], book: Iterable[dict[str, Any]]
) -> list[tuple[int, int, int, int, int, int]]:
    bank = Counter(int(line["amount"].replace(".", "")) % 100 for line in book if line["did"] == "paid")
    at_b = Counter(row["amount_minor"] % 100 for row in theirs if row["state"] in _PAID)
    ours = Counter((row["amount_minor"] % 100, row["state"] in _PAID, row["state"] == "failed") for row in payouts)
    rows = []
    for way in WAYS:
        paid, failed = ours[way, True, False], ours[way, False, True]
        rows.append((way, paid + failed + ours[way, False, False], bank[way], at_b[way], paid, failed))
    return rows
