"""`disburse verify`: every invariant of the books, on one snapshot. Exit 1 names what broke."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from disburse.cli import show
from disburse.cli.mistakes import REFUSED
from disburse.cli.place import HERE, Place, run
from disburse.operations.verify import Report
from disburse.operations.verify import verify as look_at_everything
from disburse.storage.verify import CHECKS
from disburse.wiring import House

_OF_A_BOOK = 6  # checks that a bank's book adds, about: the bar only


def verify(
    *,
    bank_book: Annotated[Path | None, Parameter(help="A sandbox bank's book to compare line by line.")] = None,
    connector: Annotated[
        str, Parameter(help="Whose book it is: `sandbox`, or `sandbox-http` for the stand-alone bank.")
    ] = "sandbox",
    place: Place = HERE,
) -> int:
    """Check every invariant of the books on one snapshot; payouts may go on meanwhile. Exit 1 names what broke."""

    async def work(house: House) -> Report:
        total = len(CHECKS) + (_OF_A_BOOK if bank_book is not None else 0)
        with show.progress("reading", total) as begin:
            return await look_at_everything(house.database, bank_book=bank_book, connector=connector, about_to=begin)

    report = run(place, work)
    if place.json:
        show.say_json(_for_scripts(report))
    else:
        _print(report)
    return 0 if report.holds else REFUSED


def _for_scripts(report: Report) -> dict[str, object]:
    book = report.book
    return {
        "holds": report.holds,
        "checks": list(report.checks),
        "rows": report.rows,
        "bank_book": None if book is None else {
            "payments": book.payments, "returns": book.returns, "unsettled": book.unsettled,
        },
        "broken": [
            {"check": one.check, "sentence": one.sentence, "count": one.count, "examples": list(one.examples)}
            for one in report.findings
        ],
    }  # fmt: skip


def _print(report: Report) -> None:
    broken = {finding.check for finding in report.findings}
    good, bad = Text("holds", style="green"), Text("BROKEN", style="bold red")
    show.table(("invariant", ""), [(name, bad if name in broken else good) for name in report.checks])
    for finding in report.findings:
        show.say(f"{finding.check}: not true in {finding.count} rows: {finding.sentence}")
        for example in finding.examples:
            show.say(f"    {example}")
    looked = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    if report.book is not None:
        looked += f"; in the bank's book {report.book.payments:,} payments"
        if report.book.unsettled:
            looked += f", {report.book.unsettled:,} of which we have not heard of yet"
    show.say(f"Looked at {looked}.")
    if report.holds:
        show.say(f"All {len(report.checks)} invariants hold.")
    else:
        show.say(
            f"{len(broken)} of {len(report.checks)} invariants are broken. Stop paying out, keep the database, find out why."
        )
