"""The independent checker of a chaos run: a program of its own, which shares no code with the product and believes none of its words.

    python checker.py EVIDENCE [--scan DIRECTORY ...]

It reads files alone. In the directory EVIDENCE:

    book.jsonl                 the bank's own book: what it did with which end-to-end id
    postings.csv, attempts.csv, payouts.csv, balances.csv      raw tables of the service
    history-*.jsonl            what each merchant asked (written before it asked) and was told
    canaries.txt               numbers and secrets, one a line, that may stand in no file of the directories that are scanned

What became of a payout is taken from its postings and from the bank, never from the service's own word for its state. It prints one
line for each thing that is wrong, its name first, and ends 0 only when there is none.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PAID_TWICE = "paid twice"
NO_INTENT = "executed without an intent"
ANOTHER_AMOUNT = "another amount"
NOT_SETTLED = "executed but not settled"
NOT_EXECUTED = "settled but not executed"
CLEARING = "clearing differs from the book"
LOST = "acknowledged and lost"
CHANGED = "a final status changed"
HALF = "half there"
BALANCE = "a balance is not the sum of its postings"
BELOW = "a balance below zero"
NUMBERS = "postings are missing or doubled"
HELD = "holds differ from what is open"
FORGOTTEN = "forgotten"
LEAKED = "leaked"
UNREADABLE = "unreadable"

NAMES = (
    PAID_TWICE, NO_INTENT, ANOTHER_AMOUNT, NOT_SETTLED, NOT_EXECUTED, CLEARING, LOST, CHANGED, HALF, BALANCE, BELOW, NUMBERS,
    HELD, FORGOTTEN, LEAKED, UNREADABLE,
)  # fmt: skip
MAY_BE_NEGATIVE = ("funding", "suspense:")
OVER = ("settled", "rejected", "not_sent")
SHOWN = 5
_CHUNK, _OVERLAP = 8 << 20, 64
_DIGITS = re.compile(rb"[0-9]{11,}")
_GROUPED = re.compile(rb"[0-9]{4}(?:[ -][0-9]{4}){3}")

Row = dict[str, str]


@dataclass
class Payout:
    """One payout by its raw rows. `paid`, `returned`, `released`: postings of that reason. `at_bank`: end-to-end ids it executed."""

    row: Row
    attempts: list[Row] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    at_bank: list[Row] = field(default_factory=list)
    returned_at_bank: int = 0

    @property
    def amount(self) -> int:
        return int(self.row["amount_minor"])

    @property
    def name(self) -> str:
        return self.row["reference"] or self.row["payout_id"]

    @property
    def status(self) -> str | None:
        """How it ended, by its postings, in the merchants' words; None when it has not."""
        if self.reasons["paid"]:
            return "success"
        return "error" if self.reasons["release"] else None


class Wrong:
    """What is wrong, by name."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = defaultdict(list)

    def say(self, name: str, what: str) -> None:
        self.found[name].append(what)


@dataclass
class Evidence:
    """The files of a run, read."""

    book: list[Row]
    payouts: dict[str, Payout]
    postings: list[Row]
    balances: list[Row]
    asked: dict[str, str]
    told: dict[str, list[str]]
    last: dict[str, str]
    by_reference: dict[str, Payout]


def read(folder: Path, wrong: Wrong) -> Evidence:
    """Read everything and put attempts, postings and the bank's deeds to their payouts."""
    payouts = {row["payout_id"]: Payout(row) for row in _table(folder / "payouts.csv")}
    by_id: dict[str, Payout] = {}
    for row in _table(folder / "attempts.csv"):
        payout = payouts.get(row["payout_id"])
        if payout is None:
            wrong.say(HALF, f"an attempt of {row['payout_id']}, which does not exist")
            continue
        payout.attempts.append(row)
        if row["end_to_end_id"]:
            by_id[row["end_to_end_id"]] = payout
    postings = list(_table(folder / "postings.csv"))
    for row in postings:
        if row["origin_id"] in payouts:
            payouts[row["origin_id"]].reasons[row["reason"]] += 1
            payouts[row["origin_id"]].moved[row["reason"]] += int(row["amount_minor"])
        elif row["reason"] not in ("top_up", "withdrawal", "reversal"):
            wrong.say(HALF, f"a posting ({row['reason']}) for {row['origin_id']}, which does not exist")
    book = list(_lines(folder / "book.jsonl", wrong))
    _place_deeds(book, by_id, wrong)
    asked, told, last = _histories(folder, wrong)
    by_reference = {payout.row["reference"]: payout for payout in payouts.values()}
    return Evidence(book, payouts, postings, list(_table(folder / "balances.csv")), asked, told, last, by_reference)


def _place_deeds(book: list[Row], by_id: dict[str, Payout], wrong: Wrong) -> None:
    for deed in book:
        payout = by_id.get(deed["end_to_end_id"])
        if deed["did"] in ("paid", "accepted", "refused") and payout is None:
            wrong.say(NO_INTENT, f"the bank {deed['did']} {deed['end_to_end_id']}, for which there is no attempt")
        elif payout is not None and deed["did"] == "paid":
            payout.at_bank.append(deed)
        elif payout is not None and deed["did"] == "returned":
            payout.returned_at_bank += _minor(deed)


def _histories(folder: Path, wrong: Wrong) -> tuple[dict[str, str], dict[str, list[str]], dict[str, str]]:
    asked: dict[str, str] = {}
    told: dict[str, list[str]] = defaultdict(list)
    last: dict[str, str] = {}
    for file in sorted(folder.glob("history-*.jsonl")):
        for line in _lines(file, wrong):
            if line["did"] == "asked":
                asked[line["reference"]] = line["amount"]
            elif line["did"] == "told":
                told[line["reference"]].append(line["status"])
            else:
                last[line["reference"]] = line["status"]
    return asked, told, last


def _table(file: Path) -> Iterator[Row]:
    with file.open(newline="", encoding="utf-8") as rows:
        yield from csv.DictReader(rows)


def _lines(file: Path, wrong: Wrong) -> Iterator[Row]:
    """The lines of a file; a last one without its end was torn by a kill and was never acknowledged."""
    text = file.read_text(encoding="utf-8")
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError:
            wrong.say(UNREADABLE, f"line {number} of {file.name}")


def _minor(deed: Row) -> int:
    return _in_minor(deed["amount"])


def _in_minor(amount: str) -> int:
    """Roubles as text to kopecks. Two digits after the dot, as this run's amounts all have."""
    whole, _, part = amount.partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0"))


# --- what must hold ------------------------------------------------------------------------------------------------------


def check_execution(evidence: Evidence, wrong: Wrong) -> None:
    """Each payout is executed at most once, with an intent, as ordered; and executed is the same as settled."""
    for payout in evidence.payouts.values():
        if len(payout.at_bank) > 1:
            wrong.say(PAID_TWICE, f"{payout.name}: {', '.join(deed['end_to_end_id'] for deed in payout.at_bank)}")
        for deed in payout.at_bank:
            attempt = next(one for one in payout.attempts if one["end_to_end_id"] == deed["end_to_end_id"])
            if not attempt["opened_at"]:
                wrong.say(NO_INTENT, f"{payout.name}: attempt {attempt['number']} was never opened")
            if (_minor(deed), deed["currency"]) != (payout.amount, payout.row["currency"]):
                wrong.say(ANOTHER_AMOUNT, f"{payout.name}: the bank paid {deed['amount']} {deed['currency']}")
            if attempt["state"] != "settled" or not payout.reasons["paid"]:
                wrong.say(NOT_SETTLED, f"{payout.name}: attempt {attempt['number']} is {attempt['state']}")
        settled = [one["end_to_end_id"] for one in payout.attempts if one["state"] == "settled"]
        executed = {deed["end_to_end_id"] for deed in payout.at_bank}
        if (payout.reasons["paid"] and not payout.at_bank) or not executed.issuperset(settled):
            wrong.say(NOT_EXECUTED, f"{payout.name}: the bank knows nothing of it")
        if payout.reasons["paid"] and (payout.moved["paid"] != payout.amount or payout.reasons["paid"] != 1):
            wrong.say(ANOTHER_AMOUNT, f"{payout.name}: {payout.moved['paid']} was booked as paid")
        if payout.moved["returned"] != payout.returned_at_bank:
            wrong.say(NOT_SETTLED, f"{payout.name}: the bank returned {payout.returned_at_bank}, booked is {payout.moved['returned']}")


def check_clearing(evidence: Evidence, wrong: Wrong) -> None:
    """What the bank paid less what it returned is what moved on the accounts that stand for it, by currency."""
    bank: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    for deed in evidence.book:
        if deed["did"] in ("paid", "returned"):
            bank[deed["currency"]] += _minor(deed) * (1 if deed["did"] == "paid" else -1)
    for row in evidence.postings:
        amount = int(row["amount_minor"])
        ours[row["currency"]] += amount * (row["destination"].startswith("paid:") - row["source"].startswith("paid:"))
    for currency in sorted(set(bank) | set(ours)):
        if bank[currency] != ours[currency]:
            wrong.say(CLEARING, f"{currency}: the bank says {bank[currency]}, the books say {ours[currency]}")


def check_promises(evidence: Evidence, wrong: Wrong) -> None:
    """Every acknowledged payout exists; every final status that was told is the end; what nobody knew is all there or not at all."""
    for reference, amount in evidence.asked.items():
        payout, told = evidence.by_reference.get(reference), evidence.told.get(reference, [])
        last = evidence.last.get(reference)
        if payout is None:
            if told:
                wrong.say(LOST, f"{reference}: {told[0]}")
            elif last not in (None, "unknown"):
                wrong.say(HALF, f"{reference}: the last read says {last}, and it does not exist")
            continue
        if payout.amount != _in_minor(amount):
            wrong.say(ANOTHER_AMOUNT, f"{reference}: asked was {amount}, stored is {payout.amount}")
        for status in {*told, *([last] if last is not None else [])} & {"success", "error"}:
            if status != payout.status:
                wrong.say(CHANGED, f"{reference}: {status} was told, the end is {payout.status}")
        if last == "unknown":
            wrong.say(HALF, f"{reference}: it exists, and the last read does not know it")
    for reference in set(evidence.told) - set(evidence.asked):
        wrong.say(UNREADABLE, f"{reference} was told of before it was asked for")


def check_wholeness(evidence: Evidence, wrong: Wrong) -> None:
    """Every payout has its hold and an attempt, and has come to its end."""
    for payout in evidence.payouts.values():
        fee = int(payout.row["fee_minor"])
        if payout.reasons["hold"] == 0 or not payout.attempts or payout.moved["hold"] != payout.amount + fee:
            wrong.say(HALF, f"{payout.name}: {payout.reasons['hold']} holds, {len(payout.attempts)} attempts")
        if payout.status is None:
            wrong.say(FORGOTTEN, f"{payout.name}: neither paid nor released")
        elif payout.reasons["paid"] and payout.reasons["release"]:
            wrong.say(HELD, f"{payout.name}: both paid and released")
        for attempt in payout.attempts:
            if attempt["state"] not in OVER:
                wrong.say(FORGOTTEN, f"{payout.name}: attempt {attempt['number']} is {attempt['state']}")


def check_books(evidence: Evidence, wrong: Wrong) -> None:
    """Balances are the sums of their postings, never below zero on the way, and nothing is held any more. No posting is missing."""
    sums: Counter[tuple[str, str, str]] = Counter()
    numbers: dict[str, int] = defaultdict(int)
    for row in sorted(evidence.postings, key=lambda row: (int(row["merchant_id"]), int(row["number"]))):
        merchant, currency, amount = row["merchant_id"], row["currency"], int(row["amount_minor"])
        numbers[merchant] += 1
        if int(row["number"]) != numbers[merchant]:
            wrong.say(NUMBERS, f"merchant {merchant}: {row['number']} stands where {numbers[merchant]} must be")
            numbers[merchant] = int(row["number"])
        sums[merchant, currency, row["source"]] -= amount
        sums[merchant, currency, row["destination"]] += amount
        if sums[merchant, currency, row["source"]] < 0 and not row["source"].startswith(MAY_BE_NEGATIVE):
            wrong.say(BELOW, f"merchant {merchant}: {row['source']} after posting {row['number']}")
    stored = Counter({(r["merchant_id"], r["currency"], r["account"]): int(r["balance_minor"]) for r in evidence.balances})
    for key in sorted(set(sums) | set(stored)):
        if sums[key] != stored[key]:
            wrong.say(BALANCE, f"merchant {key[0]}: {key[2]} is {stored[key]}, its postings make {sums[key]}")
        if key[2].split(":")[0] in ("held", "in_flight", "in_doubt", "suspense") and sums[key] != 0:
            wrong.say(HELD, f"merchant {key[0]}: {sums[key]} is left in {key[2]}")


def check_leaks(folder: Path, places: list[Path], wrong: Wrong) -> int:
    """No canary stands in any file of these places. Returns how many bytes were looked through."""
    file = folder / "canaries.txt"
    lines = file.read_bytes().split() if file.exists() else []
    numbers, words = {line for line in lines if line.isdigit()}, [line for line in lines if not line.isdigit()]
    looked = 0
    for path in sorted({path for place in places for path in place.rglob("*")}):
        if path.is_symlink() or not path.is_file() or path == file:
            continue
        looked += path.stat().st_size
        for found in sorted(_canaries_in(path, numbers, words)):
            wrong.say(LEAKED, f"a canary ending in {found[-4:].decode()} stands in {path}")
    return looked


def _canaries_in(path: Path, numbers: set[bytes], words: list[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    lengths = sorted({len(number) for number in numbers if len(number) > 11})
    with path.open("rb") as file:
        before = b""
        while chunk := file.read(_CHUNK):
            data = before + chunk
            for match in _DIGITS.finditer(data):
                run = match[0]
                windows = {run[at : at + size] for size in lengths for at in range(len(run) - size + 1)}
                found |= numbers & (windows | {run})
            found |= numbers & {re.sub(rb"[ -]", b"", match[0]) for match in _GROUPED.finditer(data)}
            found |= {word for word in words if word in data}
            before = data[-_OVERLAP:]
    return found


def check(folder: Path, places: list[Path]) -> tuple[dict[str, list[str]], Evidence, int]:
    """Everything; what is wrong by name, what was read, how many bytes were looked through."""
    wrong = Wrong()
    evidence = read(folder, wrong)
    for one in (check_execution, check_clearing, check_promises, check_wholeness, check_books):
        one(evidence, wrong)
    return wrong.found, evidence, check_leaks(folder, places, wrong)


def main() -> int:
    parser = argparse.ArgumentParser(prog="checker.py", description="Compare a chaos run's books.")
    parser.add_argument("evidence", type=Path)
    parser.add_argument("--scan", type=Path, action="append", default=[])
    options = parser.parse_args()
    found, evidence, looked = check(options.evidence, options.scan)
    for name, places in found.items():
        for place in places[:SHOWN]:
            print(f"{name}: {place}")
        if len(places) > SHOWN:
            print(f"{name}: and {len(places) - SHOWN} more")
    paid = sum(len(payout.at_bank) for payout in evidence.payouts.values())
    print(
        f"looked at {len(evidence.payouts)} payouts, {len(evidence.postings)} postings, {len(evidence.book)} lines of the bank's book "
        f"with {paid} payments, {len(evidence.asked)} asked for, {len(evidence.told)} acknowledged; "
        f"{looked >> 20} MiB looked through: {sum(map(len, found.values()))} wrong"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
