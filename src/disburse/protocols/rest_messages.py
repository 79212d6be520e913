"""What travels over `/v1`, as types: what a merchant's program may send, and what it is told. The OpenAPI document is made of these.

Lives here: shapes alone. Money is `{"amount": "10.50", "currency": "RUB"}`, always text. May not live here: reading bytes
(`rest.py`), what a path takes and answers (`rest_routes.py`), what a refusal says (`rest_problems.py`).

What is asked refuses unknown fields, and its repr shows nothing: it holds card numbers and phones.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

State = Literal[
    "created", "unfunded", "awaiting_approval", "scheduled", "queued", "in_flight", "in_doubt", "paid", "failed", "cancelled",
    "expired", "returned",
]  # fmt: skip
RailName = Literal["card", "sbp", "webmoney", "qiwi", "usdt", "account"]
Surface = Literal["own", "unitpay", "intellectmoney"]


def _told(words: str, example: str | bool | None = None) -> Meta:
    return Meta(description=words, examples=None if example is None else [example])


AmountText = Annotated[
    str,
    Meta(
        description="1 to 13 digits, and after a dot no more digits than the currency has.",
        extra_json_schema={"pattern": r"^[0-9]{1,13}(\.[0-9]{1,8})?$"},
        examples=["10.50"],
    ),
]
CurrencyName = Annotated[str, _told("Three capital letters of ISO 4217, USDT, or TST (test money).", "RUB")]
Moment = Annotated[datetime, Meta(tz=True)]
PayoutName = Annotated[str, Meta(description="The payout's id.", extra_json_schema={"format": "uuid"})]


class Amount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount of money. Text, never a number."""

    amount: AmountText
    currency: CurrencyName


# --- what is asked ------------------------------------------------------------------------------------------------


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a program sends."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    __str__ = __repr__


_Name = Annotated[str | None, _told("The payee's name, 2 to 50 characters.")]


class ToCard(Asked, frozen=True, tag_field="rail", tag="card"):
    """A bank card."""

    number: Annotated[str, _told("13 to 19 digits with a right check digit; spaces and hyphens are dropped.", "4111111111111111")]
    name: _Name = None


class ToPhone(Asked, frozen=True, tag_field="rail", tag="sbp"):
    """A phone, paid through SBP at the payee's bank."""

    phone: Annotated[str, _told("11 digits that begin with 7; +, spaces, brackets and hyphens are dropped.", "79510000071")]
    bank: Annotated[str | None, _told("The bank's id, one of /v1/banks. Without it: your default bank.", "100000000004")] = None
    name: _Name = None


class ToPurse(Asked, frozen=True, tag_field="rail", tag="webmoney"):
    """A WebMoney purse."""

    purse: Annotated[str, _told("A letter and 12 digits.", "Z123456789012")]
    name: _Name = None


class ToWallet(Asked, frozen=True, tag_field="rail", tag="qiwi"):
    """A Qiwi wallet."""

    wallet: Annotated[str, _told("10 to 15 digits.", "79510000071")]
    name: _Name = None


class ToAddress(Asked, frozen=True, tag_field="rail", tag="usdt"):
    """An address that receives USDT, on Tron or Ethereum."""

    address: Annotated[str, _told("TRC20 or ERC20, with a right checksum.", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")]
    name: _Name = None


class ToAccount(Asked, frozen=True, tag_field="rail", tag="account"):
    """A Russian bank account."""

    account: Annotated[str, _told("20 digits, which fit the BIK.", "40817810099910004312")]
    bik: Annotated[str, _told("The bank's BIK, 9 digits.", "044525225")]
    name: _Name = None


To = ToCard | ToPhone | ToPurse | ToWallet | ToAddress | ToAccount


class NewPayout(Asked, frozen=True):
    """One payout to one payee, by `destination` or by `payee`.

    It must have a `reference` or come with an `Idempotency-Key`: else a retry would pay twice.
    """

    amount: Amount
    destination: Annotated[To | None, _told("Where the money goes; or name a `payee`.")] = None
    payee: Annotated[str | None, _told("The id of a payee of yours, in the place of `destination`: its first destination, always.")] = None
    payee_destination: Annotated[str | None, _told("The id of another destination of this payee.")] = None
    reference: Annotated[
        str | None, _told("Your own id of this obligation, 1 to 200 characters. It makes at most one payout, for ever.", "wage-2026-11-17")
    ] = None
    execute: Annotated[bool, _told("Hold the money and send it: now, or at `execute_at`. Else it waits for /execute, 24 hours at most.")] = False
    execute_at: Annotated[
        Moment | None,
        _told("Not sent before this time, a year ahead at most; with `execute` its money is held until then.", "2026-11-30T06:00:00Z"),
    ] = None
    comment: Annotated[str | None, _told("Kept for the operator, at most 1000 characters; payees do not see it.")] = None


class Nothing(Asked, frozen=True):
    """An empty object; the body may be left out as well."""


_Limit = Annotated[int, Meta(description="At most so many items.", ge=1, le=200)]
_Cursor = Annotated[str | None, _told("Where to go on: the `next_cursor` of the page before.")]


class PayoutsAsked(Asked, frozen=True):
    """Which payouts to list, newest first."""

    reference: Annotated[str | None, _told("The one payout of this reference. No other filter goes with it but `surface`.")] = None
    surface: Annotated[Surface | None, _told("Where it was asked for: own is this API. With `reference`: own unless said.")] = None
    state: Annotated[State | None, _told("Payouts in this state.")] = None
    rail: Annotated[RailName | None, _told("Payouts on this rail.")] = None
    created_from: Annotated[Moment | None, _told("Created at this time or later.")] = None
    created_to: Annotated[Moment | None, _told("Created before this time.")] = None
    limit: _Limit = 50
    cursor: _Cursor = None


class TopUpsAsked(Asked, frozen=True):
    """Which top-ups to list, newest first."""

    limit: _Limit = 50
    cursor: _Cursor = None


class BalancesAsked(Asked, frozen=True):
    """As of when."""

    at: Annotated[Moment | None, _told("What you had at this time, what happened at that very moment included. Without it: now.")] = None


class FeeAsked(Asked, frozen=True):
    """What to tell the fee of."""

    rail: RailName
    amount: AmountText
    currency: CurrencyName = "RUB"


# --- what is told -------------------------------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Something a program is told."""


class Payout(Told, frozen=True):
    """A payout as it stands."""

    id: PayoutName
    reference: str | None
    surface: Annotated[Surface, _told("Where it was asked for: own is this API.")]
    state: State
    final: Annotated[bool, _told("Whether the state is an end. Only `paid` may still become `returned`.")]
    frozen: Annotated[bool, _told("What is known of it contradicts itself; people look at it.")]
    rail: RailName
    destination: Annotated[str, _told("Masked.", "411111******1111")]
    payee: Annotated[str | None, _told("The id of the payee that it was made for, if it named one.")]
    amount: Amount
    fee: Annotated[Amount, _told("On top of the amount; given back when the payout fails.")]
    returned: Annotated[Amount | None, _told("What came back after it was paid.")]
    reason: Annotated[str | None, _told("Why it ended without paying.")]
    attempts: Annotated[int, _told("How often it was tried, through one provider each.")]
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    expires_at: Annotated[datetime | None, _told("When it expires unless it is executed, or approved; null once it was.")]
    execute_at: Annotated[datetime | None, _told("When it is to be sent; null for as soon as it can be, and once it was queued.")]


class Payouts(Told, frozen=True):
    """A page of payouts, newest first. With filters a page may hold fewer than `limit` and still not be the last."""

    items: list[Payout]
    next_cursor: Annotated[str | None, _told("Null on the last page.")]


class Line(Told, frozen=True):
    """One thing that happened."""

    at: datetime
    what: Annotated[Literal["event", "attempt", "evidence", "posting"], _told("What kind of thing.")]
    text: str


class Explanation(Told, frozen=True):
    """A payout's story, why it stands as it does, and what comes next. Words for people; they may change."""

    payout: Payout
    why: str
    next: str
    lines: list[Line]


class Balance(Told, frozen=True):
    """Your money in one currency."""

    available: Annotated[Amount, _told("What you can pay out.")]
    held: Annotated[Amount, _told("Reserved for payouts that were not sent yet, and fees of those under way.")]
    in_flight: Annotated[Amount, _told("Sent, and its end not known yet.")]
    in_doubt: Annotated[Amount, _told("Sent, and whether it moved is being asked.")]


class Balances(Told, frozen=True):
    """Your money, one item a currency."""

    items: list[Balance]
    at: Annotated[datetime | None, _told("As of when; null: now.")]


class TopUp(Told, frozen=True):
    """Money that was booked for you."""

    id: str
    reference: str
    amount: Amount
    at: datetime


class TopUps(Told, frozen=True):
    """A page of top-ups, newest first."""

    items: list[TopUp]
    next_cursor: Annotated[str | None, _told("Null on the last page.")]


class FeeQuote(Told, frozen=True):
    """What a payout would cost now. The fee of a payout is fixed when it is created."""

    rail: RailName
    amount: Amount
    fee: Amount
    total: Annotated[Amount, _told("What must be available: amount and fee.")]


class Fee(Told, frozen=True):
    """How a fee is computed: the share, half up to the minor unit, then the minimum, then the maximum."""

    basis_points: Annotated[int, _told("Hundredths of a percent.")]
    minimum_minor: Annotated[int, _told("In minor units of the payout's currency.")]
    maximum_minor: int | None


class Rail(Told, frozen=True):
    """A way to pay that somebody carries now."""

    rail: RailName
    currencies: list[str]
    details: Annotated[list[str], _told("The fields that `destination` needs beside `rail`.")]
    fee: Fee


class Rails(Told, frozen=True):
    """All ways to pay."""

    items: list[Rail]


class Room(Told, frozen=True):
    """A limit and what it leaves. Of sum and count, null is what it does not speak of."""

    name: Annotated[str, _told("Period, scope and currency.", "day/card:RUB")]
    period: Literal["payout", "day", "month"]
    scope: Annotated[str, _told("all, payee (each one for itself; what is told is the most that any one had), or a rail.")]
    currency: CurrencyName
    since: Annotated[str | None, _told("The first day of the period, in `time_zone`; null for a limit of one payout.", "2026-11-22")]
    sum_allowed: Amount | None
    sum_used: Amount | None
    sum_left: Amount | None
    count_allowed: int | None
    count_used: int | None
    count_left: int | None


class Limits(Told, frozen=True):
    """Your limits. A payout uses its amount, without the fee, on the day on which it is to be sent; one that failed or was cancelled
    gives it back."""

    time_zone: str
    items: list[Room]


class Bank(Told, frozen=True):
    """A bank that takes part in SBP."""

    id: str
    name: str
    name_en: str


class Banks(Told, frozen=True):
    """The banks that a payout through SBP may name."""

    items: list[Bank]


class FieldFault(Told, frozen=True):
    """One thing that is wrong with one field."""

    field: str
    why: Annotated[str, _told("Reads after the field's name.")]


class Problem(Told, frozen=True, omit_defaults=True):
    """Why a request was not carried out (RFC 9457)."""

    type: Annotated[str, _told("Stable; decide by this one.", "urn:disburse:problem:insufficient_funds")]
    title: str
    status: int
    detail: str
    next: Annotated[str, _told("What to do.")]
    field: Annotated[str | None, _told("The first field that is wrong.")] = None
    errors: Annotated[list[FieldFault], _told("Everything that is wrong.")] = []
