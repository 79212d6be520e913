"""What travels over `/v1/registries`, as types. Lives here: shapes alone, as in `rest_messages.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from disburse.protocols.rest_messages import Amount, Asked, FieldFault, PayoutName, RailName, Told

RegistryState = Literal[
    "uploaded", "planned", "awaiting_approval", "approved", "executing", "completed", "completed_with_errors", "cancelled",
]  # fmt: skip
RegistryName = Annotated[str, Meta(description="The registry's id.", extra_json_schema={"format": "uuid"})]
_Limit = Annotated[int, Meta(description="At most so many items.", ge=1, le=1000)]


class NewRegistryAsked(Asked, frozen=True):
    """How the file in the body is to be read."""

    name: Annotated[str, Meta(description="What the file is called.", min_length=1, max_length=255)] = "registry"
    kind: Annotated[Literal["auto", "csv", "xlsx", "unitpay", "jsonl"], Meta(description="UnitPay's layout must be named.")] = "auto"
    again: Annotated[
        Literal["true", "false"], Meta(description="Pay rows without references even if they were paid before. An operator has to agree.")
    ] = "false"
    pay: Annotated[
        str, Meta(description="Rows to pay although the duplicate guard asks about them: numbers such as 17,23-40, or all.", max_length=4000,
                  pattern="^(all|[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*)?$"),
    ] = ""


class RegistriesAsked(Asked, frozen=True):
    """Which registries to list, newest first."""

    limit: _Limit = 50
    cursor: Annotated[str | None, Meta(description="Where to go on: the `next_cursor` of the page before.")] = None


class RegistryRowsAsked(Asked, frozen=True):
    """Which rows to list, in the file's order."""

    verdict: Annotated[Literal["good", "bad", "held"] | None, Meta(description="Rows with this verdict alone.")] = None
    limit: _Limit = 200
    cursor: Annotated[str | None, Meta(description="Where to go on: the `next_cursor` of the page before.")] = None


class Apply(Asked, frozen=True):
    """Do what was planned. `digest` is the plan's: what you looked at."""

    digest: Annotated[str, Meta(description="The registry's `digest`.", pattern="^[0-9a-f]{64}$")]
    only_good: Annotated[bool, Meta(description="Leave out rows that are bad or held.")] = False
    again: Annotated[bool, Meta(description="Although the same rows were applied before: make up for what that left. An operator has to agree.")] = False


class RegistryTotal(Told, frozen=True):
    """Good rows on one rail in one currency."""

    rail: RailName
    rows: int
    amount: Amount
    fee: Amount


class Registry(Told, frozen=True):
    """A registry as it stands. Its rows: `good`, `bad` and `held`; the good ones: `made`, `found`, `refused`, `given_up` and `left`."""

    id: RegistryName
    state: RegistryState
    final: bool
    name: str
    digest: Annotated[str | None, Meta(description="Of the whole plan: rows, fees, limits, rules.")]
    only_good: bool
    rows: int
    good: int
    bad: int
    held: int
    made: Annotated[int, Meta(description="Payouts that it made.")]
    found: Annotated[int, Meta(description="Rows whose reference had a payout with the same content: not paid again.")]
    refused: int
    given_up: int
    left: Annotated[int, Meta(description="Good rows that nothing was done about yet.")]
    paid: Annotated[int, Meta(description="Payouts that ended so, as of the last look; likewise `failed` and `ended`.")]
    failed: int
    ended: Annotated[int, Meta(description="Cancelled or expired.")]
    waits: Annotated[str | None, Meta(description="What it waits for now, such as `money`.")]
    totals: list[RegistryTotal]
    funding_gap: Annotated[list[Amount], Meta(description="What your balance lacks for all of it, before it begins.")]
    created_at: datetime
    updated_at: datetime


class Registries(Told, frozen=True):
    """A page of registries, newest first. Totals and funding gaps are told of single ones."""

    items: list[Registry]
    next_cursor: Annotated[str | None, Meta(description="Null on the last page.")]


class RegistryRow(Told, frozen=True):
    """A row of the file, and what became of it. Of a held row `faults` has what is asked about it."""

    row: int
    line: int
    verdict: Literal["good", "bad", "held"]
    outcome: Annotated[str, Meta(description="Its payout's state; or bad, held, refused, not_applied.")]
    reference: str | None
    rail: str | None
    destination: Annotated[str | None, Meta(description="Masked.")]
    amount: Amount | None
    fee: Amount | None
    payout: PayoutName | None
    reason: str | None
    faults: list[FieldFault]


class RegistryRows(Told, frozen=True):
    """A page of rows, in the file's order."""

    items: list[RegistryRow]
    next_cursor: Annotated[str | None, Meta(description="Null on the last page.")]
