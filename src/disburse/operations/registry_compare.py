"""What a file says beside the rows that were planned of it: for a file that was changed since. Nothing is written.

Lives here: naming the rows that differ. That a file differs at all is told by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from disburse.domain.merchant import Merchant
from disburse.domain.registry_states import Drift
from disburse.operations.desk import content_of
from disburse.operations.registry_draft import Judged, Meaning, RowText
from disburse.operations.registry_rules import Terms
from disburse.storage import registries
from disburse.storage.registries import Planned, Registry

MOST: Final = 20
"""So many rows are named."""


async def compare(terms: Terms, merchant: Merchant, registry: Registry, pieces: Iterable[Judged]) -> list[Drift]:
    """The rows that say something else than what was planned, at most `MOST`. Raises what the pieces raise, StoreUnavailable."""
    found: list[Drift] = []
    rows = 0
    for judged in pieces:
        first, last = judged[0][0].number, judged[-1][0].number
        ask = partial(registries.planned_rows, shard=registry.shard, registry=registry.registry_id, first=first, last=last)
        stored = await terms.desk.database.ask(ask)
        rows = last
        for row, meaning in judged:
            drift = _drift(terms, merchant, row, meaning, stored.get(row.number))
            if drift is not None:
                found.append(drift)
                if len(found) >= MOST:
                    return found
    if rows < registry.rows_read:
        found.append(Drift("rows in the file", str(registry.rows_read), str(rows)))
    return found


def _drift(terms: Terms, merchant: Merchant, row: RowText, meaning: Meaning, planned: Planned | None) -> Drift | None:
    place = f"row {row.number} of the file (line {row.line})"
    if planned is None:
        return Drift(place, "not there", "there")
    if meaning.money is None or meaning.destination is None or meaning.faults:
        return None if planned.verdict == "bad" else Drift(place, _words(planned), "not to be paid")
    if planned.fingerprint is None:
        return Drift(place, "not to be paid", f"{meaning.money} to {meaning.destination.display()}")
    fingerprint = terms.desk.vault.fingerprint(content_of(meaning.destination.fingerprint_text(), meaning.money), merchant.merchant_id)
    if fingerprint != planned.fingerprint:
        return Drift(place, _words(planned), f"{meaning.money} to {meaning.destination.display()}")
    if row.reference is not None and row.reference != planned.reference:
        return Drift(place, f"reference {planned.reference}", f"reference {row.reference}")
    return None


def _words(planned: Planned) -> str:
    return f"{planned.amount} to {planned.display}"
