"""Why a payout is as it is, and what happens next, in words. Lives here: finding a payout by whatever names it, and the telling.

It reads and changes nothing. Nothing of a payee is told but the masked destination; what a provider said is told in the words
that were stored, which carry no secrets (`operations/evidence.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.identifiers import MERCHANTS, shard_of_payout
from disburse.domain.money import Money
from disburse.domain.payout import Payout, PayoutState
from disburse.domain.refusals import Refusal
from disburse.domain.routing import Decision
from disburse.operations.desk import Desk
from disburse.operations.explain_routing import describe_routing, say_decision
from disburse.operations.merchants import find_merchant
from disburse.operations.payouts import NoSuchPayout
from disburse.storage import payouts
from disburse.storage.database import Transaction
from disburse.storage.reports_payout import Evidence, Movement, by_number, story
from disburse.storage.reports_payout import Story as Story
from disburse.storage.reports_requests import Told

SURFACES: Final = ("unitpay", "own")
"""Where references are given; each has references of its own."""

WORKER_WITHIN: Final = timedelta(seconds=10)
_GUID: Final = re.compile(r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{32}")
_NUMBER: Final = re.compile(r"[0-9]{1,16}")


class BadPayoutId(Refusal):
    """A payout is named by its GUID, by its UnitPay payoutId, or as MERCHANT:REFERENCE."""


class TwoPayouts(Refusal):
    """Two payouts of this merchant have this reference."""


async def find_payout(desk: Desk, who: str) -> Payout:
    """The payout that a person names. Raises BadPayoutId, NoSuchPayout, NoSuchMerchant, TwoPayouts."""
    if _NUMBER.fullmatch(who):
        counter, merchant_id = divmod(int(who), MERCHANTS)

        async def look(tx: Transaction) -> UUID | None:
            return await by_number(tx, merchant_id, counter)

        identifier = await desk.database.snapshot(look)
        return await _by_id(desk, identifier)
    if _GUID.fullmatch(who):
        return await _by_id(desk, UUID(who))
    merchant, colon, reference = who.partition(":")
    if not colon:
        raise BadPayoutId
    return await _by_reference(desk, merchant, reference)


async def _by_id(desk: Desk, identifier: UUID | None) -> Payout:
    found = await desk.states(shard_of_payout(identifier), [identifier]) if identifier is not None else []
    if not found:
        raise NoSuchPayout
    return found[0]


async def _by_reference(desk: Desk, who: str, reference: str) -> Payout:
    merchant = await find_merchant(desk.database, who)
    bases = [desk.base(merchant, surface, reference, UUID(int=0)) for surface in SURFACES]

    async def look(tx: Transaction) -> list[Payout]:
        return list((await payouts.by_base(tx, merchant.shard, bases)).values())

    found = await desk.database.run(look)
    if not found:
        raise NoSuchPayout
    if len(found) > 1:
        both = " and ".join(f"{payout.payout_id} ({payout.surface})" for payout in found)
        raise TwoPayouts(f"Two payouts of this merchant have this reference: {both}.")
    return found[0]


async def read_story(desk: Desk, payout: Payout) -> Story:
    """Everything stored about it, as of one moment."""

    async def work(tx: Transaction) -> Story:
        fresh = await payouts.by_id(tx, payout.shard, [payout.payout_id])
        return await story(tx, fresh[payout.payout_id])

    return await desk.database.snapshot(work)


async def read_outlook(desk: Desk, told: Story) -> Decision | None:
    """The route that a queued payout would take now, by the settings of this process; None for any other payout.

    Also None where no provider is configured here: then this process cannot tell. Raises StoreUnavailable.
    """
    if told.payout.state is not PayoutState.QUEUED or told.payout.frozen is not None or not desk.routes:
        return None
    await desk.providers.refresh(make=False)
    refused = {one.connector for one in told.attempts if one.state is AttemptState.REJECTED and one.connector}
    return desk.router(desk.providers.outlook()).route(told.payout, refused)


# --- telling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `what`: event, routing, attempt, evidence, request, posting."""

    at: datetime
    what: str
    text: str
    actor: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The story in time order, why it stands as it does, and what comes next."""

    lines: list[Line]
    why: str
    next: str


def explain(told: Story, now: datetime, outlook: Decision | None = None) -> Explanation:
    """Tell a story. `outlook` (`read_outlook`) is the route that it would take now, if it is still to take one."""
    why, further = _standing(told, now)
    if outlook is not None and outlook.waits:
        further = f"It stays queued, and can be cancelled, until a provider can take it. Now: {say_decision(outlook)}"
    elif outlook is not None:
        further += f" The route now: {say_decision(outlook)}"
    return Explanation(_lines(told), why, further)


_RANK: Final = {
    "request": -1,
    "evidence": 0,
    "event": 1,
    "routing": 2,
    "attempt": 3,
    "posting": 4,
}  # of what one transaction did, cause before effect


def _lines(told: Story) -> list[Line]:
    currency = told.payout.currency
    lines = [Line(one.at, "event", _event(one.kind, one.attempt, one.detail), one.actor) for one in told.events]
    lines += [Line(one.at, "evidence", _evidence(one), one.actor) for one in told.evidence]
    lines += [Line(one.at, "posting", _movement(one, currency), one.actor) for one in told.movements]
    lines += [Line(one.at, "routing", describe_routing(one), "") for one in told.routings]
    for attempt in told.attempts:
        lines += _attempt(attempt)
    for one in told.requests:
        lines += _request(one)
    for asked in told.approvals:
        shown = asked.need.digest.hex()[:12]
        lines.append(Line(asked.need.at, "request", f"{asked.need.needed} operators must agree to {shown}: {asked.need.summary}", asked.need.actor))
        lines += [Line(vote.at, "request", f"{name} said {vote.verdict} to {shown}", vote.actor) for name, vote in asked.votes]
    other = "the reference came again with other content: this payout was answered, nothing was changed"
    lines += [Line(at, "event", other, "") for at in told.mismatches]
    return sorted(lines, key=lambda line: (line.at, _RANK[line.what]))


_EVENTS: Final = {
    "payout.created": "created; nobody has executed it yet",
    "payout.queued": "queued: to be sent when its time has come",
    "payout.in_flight": "in flight",
    "payout.in_doubt": "in doubt: whether money moved is not known",
    "payout.accepted": "the provider has it",
    "payout.executed_again": "the same operation is executed again",
    "payout.paid": "paid",
    "payout.failed": "failed: no money moved, amount and fee went back",
    "payout.cancelled": "cancelled",
    "payout.expired": "expired: nobody executed it in time",
    "payout.returned": "the money came back",
    "payout.scheduled": "executed: its money is held, and it is to be sent at its time",
    "payout.awaiting_approval": "executed: its money is held, and persons must agree",
    "payout.unfunded": "executed, but the available money did not cover it",
    "payout.frozen": "FROZEN: what is known contradicts itself",
    "payout.thawed": "frozen no more: two persons decided, on evidence",
}


def _event(kind: str, attempt: int | None, detail: str | None) -> str:
    text = _EVENTS.get(kind, kind)
    if attempt is not None:
        text += f" [attempt {attempt}]"
    return f"{text} ({detail})" if detail else text


_VERDICTS: Final = {
    "Settled": "paid",
    "Accepted": "accepted, its end comes later",
    "Rejected": "refused",
    "Unknown": "nothing that can be relied on",
    "Made": "an operation is made, which moves nothing",
    "MadeForAnother": "an operation that is another order's, so it is not executed",
    "NotSent": "nothing was sent that could move money",
    "NotFound": "the id is not known there (which proves nothing)",
    "NotExecuted": "the operation is made and not executed (which proves nothing)",
    "Absent": "it never carried this out and never will",
    "Returned": "the money came back",
    "VouchedPaid": "this attempt paid",
    "VouchedNotMoved": "the payee has nothing of it",
}
_KINDS: Final = {"answer": "answered", "inquiry": "was asked and said", "callback": "called back", "lease": "lease"}


def _evidence(one: Evidence) -> str:
    attempt = f" [attempt {one.attempt}]" if one.attempt is not None else ""
    effect = "changed nothing" if one.effect == "nothing" else f"so: {one.effect}"
    if one.kind == "lease":
        return f"the sender fell silent: {one.detail}{attempt}; {effect}"
    if one.kind == "person":
        return f"two persons vouched: {_VERDICTS[one.verdict]}{attempt}, request {one.detail}; {effect}"
    said = _VERDICTS.get(one.verdict, one.verdict) + (f", {one.detail}" if one.detail else "")
    return f"{one.connector} {_KINDS.get(one.kind, one.kind)}: {said}{attempt}; {effect}"


def _movement(one: Movement, currency: str) -> str:
    amount = Money(one.amount_minor, currency)
    return f"no. {one.number}: {amount} from {one.source} to {one.destination} ({one.reason})"


def _attempt(attempt: Attempt) -> list[Line]:
    lines = []
    who = attempt.owner or ""
    if attempt.opened_at is not None:
        text = (
            f"attempt {attempt.number} through {attempt.connector} as {attempt.end_to_end_id}: intent stored, then sent"
        )
        lines.append(Line(attempt.opened_at, "attempt", text, who))
    if attempt.ended_at is not None:
        text = f"attempt {attempt.number} ended: {attempt.state}" + (f" ({attempt.reason})" if attempt.reason else "")
        lines.append(Line(attempt.ended_at, "attempt", text, who))
    return lines


def _request(told: Told) -> list[Line]:
    asked, answer = told.request, told.decision
    what = f"request {asked.request_id}: attempt {asked.attempt} {asked.outcome}"
    lines = [Line(asked.at, "request", f"{what}, asked for by {told.asker}", asked.actor)]
    if answer is not None:
        lines.append(Line(answer.at, "request", f"{what}, {answer.verdict} by {told.answerer}", answer.actor))
    return lines


def _when(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "at no set time"
    seconds = (at - now).total_seconds()
    return f"in {seconds:.0f} s" if seconds >= 1 else "now"


def _standing(told: Story, now: datetime) -> tuple[str, str]:
    payout, last = told.payout, told.attempts[-1] if told.attempts else None
    if payout.frozen is not None:
        return (
            f"What is known contradicts itself ({payout.frozen}), so it is frozen beside its state {payout.state}.",
            "Compare with the provider's own book. Then two persons end it: disburse in-doubt resolve --help.",
        )
    if last is not None and payout.state in (PayoutState.QUEUED, PayoutState.IN_FLIGHT, PayoutState.IN_DOUBT):
        why, further = _under_way(told, last, now)
        if told.worker_seen is None or now - told.worker_seen > WORKER_WITHIN:
            further += " No worker is running now: start one with `disburse serve`."
        return why, further
    return _at_rest(told, now)


def _under_way(told: Story, last: Attempt, now: datetime) -> tuple[str, str]:
    at = last.connector or "the provider"
    if told.payout.state is PayoutState.QUEUED:
        before = told.attempts[-2] if len(told.attempts) > 1 else None
        why = "Its money is held and it waits to be sent."
        if before is not None:
            why = f"Attempt {before.number} moved no money, which is proven ({before.reason}), so another will be made."
        return why, f"A worker sends it {_when(last.due_at, now)}. Until then it can be cancelled."
    ask = f"{at} is asked about it {_when(last.ask_at, now)}"
    if told.payout.state is PayoutState.IN_DOUBT:
        lost = next(
            (one.detail for one in told.evidence if one.attempt == last.number and one.verdict == "Unknown"), ""
        )
        return (
            f"Attempt {last.number} may have moved the money or not: its answer was lost{f' ({lost})' if lost else ''}.",
            f"{ask}, {last.asked} times so far, and without end. Nothing is sent again before proof that no money moved.",
        )
    if last.state is AttemptState.ACCEPTED:
        return f"{at} has it and has not said how it ended.", f"{ask}, unless it calls back before."
    return (
        f"Attempt {last.number} is being sent through {at}.",
        f"Its answer is awaited; if the sender falls silent, {ask}.",
    )


def _at_rest(told: Story, now: datetime) -> tuple[str, str]:
    payout, last = told.payout, told.attempts[-1] if told.attempts else None
    at = last.connector if last is not None and last.connector is not None else "the provider"
    expires = f"It expires {_when(payout.expires_at, now)} unless the merchant executes it."
    match payout.state:
        case PayoutState.CREATED:
            return "It was created, and nobody has executed it yet. No money is held.", expires
        case PayoutState.UNFUNDED:
            return (
                "It was executed when the available money did not cover amount and fee.",
                f"Top up and execute it again. {expires}",
            )
        case PayoutState.PAID:
            vouched = next((one.attempt for one in told.evidence if one.kind == "person"), None)
            return (
                f"Two persons vouched that attempt {vouched} paid it." if vouched is not None
                else f"{at} paid it through attempt {payout.attempts}.",
                "Nothing. Should the money come back, that will be booked.",
            )
        case PayoutState.RETURNED:
            back = Money(payout.returned_minor, payout.currency)
            return (
                f"{at} paid it, and later {back} came back to the merchant.",
                "Nothing. To pay again, make a new payout.",
            )
        case PayoutState.FAILED:
            why = _FAILED.get(payout.reason or "", f"{at} refused it: {payout.reason}.")
            return (
                f"{why} No money moved; amount and fee went back.",
                "Nothing. To pay again, make a new payout with a new reference.",
            )
        case PayoutState.CANCELLED:
            by = "by a person who refused it, " if payout.reason == "approval_refused" else ""
            return f"It was cancelled {by}before anything was sent.", "Nothing."
        case PayoutState.EXPIRED if told.approvals:
            return "Too few persons agreed to it in time. Its money went back.", "Nothing."
        case PayoutState.EXPIRED:
            return "Nobody executed it in time. No money was held.", "Nothing."
        case PayoutState.SCHEDULED:
            at = f"{payout.execute_at:%Y-%m-%d %H:%M:%S} UTC, {_when(payout.execute_at, now)}" if payout.execute_at is not None else "its time"
            return "Its money is held, and its time has not come.", f"It is queued at {at}. Until then it can be cancelled."
        case PayoutState.AWAITING_APPROVAL:
            return f"Its money is held, and {_persons(told)}", f"It expires {_when(payout.expires_at, now)} unless they do; it can be cancelled."
        case _:
            return f"It is {payout.state} without any attempt, which should not be.", "Run `disburse verify`."


def _persons(told: Story) -> str:
    """How many must still agree."""
    if not told.approvals:
        return "persons must agree."
    need, votes = told.approvals[0].need, told.approvals[0].votes
    left = need.needed - len({vote.actor for _, vote in votes if vote.verdict == "yes"} - {need.maker})
    return f"{left} more operator{' has' if left == 1 else 's have'} to agree."


_FAILED: Final = {
    "not_moved": "Two persons found, on evidence, that nothing reached the payee (not_moved).",
    "no_route": "No provider could carry it (no_route).",
    "details_unreadable": "Its destination could not be unsealed, so it was never sent (details_unreadable).",
}
