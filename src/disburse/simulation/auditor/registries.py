"""Registries: what a file said, beside the payouts that came of it. Lives here: A2 and A3.

The file is known from whoever wrote it (`File`), the yes of persons from the rulebook. Amounts tell rows apart: no two good rows of a day have
the same. Of the tables of registries only the counters are read, at the end, to be added up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from disburse.simulation.auditor.laws import FINAL
from disburse.simulation.auditor.rows import Memory, News, Row
from disburse.simulation.auditor.rulebook import Rulebook
from disburse.simulation.auditor.truths import Fetch, Violation

READ: Final = """SELECT r.registry_id::text AS registry, r.merchant_id, r.state, r.rows_read, r.good, r.bad, r.held, r.made, r.found, r.refused,
        r.given_up, coalesce(sum(c.paid), 0) AS paid, coalesce(sum(c.failed), 0) AS failed, coalesce(sum(c.ended), 0) AS ended
    FROM disburse.registries r LEFT JOIN disburse.registry_chunks c USING (shard, registry_id)
    WHERE r.merchant_id = ANY ($1::int4[]) GROUP BY r.shard, r.registry_id ORDER BY r.registry_id"""
_PAID: Final = ("paid", "returned")


@dataclass(slots=True)
class File:
    """One file of one merchant. `good`: amounts (minor units) of rows that can be paid; `rows`: how many lines it has in all.

    `persons`: how many must agree to more than `above` minor units, by the merchant's policies. `known`: registries that were planned of it, by what programs were told;
    `applied`: those that were told to be under way.
    """

    merchant: int
    good: tuple[int, ...]
    rows: int
    persons: int
    above: int = 0
    known: list[str] = field(default_factory=list)
    applied: dict[str, None] = field(default_factory=dict)


def of_commit(memory: Memory, news: News, book: Rulebook, files: list[File]) -> Iterator[Violation]:
    """What a commit made of a file's rows: each at most once, none that is bad, none that persons have not agreed to."""
    for file in files:
        fresh = [row for row in news.new("payouts") if row["merchant_id"] == file.merchant]
        for row in fresh:
            same = [one for one in _payouts(memory, file) if one["amount_minor"] == row["amount_minor"]]
            if row["amount_minor"] not in file.good:
                yield Violation("A2", "it came of no good row of its merchant's file", row["payout_id"])
            elif len(same) > 1:
                yield Violation("A3", f"one row of a file became {len(same)} payouts", row["payout_id"])
        if fresh and sum(one["amount_minor"] for one in _payouts(memory, file)) > file.above and not _agreed(book, file):
            yield Violation("A1", f"a file's rows became payouts, {file.persons} had to agree to that", fresh[0]["payout_id"])
        yield from _ended(memory, news, file)


def _payouts(memory: Memory, file: File) -> list[Row]:
    return [one for one in memory.payouts.values() if one["merchant_id"] == file.merchant]


def _agreed(book: Rulebook, file: File) -> bool:
    """Whether enough persons said yes to one registry that was shown with rows and a total of this file, and nobody no."""
    if not file.persons:
        return True
    for subject in {one.subject: None for one in book.words}:
        words = [one for one in book.words if one.subject == subject and one.taken is not False]
        yes = {one.person for one in words if one.yes and _is_of(file, one.shown)}
        if len(yes) >= file.persons and not any(not one.yes and one.taken for one in words):
            return True
    return False


def _is_of(file: File, shown: str) -> bool:
    """Whether a text shows rows and a total that this file can have: what is held for a question is left out of both."""
    found = re.search(r"(\d+) payouts of (\d+)\.(\d\d) RUB", shown)
    return found is not None and int(found[1]) <= len(file.good) and int(found[2] + found[3]) <= sum(file.good)


def _ended(memory: Memory, news: News, file: File) -> Iterator[Violation]:
    """A registry is said to be over when each payout of it is, and to be whole when each of its lines was paid."""
    for row in news.new("events"):
        if row["merchant_id"] != file.merchant or not row["kind"].startswith("registry.completed"):
            continue
        made = _payouts(memory, file)
        if any(one["state"] not in FINAL for one in made):
            yield Violation("A3", f"{row['kind']} was told while a payout of it had no end")
        paid = sum(one["state"] in _PAID for one in made)
        if row["kind"] == "registry.completed" and not paid == len(file.good) == file.rows:
            yield Violation("A3", f"{row['kind']} was told of {file.rows} rows, of which {paid} were paid")


async def at_the_end(memory: Memory, fetch: Fetch, files: list[File]) -> list[Violation]:
    """Counters add up, and what was applied is over, with a payout for each of its good rows."""
    found = await fetch(READ, [one.merchant for one in files])
    return [one for file in files for one in _counted(memory, [row for row in found if row["merchant_id"] == file.merchant], file)]


def _counted(memory: Memory, registries: list[Any], file: File) -> Iterator[Violation]:
    made = _payouts(memory, file)
    ended = [sum(one["state"] in _PAID for one in made), sum(one["state"] == "failed" for one in made)]
    for row in registries:
        where, total = f"registry {row['registry']}", row["good"] + row["bad"] + row["held"]
        dealt = row["made"] + row["found"] + row["refused"] + row["given_up"]
        if row["registry"] in file.known and (row["rows_read"], row["good"] + row["held"], total) != (file.rows, len(file.good), file.rows):
            yield Violation("A2", f"{where} has {row['rows_read']} rows and {row['good'] + row['held']} good ones, its file {file.rows} and {len(file.good)}")
        over = row["state"] in ("completed", "completed_with_errors")
        if over and (dealt != row["good"] or row["paid"] + row["failed"] + row["ended"] != row["made"] + row["found"]):
            yield Violation("A3", f"{where} is {row['state']}, its counters do not add up")
        if over and not row["given_up"] and not row["held"] and [row["paid"], row["failed"]] != ended:
            yield Violation("A3", f"{where} counts {row['paid']} paid and {row['failed']} failed, its payouts {ended[0]} and {ended[1]}")
        if not over and row["registry"] in file.applied and not any(one["frozen"] for one in made):
            yield Violation("A3", f"{where} was applied and is {row['state']}")
    if sum(row["made"] for row in registries) != len(made):
        yield Violation("A3", f"registries of merchant {file.merchant} count {sum(row['made'] for row in registries)} payouts made, there are {len(made)}")
    whole = any(row["registry"] in file.applied and not row["given_up"] and not row["held"] for row in registries)
    if whole and len(made) != len(file.good):
        yield Violation("A3", f"of {len(file.good)} good rows {len(made)} became payouts")
