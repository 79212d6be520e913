"""How payouts, books and refusals look over `/v1`: our state as it is, our refusals as problems.

Lives here: what a merchant may see of what we know. May not live here: JSON (`protocols/`), what is refused and when (`rest.py`).
A provider's own words are shown without long numbers: they may repeat the payee's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, cast

from disburse.domain.ledger import AVAILABLE, HELD
from disburse.domain.limits import LimitReached
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money, minor_text
from disburse.domain.payout import Payout, PayoutState, WrongState
from disburse.domain.refusals import Refusal
from disburse.operations.api_keys import ApiKeyEnded, NoSuchApiKey, OwnApiKey, TooManyApiKeys
from disburse.operations.explain import Story, explain
from disburse.operations.headroom import Headroom
from disburse.operations.keyed import KeyReused, NotExecutable, ReferenceReused, Remembered
from disburse.operations.listing import Page, TopUpRow
from disburse.operations.payees import NoSuchDestination, NoSuchPayee, PayeeReused, TooManyDestinations
from disburse.operations.payouts import EXPIRING, InsufficientFunds, NoSuchPayout
from disburse.operations.webhooks import NoSuchEvents, NoSuchWebhook, ResendUnderWay, TooManyWebhooks
from disburse.protocols import rest_messages as m
from disburse.protocols.rest import write_cursor
from disburse.protocols.rest_problems import KINDS, Refused, bad

_LONGEST_REASON: Final = 200
_LONG_NUMBER: Final = re.compile(r"[0-9](?:[ ()-]?[0-9]){8,}(?!\.?[0-9])")
_SHOWN: Final = ("event", "attempt", "evidence", "posting")
"""What a merchant is told of a story. How routes were weighed, and who of the operator's people decided, is the operator's."""


class PayoutsOff(Refusal):
    """Payouts are switched off for this merchant."""


class PayoutsDenied(Refusal):
    """This merchant may not make payouts."""


class BelowMinimum(Refusal):
    """The amount is too small for this rail."""


class UnknownBank(Refusal):
    """The bank is not one of those that /v1/banks lists."""


class TimeOutOfReach(Refusal):
    """The time of a new payout lies more than a year away."""


UNREMEMBERED: Final = (UnknownBank, TimeOutOfReach)
"""What is wrong with a request and may be right another day: no key remembers it."""


_NAMES: Final[dict[type[Refusal], str]] = {
    NotExecutable: "wrong_state", NoSuchPayout: "not_found", NoSuchWebhook: "not_found", NoSuchApiKey: "not_found",
    TooManyWebhooks: "too_many", TooManyApiKeys: "too_many", OwnApiKey: "own_key", ApiKeyEnded: "key_ended",
    NoSuchPayee: "not_found", NoSuchDestination: "not_found", PayeeReused: "reference_reused", TooManyDestinations: "too_many",
}  # fmt: skip
_WORDS: Final = {kind.__new__(kind).name: problem for kind, problem in _NAMES.items()}
"""The same by the refusal's own name, by which a key remembers it."""
_TELLING: Final = (
    InsufficientFunds, LimitReached, WrongState, NotExecutable, Remembered, KeyReused, ReferenceReused, NoSuchEvents, ResendUnderWay, TooManyWebhooks,
    TooManyApiKeys, OwnApiKey, PayeeReused, TooManyDestinations, NoSuchDestination,
)  # fmt: skip
"""Refusals whose own words are told; they hold nothing of what was sent."""


def refused(refusal: Refusal) -> Refused:
    """A refusal as a problem. One that no recognised merchant can meet is a mistake of ours: AssertionError."""
    if isinstance(refusal, UnknownBank):
        return bad("destination.bank", "is not one of /v1/banks")
    if isinstance(refusal, TimeOutOfReach):
        return bad("execute_at", "lies more than a year ahead, or further back")
    name = _WORDS.get(refusal.name, refusal.name)
    if name not in KINDS:
        raise AssertionError(f"no problem tells of {name}")
    return Refused(name, str(refusal) if isinstance(refusal, _TELLING) else "")


def payout(one: Payout) -> m.Payout:
    """A payout as it stands."""
    waits = one.state in EXPIRING
    return m.Payout(
        id=str(one.payout_id),
        reference=one.reference,
        surface=cast(m.Surface, one.surface),
        state=cast(m.State, str(one.state)),
        final=one.final,
        frozen=one.frozen is not None,
        rail=cast(m.RailName, one.rail),
        destination=one.display,
        payee=str(one.payee_id) if one.payee_id is not None else None,
        amount=_amount(one.amount_minor, one.currency),
        fee=_amount(one.fee_minor, one.currency),
        returned=_amount(one.returned_minor, one.currency) if one.state is PayoutState.RETURNED else None,
        reason=_reason(one),
        attempts=one.attempts,
        created_at=one.created_at,
        updated_at=one.updated_at,
        finished_at=one.finished_at,
        expires_at=one.expires_at if waits else None,
        execute_at=one.execute_at if waits or one.state is PayoutState.SCHEDULED else None,
    )


def _amount(minor: int, currency: str) -> m.Amount:
    return m.Amount(amount=minor_text(minor, currency), currency=currency)


def amount(money: Money) -> m.Amount:
    """Money as it goes over the wire."""
    return _amount(money.minor, money.currency)


def _reason(one: Payout) -> str | None:
    if one.state is not PayoutState.FAILED or one.reason is None:
        return None
    return without_numbers(one.reason) if one.reason.isprintable() and len(one.reason) <= _LONGEST_REASON else None


def without_numbers(text: str) -> str:
    """A text without numbers that could be a card's or a phone's."""
    return _LONG_NUMBER.sub("***", text)


def payouts(page: Page) -> m.Payouts:
    """A page of payouts."""
    return m.Payouts(items=[payout(one) for one in page.payouts], next_cursor=write_cursor(page.next_before))


def explanation(told: Story, now: datetime) -> m.Explanation:
    """A payout's story for its merchant."""
    words = explain(replace(told, worker_seen=now), now)  # who works here is not the merchant's to know
    lines = [
        m.Line(at=line.at, what=cast(Any, line.what), text=line.text if line.what == "posting" else without_numbers(line.text))
        for line in words.lines
        if line.what in _SHOWN
    ]
    further = words.next
    if told.payout.frozen is not None:
        further = "The operator compares it with the provider's own book and ends it."
    return m.Explanation(payout=payout(told.payout), why=without_numbers(words.why), next=further, lines=lines)


def balances(books: Mapping[str, Mapping[str, int]], at: datetime | None = None) -> m.Balances:
    """A merchant's money, by currency; as of `at`, or now."""
    kinds = {"available": AVAILABLE, "held": HELD, "in_flight": "in_flight", "in_doubt": "in_doubt"}
    return m.Balances(
        items=[
            m.Balance(**{name: _amount(accounts.get(account, 0), currency) for name, account in kinds.items()})
            for currency, accounts in sorted(books.items())
        ],
        at=at,
    )


def limits(merchant: Merchant, rows: list[Headroom]) -> m.Limits:
    """A merchant's limits and what they leave."""
    return m.Limits(time_zone=merchant.time_zone, items=[_room(one) for one in rows])


def _room(one: Headroom) -> m.Room:
    limit = one.limit
    sums = [_amount(minor, limit.currency) if limit.sum_minor is not None else None
            for minor in (limit.sum_minor or 0, one.used.amount_minor, one.left.amount_minor)]  # fmt: skip
    counts = [number if limit.count is not None else None for number in (limit.count, one.used.payouts, one.left.payouts)]
    return m.Room(
        name=limit.name, period=cast(Any, str(limit.period)), scope=limit.scope, currency=limit.currency,
        since=str(one.starts_on) if one.starts_on is not None else None,
        sum_allowed=sums[0], sum_used=sums[1], sum_left=sums[2],
        count_allowed=counts[0], count_used=counts[1], count_left=counts[2],
    )  # fmt: skip


def top_ups(rows: list[TopUpRow], limit: int) -> m.TopUps:
    """A page of top-ups."""
    items = [m.TopUp(id=str(row.top_up_id), reference=row.reference, amount=_amount(row.amount_minor, row.currency), at=row.at) for row in rows]
    return m.TopUps(items=items, next_cursor=write_cursor(rows[-1].top_up_id.int) if len(rows) == limit else None)
