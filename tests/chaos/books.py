"""A recorded honest chaos run, and hands that doctor it. Lives here: reading, changing and writing its files, as a forger would.

`honest/` was recorded with `make chaos ARGS="--seconds 20 --seed 5 --callers 1 --keep ..."`; its canaries are made up anew by each test.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scripts.chaos.checker import check

HONEST = Path(__file__).with_name("honest")
TABLES = ("payouts", "attempts", "postings", "balances")
Row = dict[str, str]


@dataclass
class Books:
    """The files of a run in memory; each list may be changed."""

    payouts: list[Row]
    attempts: list[Row]
    postings: list[Row]
    balances: list[Row]
    book: list[Row]
    history: list[Row]

    @classmethod
    def honest(cls) -> Books:
        payouts, attempts, postings, balances = (_rows(HONEST / f"{name}.csv") for name in TABLES)
        history = [line for file in sorted(HONEST.glob("history-*.jsonl")) for line in _lines(file)]
        return cls(payouts, attempts, postings, balances, _lines(HONEST / "book.jsonl"), history)

    def wrong(self, folder: Path) -> set[str]:
        """What the checker finds, by name."""
        for name in TABLES:
            rows = getattr(self, name)
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        for name, lines in (("book", self.book), ("history-1", self.history)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return set(check(folder, [])[0])

    def ended(self, reason: str, *, told: str | None = None, attempts: int = 1) -> Row:
        """A payout with a posting of this reason, so many attempts, and, if asked for, this status told."""
        told_of = {line["reference"] for line in self.history if line["did"] == "told" and line["status"] == told}
        origins = {row["origin_id"] for row in self.postings if row["reason"] == reason}
        counts = Counter(row["payout_id"] for row in self.attempts)
        return next(row for row in self.payouts if row["payout_id"] in origins and counts[row["payout_id"]] == attempts
                    and (told is None or row["reference"] in told_of))  # fmt: skip

    def attempt(self, payout: Row) -> Row:
        return next(row for row in self.attempts if row["payout_id"] == payout["payout_id"])

    def deeds(self, payout: Row, did: str) -> list[Row]:
        return [deed for deed in self.book if deed["end_to_end_id"].startswith(payout["base"]) and deed["did"] == did]

    def drop_postings(self, payout: Row, *reasons: str) -> None:
        """Take these postings of a payout out (all of them without a reason), and forge numbers and balances to match."""
        self.postings = [row for row in self.postings if row["origin_id"] != payout["payout_id"] or (reasons and row["reason"] not in reasons)]
        self.renumber()
        self.balance()

    def renumber(self) -> None:
        numbers: Counter[str] = Counter()
        for row in self.postings:
            numbers[row["merchant_id"]] += 1
            row["number"] = str(numbers[row["merchant_id"]])

    def balance(self) -> None:
        sums: Counter[tuple[str, str]] = Counter()
        for row in self.postings:
            sums[row["merchant_id"], row["source"]] -= int(row["amount_minor"])
            sums[row["merchant_id"], row["destination"]] += int(row["amount_minor"])
        for row in self.balances:
            row["balance_minor"] = str(sums[row["merchant_id"], row["account"]])


def _rows(file: Path) -> list[Row]:
    with file.open(newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def _lines(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
