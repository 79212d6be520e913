"""Writes a registry of any size: `python scripts/registry_file.py ROWS --out F`. The same arguments give the same bytes.

Lives here: invented payees and amounts that the sandbox bank pays at once, and rows with mistakes that people make. Rows are written as
they are made, so memory does not grow. What was written is told on standard output as one JSON object: rows, good, bad, sums, faults.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TextIO

import base58

from disburse.data import load_sbp_members
from disburse.domain.checks import is_bank_account, passes_luhn

HEADER = ("reference", "rail", "destination", "bank", "amount", "currency", "comment", "name")
RAILS = ("card", "sbp", "account", "webmoney", "qiwi", "usdt")
BINS = ("220012", "411111", "427600", "510510", "546901", "220220")
BIKS = ("044525225", "044525974", "044030653", "045004641")
MINOR = ("00", "00", "00", "50", "05", "90")  # none to which the sandbox bank gives a meaning
CONSONANTS, VOWELS = "бвгджзклмнпрстфхцч", "аиоуе"
GIVEN = ("Анна", "Иван", "Ольга", "Пётр", "Мария", "Олег", "Нина", "Юрий", "Вера", "Лев")
FATHERS = ("Иван", "Антон", "Богдан", "Виктор", "Герман", "Демьян", "Захар", "Карп", "Леонид", "Макар", "Назар", "Остап", "Роман", "Семён",
           "Тарас", "Фёдор", "Харитон", "Эдуард", "Юлиан", "Артур")  # fmt: skip
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}

Row = list[str]


def card(draw: random.Random) -> str:
    """A number of 16 digits with a right check digit."""
    front = draw.choice(BINS) + f"{draw.randrange(10**9):09d}"
    return next(front + digit for digit in string.digits if passes_luhn(front + digit))


def account(draw: random.Random, bik: str) -> str:
    """An account whose control key fits the bank."""
    middle = f"{draw.randrange(10**11):011d}"
    return next(number for digit in string.digits if is_bank_account(number := f"40817810{digit}{middle}", bik))


def address(draw: random.Random) -> str:
    """An address of TRC20 with its checksum."""
    return base58.b58encode_check(b"\x41" + sha256(draw.randbytes(8)).digest()[:20]).decode()


def name(draw: random.Random) -> str:
    """A name that hardly anybody else in the file has: whoever guards against paying twice shall not take two people for one."""
    family = "".join(draw.choice(CONSONANTS) + draw.choice(VOWELS) for _ in range(5))
    return f"{family.capitalize()}ов {draw.choice(GIVEN)} {draw.choice(FATHERS)}ович"


def payee(draw: random.Random, rail: str, banks: list[str]) -> tuple[str, str]:
    """Destination and bank."""
    if rail == "card":
        return card(draw), ""
    if rail == "sbp":
        return f"79{draw.randrange(10**9):09d}", draw.choice(banks)
    if rail == "account":
        bik = draw.choice(BIKS)
        return account(draw, bik), bik
    if rail == "webmoney":
        return f"Z{draw.randrange(10**12):012d}", ""
    return (f"79{draw.randrange(10**9):09d}", "") if rail == "qiwi" else (address(draw), "")


def good_rows(rows: int, seed: int, rails: list[str]) -> Iterator[Row]:
    """Rows that can all be paid."""
    draw = random.Random(f"registry-{seed}")
    banks = [member.member_id for member in load_sbp_members()]
    for number in range(1, rows + 1):
        rail = draw.choice(rails)
        destination, bank = payee(draw, rail, banks)
        currency = "USDT" if rail == "usdt" else "RUB"
        amount = f"{draw.randrange(10, 5000)}.{draw.choice(MINOR)}"
        yield [f"wage-{seed}-{number}", rail, destination, bank, amount, currency, f"wage of period {seed}", name(draw)]


def _set(place: int, change: Callable[[str], str]) -> Callable[[Row], Row]:
    return lambda row: [*row[:place], change(row[place]), *row[place + 1 :]]


MISTAKES: dict[str, Callable[[Row], Row]] = {
    "amount with a letter": _set(4, lambda text: text.replace("0", "O", 1) if "0" in text else text + "O"),
    "amount is zero": _set(4, lambda _: "0.00"),
    "amount with nine decimals": _set(4, lambda text: text + "0000005"),
    "amount is negative": _set(4, lambda text: "-" + text),
    "destination lost digits": _set(2, lambda text: text[:8]),
    "destination with a letter": _set(2, lambda text: text[:5] + "l" + text[6:]),
    "currency of long ago": _set(5, lambda _: "RUR"),
    "rail that nobody knows": _set(1, lambda _: "yandex"),
    "cell lost": lambda row: row[:-1],
    "amount and destination": lambda row: _set(4, lambda _: "")(_set(2, lambda _: "1234")(row)),
}
"""What is done to a row, by name. Each leaves at least one fault, whatever the rail."""


def write(out: TextIO, rows: int, *, bad: float = 0.0, seed: int = 1, rails: list[str], separator: str = ",") -> dict[str, object]:
    """Write the file with its header; `bad` percent of the rows, evenly spread, have a mistake. Gives the figures of what was written."""
    writer = csv.writer(out, delimiter=separator, lineterminator="\r\n")
    writer.writerow(HEADER)
    names, made, sums = list(MISTAKES), Counter[str](), Counter[str]()
    for number, row in enumerate(good_rows(rows, seed, rails), 1):
        if int(number * bad / 100) != int((number - 1) * bad / 100):
            name = names[made.total() % len(names)]
            made[name] += 1
            row = MISTAKES[name](row)
        else:
            whole, _, minor = row[4].partition(".")
            sums[row[5]] += int(whole + minor)
        writer.writerow(row)
    total = {currency: f"{hundredths // 100}.{hundredths % 100:02d}" for currency, hundredths in sorted(sums.items())}
    return {"rows": rows, "good": rows - made.total(), "bad": made.total(), "good_sums": total, "faults": dict(made)}


def main() -> None:
    """Read the arguments, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("--bad", type=float, default=0.0, metavar="PERCENT", help="so many of a hundred rows have a mistake")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other payees and references")
    parser.add_argument("--rails", default="card,sbp", help=f"which rails, evenly: any of {','.join(RAILS)}")
    parser.add_argument("--separator", choices=list(SEPARATORS), default="comma")
    parser.add_argument("--out", type=Path, required=True, metavar="F")
    given = parser.parse_args()
    rails = given.rails.split(",")
    if given.rows < 1 or not 0 <= given.bad <= 100 or not set(rails) <= set(RAILS):
        parser.error(f"ROWS is at least 1, PERCENT from 0 to 100, rails are {', '.join(RAILS)}")
    with given.out.open("w", encoding="utf-8", newline="") as out:
        told = write(out, given.rows, bad=given.bad, seed=given.seed, rails=rails, separator=SEPARATORS[given.separator])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
