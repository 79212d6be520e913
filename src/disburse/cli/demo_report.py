"""What the demo ends with: our books beside the bank's own book, line by line, and tables a person enjoys reading."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import ROUNDED
from rich.panel import Panel
from rich.table import Table

from disburse.cli import show
from disburse.domain.money import Money, read_amount
from disburse.operations.verify import Report, verify
from disburse.storage.database import Transaction
from disburse.wiring import House

_WAYS = {
    0: "pays at once", 11: "pays after 3 s", 22: "refuses the destination", 33: "pays, the answer is lost",
    44: "answer lost, did not pay", 55: "calls back twice, out of order", 66: "its balance is short", 77: "pays, says HTTP 500",
    88: "pays, answers garbage", 99: "pays, the money comes back",
}  # fmt: skip


@dataclass(slots=True)
class Ending:
    """Everything the demo found out, and what is wrong with it."""

    examples: Sequence[tuple[str, str]]
    ways: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    """Minor units; payouts; bank paid; ours paid; ours failed; second attempts."""
    rails: list[tuple[str, int, int]] = field(default_factory=list)
    """Rail, payouts, sum paid in kopecks."""
    money: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    verified: Report | None = None
    killed_with: int = 0
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        return not self.wrong and self.verified is not None and self.verified.holds

    def as_json(self) -> dict[str, Any]:
        return {
            "agrees": self.agrees,
            "payouts": sum(way[1] for way in self.ways),
            "paid_by_bank": sum(way[2] for way in self.ways),
            "paid_by_us": sum(way[3] for way in self.ways),
            "failed": sum(way[4] for way in self.ways),
            "lines_compared": self.compared,
            "open_or_in_doubt_at_the_kill": self.killed_with,
            "invariants": len(self.verified.checks) if self.verified else 0,
            "wrong": self.wrong + [finding.check for finding in (self.verified.findings if self.verified else ())],
            "seconds": round(self.seconds, 1),
        }


async def read_ending(
    house: House, acknowledged: Mapping[str, str], operations: Mapping[str, str], examples: Sequence[tuple[str, str]], unfinished: int
) -> Ending:  # fmt: skip
    """Read both books and compare them."""
    ending = Ending(examples)
    if unfinished:
        ending.wrong.append(f"{unfinished} payouts are not final")
    payouts, attempts, balances = await house.database.snapshot(_read)
    book = [json.loads(line) for line in Path(house.sandbox_book).read_text(encoding="utf-8").splitlines()]
    known = {row["reference"] for row in payouts} | {str(row["payout_id"]) for row in payouts}
    lost = (set(acknowledged) | set(operations)) - known
    if lost:
        ending.wrong.append(f"{len(lost)} acknowledged payouts are not in the books")
    ending.wrong += _line_by_line(book, payouts, attempts)
    ending.compared = len(book)
    ending.ways = _by_way(book, payouts)
    ending.rails = _by_rail(payouts)
    ending.money = _by_merchant(balances)
    ending.verified = await verify(house.database, bank_book=house.sandbox_book)
    return ending


async def _read(tx: Transaction) -> tuple[list[Any], list[Any], list[Any]]:
    payouts = await tx.fetch(
        """SELECT payout_id, reference, base, rail, amount_minor, state, attempts, returned_minor FROM payouts
           WHERE attempts > 0 ORDER BY merchant_id, number"""
    )
    attempts = await tx.fetch(
        """SELECT a.end_to_end_id, a.state, p.amount_minor, p.currency, p.rail, p.returned_minor FROM attempts a
           JOIN payouts p USING (shard, payout_id) WHERE a.end_to_end_id IS NOT NULL ORDER BY a.end_to_end_id"""
    )
    balances = await tx.fetch(
        """SELECT s.name, b.account, b.balance_minor FROM balances b JOIN merchant_settings s USING (shard, merchant_id)
           ORDER BY s.merchant_id, b.account"""
    )
    return payouts, attempts, balances


def _line_by_line(book: Sequence[dict[str, Any]], payouts: Sequence[Any], attempts: Sequence[Any]) -> list[str]:
    """Each line of the bank's book against the attempt it speaks of, and each settled attempt against the book."""
    ours = {row["end_to_end_id"]: row for row in attempts}
    wrong: list[str] = []
    paid: Counter[str] = Counter()
    for line in book:
        row = ours.get(line["end_to_end_id"])
        if row is None:
            wrong.append(f"the bank knows {line['end_to_end_id']}, we do not")
        elif line["did"] == "paid":
            paid[line["end_to_end_id"].rpartition("-")[0]] += 1
            same = (read_amount(line["amount"], line["currency"]).minor, line["currency"]) == (row["amount_minor"], row["currency"])
            if row["state"] != "settled" or not same or line["rail"] != row["rail"]:
                wrong.append(f"the bank paid {line['end_to_end_id']}, which we call {row['state']}")
        elif line["did"] == "returned" and not row["returned_minor"]:
            wrong.append(f"the bank sent {line['end_to_end_id']} back, we do not know it")
        elif line["did"] == "refused" and row["state"] not in ("rejected", "not_sent"):
            wrong.append(f"the bank refused {line['end_to_end_id']}, which we call {row['state']}")
    wrong += [f"the bank paid {base} {count} times" for base, count in sorted(paid.items()) if count > 1]
    for row in payouts:
        if row["state"] in ("paid", "returned") and row["base"] not in paid:
            wrong.append(f"we call {row['base']} paid, the bank did not pay it")
        if row["state"] not in ("paid", "returned", "failed"):
            wrong.append(f"{row['base']} is {row['state']}")
    return wrong


def _by_way(book: Sequence[dict[str, Any]], payouts: Sequence[Any]) -> list[tuple[int, int, int, int, int, int]]:
    bank = Counter(int(line["amount"].replace(".", "")) % 100 for line in book if line["did"] == "paid")
    rows = []
    for way in sorted(_WAYS):
        mine = [row for row in payouts if row["amount_minor"] % 100 == way]
        paid = sum(row["state"] in ("paid", "returned") for row in mine)
        failed = sum(row["state"] == "failed" for row in mine)
        rows.append((way, len(mine), bank[way], paid, failed, sum(row["attempts"] > 1 for row in mine)))
    return rows


def _by_rail(payouts: Sequence[Any]) -> list[tuple[str, int, int]]:
    rails = sorted({row["rail"] for row in payouts})
    return [
        (
            rail,
            sum(row["rail"] == rail for row in payouts),
            sum(row["amount_minor"] for row in payouts if row["rail"] == rail and row["state"] in ("paid", "returned")),
        )
        for rail in rails
    ]


def _by_merchant(balances: Sequence[Any]) -> list[tuple[str, dict[str, int]]]:
    merchants: dict[str, dict[str, int]] = {}
    for row in balances:
        accounts = merchants.setdefault(row["name"], {})
        kind = row["account"].partition(":")[0]
        accounts[kind] = accounts.get(kind, 0) + row["balance_minor"]
    return sorted(merchants.items())


def print_ending(ending: Ending) -> None:
    """The demo's closing tables."""
    console = show.console()
    console.print(_examples(ending))
    console.print(_ways(ending))
    console.print(_rails(ending))
    console.print(_money(ending))
    total = sum(way[1] for way in ending.ways)
    if ending.agrees and ending.verified is not None:
        text = (
            f"{total} payouts are final. {ending.compared} lines of the bank's book agree with ours, nobody was paid twice,\n"
            f"nothing is in doubt, and {len(ending.verified.checks)} invariants hold. The worker was killed with "
            f"{ending.killed_with} attempts open or in doubt.\nIt took {ending.seconds:.0f} seconds."
        )
        console.print(Panel(text, title="Every figure agrees", border_style="green", expand=False))
        return
    broken = [f"{finding.check}: {finding.sentence}" for finding in (ending.verified.findings if ending.verified else ())]
    text = "\n".join([*ending.wrong, *broken][:20]) or "the invariants were not checked"
    console.print(Panel(text, title="The figures do not agree", border_style="red", expand=False))


def _examples(ending: Ending) -> Table:
    table = Table("The documented example", "was answered", box=ROUNDED, title="Both protocols' own examples")
    for asked, answered in ending.examples:
        table.add_row(asked, answered)
    return table


def _ways(ending: Ending) -> Table:
    table = Table(box=ROUNDED, title="What the bank did, and what we say", show_footer=True)
    columns = list(zip(*ending.ways, strict=True))
    table.add_column("amount", "all")
    table.add_column("the bank")
    for name, column in zip(("payouts", "bank paid", "we: paid", "we: failed", "second try"), columns[1:], strict=True):
        table.add_column(name, str(sum(column)), justify="right")
    for way, *counts in ending.ways:
        table.add_row(f".{way:02d}", _WAYS[way], *[str(count) for count in counts])
    return table


def _rails(ending: Ending) -> Table:
    table = Table(box=ROUNDED, title="By rail")
    table.add_column("rail")
    table.add_column("payouts", justify="right")
    table.add_column("paid, RUB", justify="right")
    for rail, count, minor in ending.rails:
        table.add_row(rail, str(count), Money(minor, "RUB").text())
    return table


def _money(ending: Ending) -> Table:
    table = Table(box=ROUNDED, title="Where the money is, RUB")
    kinds = ("funding", "available", "held", "in_flight", "in_doubt", "paid", "fees", "suspense")
    table.add_column("merchant")
    for kind in kinds:
        table.add_column(kind.replace("_", " "), justify="right")
    for name, accounts in ending.money:
        table.add_row(show.plain(name), *[Money(accounts.get(kind, 0), "RUB").text() for kind in kinds])
    return table
