"""A payout that waits for persons: what becomes of it when they have agreed, or one of them has refused.

Agreed: it is queued, or scheduled if its time has not come. Refused: it is cancelled and its money goes back. Who may say what, and
when enough have, is `policies.py`'s. Past its time it has expired, whatever persons say.
"""

from __future__ import annotations

import hmac
from typing import Final

from disburse.domain.payout import Payout, PayoutState, Step, WrongState
from disburse.domain.refusals import Refusal
from disburse.operations.payouts import Moves, NoSuchPayout
from disburse.operations.policies import ChangedSince, Ends, Need, Say, Standing, payout_digest
from disburse.storage import payouts, schedules
from disburse.storage.unit import Unit

REFUSED: Final = "approval_refused"
"""The reason of a payout that was cancelled because a person refused it."""


async def _read(unit: Unit, need: Need) -> Payout | None:
    return (await payouts.by_id(unit.tx, unit.shard, [need.subject_id])).get(need.subject_id)


async def _check(unit: Unit, need: Need) -> Refusal | None:
    payout = await _read(unit, need)
    if payout is None or payout.merchant_id != need.merchant_id:
        return NoSuchPayout()
    if payout.state is not PayoutState.AWAITING_APPROVAL:
        return WrongState(payout.state, Step.QUEUE)
    return None if hmac.compare_digest(payout_digest(payout, payout.execute_at), need.digest) else ChangedSince()


async def _end(unit: Unit, standing: Standing, say: Say) -> str | Refusal:
    payout = await _read(unit, standing.need)
    if payout is None:
        raise AssertionError("a payout that was checked is gone")
    moves = Moves(unit)
    late = payout.expires_at <= unit.now
    if late or standing.refused:
        unit.post(payout.books.release(), say.at, say.actor)
    if standing.refused:
        moves.move(payout, Step.REFUSE, say.at, say.actor, REFUSED)
    elif late:
        moves.move(payout, Step.EXPIRE, say.at, say.actor)
    else:
        later = payout.execute_at is not None and payout.execute_at > unit.now
        moves.begin(payout, Step.SCHEDULE if later else Step.QUEUE, say.at, say.actor)
        if not later:
            await schedules.settle(unit.tx, unit.shard, [payout.payout_id], [], unit.now)
    moves.add_rows()
    return str(payout.state)


ENDS: Final[Ends] = {"payout": (_check, _end)}
"""What `policies.say` needs to know of payouts."""
