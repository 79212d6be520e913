"""How a payout stands, with what only its attempts tell. Lives here: one reading over a list; it changes and locks nothing.

A payout's own state does not say whether a provider has confirmed that it has the order, nor whether a failed payout was
refused by a provider or never left the house. Doors that must tell these apart (IntellectMoney's words do) ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from disburse.domain.payout import Payout
from disburse.domain.refusals import Refusal
from disburse.operations import looking
from disburse.operations.payouts import Act
from disburse.storage.database import Transaction

_OURS = "details_unreadable"
"""The one reason for which an attempt is rejected by ourselves: its destination could not be opened, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A payout as it stands. `accepted`: a provider has the order now; `refused`: a provider has refused it, once at least."""

    payout: Payout
    accepted: bool = False
    refused: bool = False


async def stand(tx: Transaction, shard: int, questions: Sequence[Act]) -> list[Standing | Refusal]:
    """Present standings by id; somebody else's payout is no payout (NoSuchPayout).

    The payouts are read first, so whatever made one final is among the attempts that are read after them.
    """
    looked = await looking.look_by_id(tx, shard, questions)
    told = await _told(tx, shard, [one.payout_id for one in looked if isinstance(one, Payout) and one.attempts])
    return [
        Standing(one, *told.get(one.payout_id, (False, False))) if isinstance(one, Payout) else one for one in looked
    ]


async def _told(tx: Transaction, shard: int, which: Sequence[UUID]) -> dict[UUID, tuple[bool, bool]]:
    if not which:
        return {}
    rows = await tx.fetch(
        """SELECT payout_id, bool_or(state = 'accepted'), bool_or(state = 'rejected' AND reason IS DISTINCT FROM $3)
           FROM attempts WHERE shard = $1 AND payout_id = ANY ($2::uuid[]) GROUP BY payout_id""",
        shard,
        list(which),
        _OURS,
    )
    return {row[0]: (row[1], row[2]) for row in rows}
