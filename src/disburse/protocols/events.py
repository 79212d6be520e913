"""Events as merchants' programs see them: JSON both ways, and what a payout's events add up to. Pure.

The promise that programs lean on:

* a merchant's events are numbered 1, 2, 3 and so on without gaps, in the order in which things happened;
* of one payout, `previous` names the event before, so a program that missed one notices it;
* `type` is stable, and new types may come: what a program does not know it lets pass;
* whoever folds the events of a payout (`fold`) has the payout as the API shows it.

Nothing secret is in an event: of a destination only what may be shown, of whoever acted only what kind of person or program.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import msgspec

PAYOUT_TYPES: Final = (
    "payout.created", "payout.unfunded", "payout.awaiting_approval", "payout.scheduled", "payout.queued", "payout.in_flight",
    "payout.accepted", "payout.in_doubt", "payout.paid", "payout.failed", "payout.cancelled", "payout.expired",
    "payout.returned", "payout.frozen", "payout.thawed", "payout.reference_mismatch",
)  # fmt: skip
TYPES: Final = (
    *PAYOUT_TYPES, "top_up", "top_up.reversed", "withdrawal", "merchant.changed", "webhook.added", "webhook.rotated",
    "webhook.paused", "webhook.resumed", "webhook.resend", "webhook.removed", "webhook.disabled", "api_key.added", "api_key.ended",
    "payee.added", "payee.destination_added", "payee.destination_retired",
    "registry.awaiting_approval", "registry.approved", "registry.executing", "registry.stopped", "registry.completed",
    "registry.completed_with_errors", "registry.cancelled",
)  # fmt: skip
"""Every type there is today."""

_FINAL: Final = frozenset({"paid", "failed", "cancelled", "expired", "returned"})
_MARKS: Final = frozenset({"payout.frozen", "payout.thawed"})
_MONEY: Final = frozenset({"top_up", "top_up.reversed", "withdrawal"})
_BY: Final = {"merchant": "merchant", "operator": "operator", "cli": "operator", "provider": "provider"}


class EventAmount(msgspec.Struct, frozen=True):
    """Money as text with all of its currency's digits."""

    amount: str
    currency: str


class PayoutPart(msgspec.Struct, frozen=True, kw_only=True):
    """The payout that an event is about. `state`, `attempt`, `frozen`, `reason`, `returned`: as they are after the event.

    `state` is None in an event that tells no state. `frozen` is told by `payout.frozen` alone, and stands until `payout.thawed`.
    """

    id: UUID
    reference: str | None
    surface: str
    rail: str
    destination: str
    amount: EventAmount
    fee: EventAmount
    state: str | None
    attempt: int | None
    frozen: str | None
    reason: str | None
    returned: EventAmount | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `by`: merchant, operator, provider or system. `money` and `reference` are a top-up's or withdrawal's; of a registry's event `reference` is its id."""

    id: str
    type: str
    number: int
    previous: int | None
    merchant_id: int
    at: datetime
    by: str
    payout: PayoutPart | None
    money: EventAmount | None = None
    reference: str | None = None
    webhook: str | None = None
    key_id: str | None = None
    payee: str | None = None


class Row(Protocol):
    """An event as it is stored, with what never changes of its payout."""

    @property
    def merchant_id(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def previous(self) -> int | None: ...
    @property
    def payout_id(self) -> UUID | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> str | None: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def detail(self) -> str | None: ...
    @property
    def at(self) -> datetime: ...
    @property
    def actor(self) -> str: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def surface(self) -> str | None: ...
    @property
    def rail(self) -> str | None: ...
    @property
    def display(self) -> str | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def amount(self) -> str | None: ...
    @property
    def fee(self) -> str | None: ...
    @property
    def returned(self) -> str | None: ...


def event_id(merchant_id: int, number: int) -> str:
    """An event's id: the same wherever and however often it is told."""
    return f"evt_{merchant_id}_{number}"


def event_of(row: Row) -> Event:
    """The event that a row tells."""
    money, reference = _money(row)
    return Event(
        id=event_id(row.merchant_id, row.number), type=row.kind, number=row.number, previous=row.previous,
        merchant_id=row.merchant_id, at=row.at.astimezone(UTC), by=_BY.get(row.actor.partition(":")[0], "system"),
        payout=_payout(row), money=money, reference=reference,
        webhook=row.detail if row.kind.startswith("webhook.") else None,
        key_id=row.detail if row.kind.startswith("api_key.") else None,
        payee=row.detail if row.kind.startswith("payee.") else None,
    )  # fmt: skip


def _payout(row: Row) -> PayoutPart | None:
    if row.payout_id is None or row.currency is None:
        return None
    currency, final = row.currency, row.state in _FINAL and row.kind not in _MARKS
    return PayoutPart(
        id=row.payout_id, reference=row.reference, surface=row.surface or "", rail=row.rail or "", destination=row.display or "",
        amount=EventAmount(row.amount or "", currency), fee=EventAmount(row.fee or "", currency), state=row.state, attempt=row.attempt,
        frozen=row.detail if row.kind == "payout.frozen" else None, reason=row.detail if final else None,
        returned=EventAmount(row.returned, currency) if row.returned is not None else None,
    )  # fmt: skip


def _money(row: Row) -> tuple[EventAmount | None, str | None]:
    """What came in or went out: the detail says amount, currency, reference, and of a correction who asked for it."""
    if row.kind.startswith("registry."):
        return None, row.detail
    if row.kind not in _MONEY or row.detail is None:
        return None, None
    amount, currency, rest = row.detail.split(" ", 2)
    reference = rest if row.kind == "top_up" else rest.rpartition(" (asked for by ")[0] or rest
    return EventAmount(amount, currency), reference


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """The event's one spelling in JSON: the same bytes each time, since signatures cover them."""
    return _ENCODER.encode(event)


def decode_event(body: bytes) -> Event:
    """Read an event; fields that are not known are let pass. Raises ValueError for what is no event."""
    return _DECODER.decode(body)


class EventMissing(ValueError):
    """An event of the payout is not there: read its merchant's events again from before it."""


class PayoutSeen(msgspec.Struct, kw_only=True):
    """A payout as its events add up."""

    id: UUID
    reference: str | None
    rail: str
    destination: str
    amount: EventAmount
    fee: EventAmount
    state: str
    frozen: str | None
    reason: str | None
    returned: EventAmount | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    last_event: int


def fold(events: Iterable[Event], seen: dict[UUID, PayoutSeen] | None = None) -> dict[UUID, PayoutSeen]:
    """Add events up, payout by payout, onto what was `seen` before. An event that comes again changes nothing.

    Of one payout they must come in order; payouts may come in any order among each other. Raises EventMissing.
    """
    payouts = seen if seen is not None else {}
    for event in events:
        told = event.payout
        if told is None or told.state is None:
            continue
        known = payouts.get(told.id)
        if known is not None and event.number <= known.last_event:
            continue
        if event.previous != (known.last_event if known is not None else None):
            raise EventMissing(f"event {event.previous} of payout {told.id} comes before {event.number}")
        if known is None:
            payouts[told.id] = _first(event, told, told.state)
        else:
            _next(known, event, told, told.state)
    return payouts


def _first(event: Event, told: PayoutPart, state: str) -> PayoutSeen:
    return PayoutSeen(
        id=told.id, reference=told.reference, rail=told.rail, destination=told.destination, amount=told.amount, fee=told.fee,
        state=state, frozen=told.frozen, reason=told.reason, returned=told.returned, created_at=event.at, updated_at=event.at,
        finished_at=event.at if state in _FINAL else None, last_event=event.number,
    )  # fmt: skip


def _next(seen: PayoutSeen, event: Event, told: PayoutPart, state: str) -> None:
    seen.state, seen.updated_at, seen.last_event = state, event.at, event.number
    if event.type == "payout.thawed":
        seen.frozen = None
    elif told.frozen is not None:
        seen.frozen = told.frozen
    seen.reason = told.reason if told.reason is not None else seen.reason
    seen.returned = told.returned if told.returned is not None else seen.returned
    seen.finished_at = (seen.finished_at or event.at) if state in _FINAL else None
