"""What came since a registry was planned: payouts that its rows seem to repeat, and that planning could not see.

Lives here: looking once more, when a registry is to be applied. Two registries that were planned side by side do not see each other; after one was applied
the other's rows are held against its payouts. May not live here: the judgement (`domain/duplicates.py`), SQL (`storage/duplicates.py`), what
becomes of a row: its plan is not carried out, and planned again the row is held and asked about.

A merchant who has paid nothing since costs one look at its events. Else each row is looked up by its destination and its name, a few microseconds a row; by
the number in its comment it is not, since that is not stored.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final

from disburse.domain.duplicate_words import read_comment
from disburse.domain.duplicates import Trace, key_of, person_of
from disburse.domain.merchant import Merchant
from disburse.domain.registry_states import Drift, LetPass
from disburse.operations.duplicates import Guard, catch_up
from disburse.operations.registry_rules import Terms
from disburse.storage import duplicates
from disburse.storage.registries import Registry

SHOWN: Final = 20
"""So many rows are named; one is enough to stop."""
EARLIER: Final = timedelta(minutes=5)
"""Payouts are looked at from so long before the plan on: other processes' clocks may differ, and a payout may have been on its way."""
_ROWS: Final = 5_000


async def asked_since(terms: Terms, merchant: Merchant, registry: Registry, pay: str) -> list[Drift]:
    """The first rows that would be asked about now, because of payouts since the plan. `pay`: rows that are to be paid all the same.

    Raises StoreUnavailable.
    """
    desk, since, let_pass = terms.desk, registry.created_at - EARLIER, LetPass(pay)
    database, shard, now = desk.database, registry.shard, desk.world.clock.now()
    if registry.again or not await database.run(lambda tx: duplicates.any_since(tx, shard, merchant.merchant_id, since)):
        return []
    await catch_up(database, desk.vault, merchant, now)
    guard = Guard(desk.vault, merchant, now)
    keyed = partial(desk.vault.fingerprint, merchant_id=merchant.merchant_id)
    found: list[Drift] = []
    for first in range(0, registry.rows_read, _ROWS):
        ask = partial(duplicates.repeated_since, shard=shard, registry=registry.registry_id, after=first, to=first + _ROWS, since=since)
        met = {one.number: one for one in await database.ask(ask) if one.number not in let_pass}
        if not met:
            continue
        traces = [_trace(one, keyed, int(now.timestamp())) for one in met.values()]
        past = await database.ask(partial(guard.look, rows=traces))
        fresh = {one.payout for one in past if one.at >= int(since.timestamp())}
        asked = guard.ask(traces, past)
        found += [
            Drift(f"row {row} (line {met[row].line})", "good", f"asked about: {asked[row].why.rstrip('.')}") for row in asked if asked[row].payout in fresh
        ]
        if len(found) >= SHOWN:
            break
    return found[:SHOWN]


def _trace(one: duplicates.Met, keyed: partial[bytes], at: int) -> Trace:
    said = read_comment(one.comment or "")
    person = (one.person, one.patronymic or 0, one.short or 0) if one.person is not None else person_of(said.name, keyed)
    return Trace(
        key_of(one.destination_digest), *person, said.number, said.detail, said.telling, said.words, one.amount_minor, one.currency, at, True, one.number,
        None, "",
    )  # fmt: skip
