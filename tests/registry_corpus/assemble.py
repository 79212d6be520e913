"""From the planned world to a corpus: ids in order of time, payouts of what is no duplicate, and each row's truth, proven.

Lives here: `assemble`, and the check that what was planted is so by the obligations. May not live here: anything planted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.registry_corpus.kinds import DUPLICATES
from tests.registry_corpus.shapes import DEAD, TAKES, Corpus, File, Payout, Row, RowKey, Truth
from tests.registry_corpus.world import Draft, Merchant, Sheet, World
from tests.registry_corpus.writing import amount_text, number_text


@dataclass(slots=True)
class _Made:
    """What came of each draft. Drafts are told apart as objects."""

    references: dict[int, str | None] = field(default_factory=dict)
    payouts: dict[int, str] = field(default_factory=dict)
    rows: dict[int, RowKey] = field(default_factory=dict)


def assemble(world: World, seed: int) -> Corpus:
    """The corpus of a finished world. Raises AssertionError when a row's kind contradicts its obligations."""
    sheets = sorted(
        (sheet for merchant in world.merchants for sheet in merchant.sheets if sheet.drafts),
        key=lambda sheet: (sheet.at, sheet.merchant.id, sheet.name),
    )
    made = _Made()
    orders: list[tuple[datetime, Sheet, Draft, str | None, int | None]] = []
    named: list[tuple[Sheet, str]] = []
    for number, sheet in enumerate(sheets, 1):
        file = f"f{number:06d}" if sheet.channel == "registry" else None
        _refer(sheet, made)
        for line, draft in enumerate(sheet.drafts, 1):
            made.rows[id(draft)] = (file or "", line)
            if draft.kind not in DUPLICATES:
                orders.append((_ordered_at(sheet, line), sheet, draft, file, line if file else None))
        if file is not None and sheet.at >= world.judged_from:
            named.append((sheet, file))
    orders.sort(key=lambda order: order[0])
    payouts, discharges = _payouts(orders, made)
    files = [_file(sheet, file, made) for sheet, file in named]
    truth = dict(_truths(named, payouts, discharges, made))
    return Corpus(seed, payouts, files, truth, discharges)


def _ordered_at(sheet: Sheet, line: int) -> datetime:
    """An API's order exists at once, a file's row after somebody has said yes."""
    if sheet.channel != "registry":
        return sheet.at
    return sheet.at + timedelta(minutes=1, milliseconds=20 * line)


def _refer(sheet: Sheet, made: _Made) -> None:
    """Give each draft the merchant's own reference, if he has such."""
    merchant = sheet.merchant
    for draft in sheet.drafts:
        old = made.references.get(id(draft.follows)) if draft.follows is not None else None
        made.references[id(draft)] = _reference(merchant, sheet, old)


def _reference(merchant: Merchant, sheet: Sheet, old: str | None) -> str | None:
    if merchant.references == "none" or sheet.channel == "console":
        return None
    number = merchant.number()
    if merchant.references == "suffix" and old is not None:
        return f"{old}-{number % 7 + 2}" if old.count("-") == 1 else f"{merchant.id}-{number}"
    return f"{merchant.id}-{number}"


def _payouts(
    orders: Iterable[tuple[datetime, Sheet, Draft, str | None, int | None]], made: _Made
) -> tuple[list[Payout], dict[str, tuple[str, ...]]]:
    payouts, discharges = [], {}
    for number, (at, sheet, draft, file, line) in enumerate(orders, 1):
        name = f"p{number:07d}"
        made.payouts[id(draft)] = name
        discharges[name] = draft.obligations
        finished = None
        if draft.state == "paid" or draft.state in DEAD:
            finished = at + (draft.back_after if draft.state == "returned" else TAKES)
        payouts.append(Payout(name, sheet.merchant.id, made.references[id(draft)], draft.place, draft.name, draft.amount, draft.currency,
                              draft.comment, at, draft.state, finished, sheet.channel, file, line))  # fmt: skip
    return payouts, discharges


def _file(sheet: Sheet, name: str, made: _Made) -> File:
    separator, encoding, header = sheet.look or sheet.merchant.look
    rows = tuple(
        Row(line, made.references[id(draft)], draft.place, draft.name, draft.amount, draft.currency, draft.comment,
            amount_text(draft.amount, draft.currency, separator), number_text(draft.place, separator))  # fmt: skip
        for line, draft in enumerate(sheet.drafts, 1)
    )
    return File(name, sheet.merchant.id, sheet.name, sheet.at, separator, encoding, header, rows)


def _truths(
    named: list[tuple[Sheet, str]], payouts: list[Payout], discharges: dict[str, tuple[str, ...]], made: _Made
) -> Iterable[tuple[RowKey, Truth]]:
    by_obligation: dict[str, list[Payout]] = defaultdict(list)
    for payout in payouts:
        for obligation in discharges[payout.id]:
            by_obligation[obligation].append(payout)
    for sheet, file in named:
        within: set[str] = set()
        for line, draft in enumerate(sheet.drafts, 1):
            duplicate = all(
                obligation in within or any(_discharged(payout, sheet.at) for payout in by_obligation[obligation])
                for obligation in draft.obligations
            )
            if duplicate is not (draft.kind in DUPLICATES):
                raise AssertionError(f"{sheet.merchant.id}, {sheet.name}, line {line}: {draft.kind} contradicts its obligation")
            within.update(draft.obligations)
            yield (file, line), Truth(draft.kind, duplicate, tuple(_names(draft, file, made)), draft.obligations)


def _discharged(payout: Payout, moment: datetime) -> bool:
    return payout.created_at < moment and payout.state_at(moment) not in DEAD


def _names(draft: Draft, file: str, made: _Made) -> Iterable[str]:
    """What a row repeats, as the corpus names it: earlier payouts, or rows of the same file."""
    for one in draft.like:
        where = made.rows.get(id(one))
        if where is not None and where[0] == file:
            yield f"{file}:{where[1]}"
        elif id(one) in made.payouts:
            yield made.payouts[id(one)]
        else:  # a duplicate that became no payout: what that one repeats
            yield from _names(one, file, made)
