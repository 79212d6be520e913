"""Pays a list of wages, and says how each stands. Run it again after anything at all: nobody is paid twice."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from disburse.client import Amount, BlockingClient, InsufficientFunds, NewPayout, OutcomeUnknown, Problem, ToPhone


class Wage(NamedTuple):
    """What one person gets, through SBP."""

    person: str
    phone: str
    bank: str
    amount: str


def pay(client: BlockingClient, month: str, wages: Iterable[Wage]) -> Iterator[tuple[str, str]]:
    """Each person, and how the wage stands. The reference names the obligation: it makes one payout at most, for ever."""
    for wage in wages:
        order = NewPayout(
            amount=Amount(amount=wage.amount, currency="RUB"),
            destination=ToPhone(phone=wage.phone, bank=wage.bank),
            reference=f"wage-{month}-{wage.person}",
            execute=True,
        )
        try:
            yield wage.person, client.create(order).state
        except OutcomeUnknown as unknown:  # perhaps it was made: never pay it in another way, run this again
            yield wage.person, f"not known yet; the key is {unknown.key}"
        except InsufficientFunds:
            yield wage.person, "waits for a top-up; then run this again"
        except Problem as no:
            yield wage.person, f"not paid: {no.detail} {no.next}"


if __name__ == "__main__":
    url, month, file = sys.argv[1:]
    with BlockingClient(url, os.environ["API_KEY"]) as client, Path(file).open(encoding="utf-8", newline="") as rows:
        for person, stands in pay(client, month, map(Wage._make, csv.reader(rows))):
            print(f"{person}: {stands}")
