"""The duplicate guard at work: remembers a merchant's payouts, and tells of a registry's rows which ones to ask about.

Lives here: `Guard`, one for the planning of one registry: `catch_up` first, then `look`, `ask` and `passed` for its rows, piece by piece in order.
May not live here: the judgement (`domain/duplicates.py`), SQL (`storage/duplicates.py`), what becomes of a row that is asked about.

Nothing is written by the doors for this. `catch_up` follows the merchant's events and remembers the payouts that came since; a worker
may call it at any time, so that planning finds little left to do. What a payout is remembered by: its destination's
fingerprint and its comment, which every payout has stored, and the keyed name that was stored with a registry's row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Final

from disburse.domain.destinations import Destination
from disburse.domain.duplicate_words import read_comment
from disburse.domain.duplicates import (
    FEW,
    WINDOW_DAYS,
    History,
    Question,
    Trace,
    key_of,
    person_of,
    questions,
    trace_of,
)
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.operations.merchants import find_merchant
from disburse.storage import duplicates
from disburse.storage.database import Database, Transaction
from disburse.storage.vault import Vault

__all__ = ["Guard", "Question", "Trace", "catch_up", "catch_up_somebody", "forget"]

FORGOTTEN: Final = 5_000
"""So many payouts are forgotten by one transaction."""
ABOVE: Final = 50_000
"""Rows of the same file are compared with at least so many rows above them, and at most twice as many."""

_WINDOW: Final = timedelta(days=WINDOW_DAYS)


async def catch_up(database: Database, vault: Vault, merchant: Merchant, now: datetime, *, steps: int | None = None) -> int:
    """Remember the payouts of a merchant that came since the last time. Returns how many. Raises StoreUnavailable.

    Each transaction follows some thousand events, and `steps` is the most of them; two processes at once may read the same payouts, and remember each once.
    """
    shard, number = merchant.shard, merchant.merchant_id
    keyed = partial(vault.fingerprint, merchant_id=number)
    total = 0

    async def work(tx: Transaction) -> tuple[int, bool]:
        start = await duplicates.place(tx, shard, number)
        after, last = await duplicates.last_event(tx, shard, number, start, now - _WINDOW)
        to = min(last, after + duplicates.EVENTS)
        new = await duplicates.new_payouts(tx, shard, number, after, to)
        await duplicates.add_traces(tx, shard, number, [(_of_payout(one, keyed), one.created_at) for one in new], to)
        return len(new), to < last

    more, done = True, 0
    while more and done != steps:
        found, more = await database.run(work)
        total, done = total + found, done + 1
    return total


async def catch_up_somebody(database: Database, vault: Vault, shard: int) -> int:
    """Follow some thousand events of one merchant who uses registries and has many that were not followed. Returns how many payouts it remembers.

    For a worker: whoever plans the next registry then finds little left to do. Raises StoreUnavailable.
    """
    behind = await database.ask(lambda tx: duplicates.most_behind(tx, shard, duplicates.EVENTS))
    if behind is None:
        return 0
    now = await database.ask(lambda tx: tx.database_now())
    return await catch_up(database, vault, await find_merchant(database, str(behind)), now, steps=1)


def _of_payout(one: duplicates.New, keyed: Callable[[bytes], bytes]) -> Trace:
    said = read_comment(one.comment or "")
    person = (one.person, one.patronymic or 0, one.short or 0) if one.person is not None else person_of(said.name, keyed)
    return Trace(
        key_of(one.destination_digest), *person, said.number, said.detail, said.telling, said.words, 0, "", 0, True, 0, one.payout_id, ""
    )


async def forget(database: Database, shard: int, now: datetime, limit: int = FORGOTTEN) -> int:
    """Forget payouts beyond the window, some at once: returns how many; `limit` means that there may be more. Raises StoreUnavailable."""
    return await database.run(lambda tx: duplicates.forget(tx, shard, now - _WINDOW, limit))


class Guard:
    """Judges the rows of one registry, piece by piece, in order. `at`: the moment that earlier payouts are held against."""

    def __init__(self, vault: Vault, merchant: Merchant, at: datetime) -> None:
        self._keyed = partial(vault.fingerprint, merchant_id=merchant.merchant_id)
        self._merchant = merchant
        self._at = at
        self._seconds = int(at.timestamp())
        self._above = _Above()

    def trace(self, row: int, destination: Destination, digest: bytes, money: Money, comment: str | None) -> Trace:
        """What is compared of a row. `digest`: the destination's keyed fingerprint, which planning has at hand."""
        return trace_of(destination, digest, money, comment, self._keyed, at=self._seconds, row=row)

    async def look(self, tx: Transaction, rows: Sequence[Trace]) -> list[Trace]:
        """The earlier payouts of the merchant that these rows may repeat. One statement."""
        return await duplicates.past(tx, self._merchant.shard, self._merchant.merchant_id, rows, self._at - _WINDOW)

    def ask(self, rows: Sequence[Trace], past: Sequence[Trace]) -> dict[int, Question]:
        """What is asked about these rows, by row number, with what `look` found for them. Then tell by `passed` which of them may be paid."""
        meeting = self._above.meeting(rows, past)
        return questions(meeting, self._above.history(meeting, past)) if meeting else {}

    def passed(self, rows: Sequence[Trace]) -> None:
        """Rows that were let pass, in order: rows below may repeat them."""
        self._above.add(rows)


Key = Callable[[Trace], int]
_KEYS: Final[tuple[Key, ...]] = (attrgetter("place"), attrgetter("person"), attrgetter("number"))


class _Above:
    """Rows of the same file by their keys, the newest of them: two generations, of which the older is dropped when the newer is full."""

    def __init__(self) -> None:
        self._old = _Generation()
        self._new = _Generation()
        self._count = 0

    def add(self, rows: Sequence[Trace]) -> None:
        """Rows that were let pass, in order."""
        self._new.add(rows)
        self._count += len(rows)
        if self._count >= ABOVE:
            self._old, self._new, self._count = self._new, _Generation(), 0

    def meeting(self, rows: Sequence[Trace], past: Sequence[Trace]) -> Sequence[Trace]:
        """Those of the rows that share a key with another row or an earlier payout: nothing can be asked about the others."""
        met: set[int] = set()
        for kind, key_of_row in enumerate(_KEYS):
            keys = [*map(key_of_row, rows)]
            found = {key for key in map(key_of_row, past) if key}
            different = set(keys)
            if len(different) < len(keys):
                found |= {key for key, times in Counter(keys).items() if times > 1}
            for generation in (self._old, self._new):
                found |= different & generation.one[kind].keys()
            found.discard(0)
            if found:
                met.update(place for place, key in enumerate(keys) if key in found)
        return [rows[place] for place in sorted(met)]

    def history(self, rows: Sequence[Trace], past: Sequence[Trace]) -> History:
        """What came before these rows, newest first: rows of the file, then payouts."""
        by: tuple[dict[int, list[Trace]], ...] = ({}, {}, {})
        for row in rows:
            for kind, key in enumerate((row.place, row.person, row.number)):
                if key and key not in by[kind]:
                    above = [*self._old.of(kind, key), *self._new.of(kind, key)]
                    if above:
                        by[kind][key] = above[: -2 * FEW - 1 : -1]
        for one in past:
            for kind, key in enumerate((one.place, one.person, one.number)):
                if key:
                    by[kind].setdefault(key, []).append(one)
        return History(*by)


class _Generation:
    """Some thousand rows by place, person and number. Most keys have one row (`one`), and the newest of `more` are kept apart."""

    def __init__(self) -> None:
        self.one: tuple[dict[int, Trace], ...] = ({}, {}, {})
        self.more: dict[tuple[int, int], list[Trace]] = {}

    def add(self, rows: Sequence[Trace]) -> None:
        for kind, key_of_row in enumerate(_KEYS):
            first, keys = self.one[kind], [*map(key_of_row, rows)]
            different = set(keys)
            if different == {0}:
                continue
            if len(different) == len(keys) and 0 not in different and first.keys().isdisjoint(different):
                first.update(zip(keys, rows, strict=True))
                continue
            for key, row in zip(keys, rows, strict=True):
                if key and first.setdefault(key, row) is not row:
                    kept = self.more.setdefault((kind, key), [first[key]])
                    kept.append(row)
                    if len(kept) > 8 * FEW:
                        del kept[: -2 * FEW]

    def of(self, kind: int, key: int) -> Sequence[Trace]:
        """The newest rows under a key, in order."""
        more = self.more.get((kind, key))
        if more is not None:
            return more[-2 * FEW :]
        first = self.one[kind].get(key)
        return [first] if first is not None else []
