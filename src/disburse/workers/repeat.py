"""Sending an order again with the same id, where the provider's contract makes that harmless (design.md section 1, idea 2).

Lives here: when that may be, and what is believed of the answer. A question comes first: only a provider that says it does
not know the id is sent the order again, so a repeat fills the gap of an order that never arrived. May not live here: new ids.

The rules (reliability.md, E14):

* the capabilities decide: a repeat goes out only while the provider still deduplicates our id, less a margin, counted from
  the moment the intent was committed, and never to a provider that does not;
* when that was stands in the row by its owner's clock, and by the database's, which its lease is of. A clock may be years off: what
  the lease says counts too, so that no repeat comes too late, and none waits until that year;
* the first sending must be over, with time to spare: nobody promises anything about two calls at the same moment. That a doubt is `QUIET_S`
  old is said by the database's clock alone, so no worker's clock that leapt lets a repeat go out beside the call that began the doubt;
* nothing is repeated that was decided since the question was taken, by persons say, and a process that was frozen since then does
  not repeat either;
* of the answer only "has it" and "paid" are believed. A refusal of a repeat may come before the provider looks the id up, and
  a repeat that was not sent says nothing about the first one: both are `Unknown`, and the next question tells.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from disburse.connectors.contract import Capabilities, Connector, Order, Question
from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.outcomes import Accepted, Finding, NotFound, Settled, Unknown
from disburse.domain.ports import Clock
from disburse.operations.attempts import NOBODY, ToAsk
from disburse.operations.desk import Desk, SealBroken

SETTLED_DOWN_S: Final = 15.0
"""A first sending is surely over so long after its intent: calls end within their deadline, and servers give up on what nobody reads."""

QUIET_S: Final = 10.0
"""No repeat sooner after a doubt began, by the database's clock: the call that began it had ended then."""

MARGIN_S: Final = 3600.0
"""No repeat in the last hour of a provider's deduplication: clocks differ, and nobody knows when it began to count."""

FRESH_S: Final = 10.0
"""A question that was taken longer ago than this is not followed by a repeat."""


def may_repeat(able: Capabilities, attempt: Attempt, lapsed: bool, now: datetime, asked_at: datetime) -> bool:
    """Whether this attempt's order may be sent again at this moment. `now`: by our own clock; `asked_at`: by the database's."""
    if attempt.opened_at is None or able.two_step or attempt.provider_reference is not None:
        return False
    if attempt.owner == NOBODY:  # sent by a database that forgot it, nobody knows when
        return False
    if not lapsed and (attempt.state is not AttemptState.UNKNOWN or not _is_quiet(attempt, asked_at)):
        return False
    since = (now - attempt.opened_at).total_seconds()
    if attempt.lease_until is not None:
        since = max(since, (asked_at - attempt.lease_until).total_seconds())
    return SETTLED_DOWN_S <= since < able.deduplicates_for_s - MARGIN_S


def _is_quiet(attempt: Attempt, asked_at: datetime) -> bool:
    return attempt.doubt_since is not None and (asked_at - attempt.doubt_since).total_seconds() >= QUIET_S


async def ask_or_repeat(
    desk: Desk, connector: Connector, asked: ToAsk, clock: Clock, deadline_s: float
) -> Finding:
    """What became of an attempt: the provider's answer, or what came of sending the order again where it does not know it.

    Raises what a connector's mistakes raise.
    """
    taken = clock.monotonic()
    question = Question(asked.end_to_end_id, asked.attempt.provider_reference, deadline_s)
    finding = await connector.inquire(question)
    if not isinstance(finding, NotFound) or not may_repeat(
        connector.capabilities, asked.attempt, asked.lapsed, clock.now(), asked.at
    ):
        return finding
    try:
        destination = desk.open_destination(asked.payout)
    except SealBroken:
        return finding
    if not await _still_open(desk, asked):
        return finding
    if clock.monotonic() - taken > FRESH_S:
        return finding
    outcome = await connector.submit(Order(asked.end_to_end_id, asked.payout.amount, destination, deadline_s))
    if isinstance(outcome, Accepted | Settled):
        return outcome
    return Unknown(f"not known, and sent again: {type(outcome).__name__}")


async def _still_open(desk: Desk, asked: ToAsk) -> bool:
    """Whether the attempt that was asked about still is the payout's last word: while the provider answered, persons may have ended it."""
    stands = await desk.states(asked.payout.shard, [asked.payout.payout_id])
    return all(one.frozen is None and not one.final and one.attempts == asked.attempt.number for one in stands) and bool(stands)
