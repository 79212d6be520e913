"""Payees over `/v1`, as types. Lives here: shapes alone, beside those of `rest_messages.py`. What is told of a destination is masked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from disburse.protocols.rest_messages import Asked, RailName, To, Told

Named = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]


class NewPayee(Asked, frozen=True):
    """Whom you pay."""

    reference: Annotated[str, Meta(description="Your own id of this person or company, 1 to 200 characters. It names one payee, for ever.", examples=["ivanov"])]
    destination: To


class NewDestination(Asked, frozen=True):
    """A further place where a payee can be paid."""

    destination: To


class Retired(Asked, frozen=True):
    """Where a payee is not paid any more."""

    destination: Annotated[str, Meta(description="The destination's id.", extra_json_schema={"format": "uuid"})]


class PayeesAsked(Asked, frozen=True):
    """Which payees to list, newest first."""

    reference: Annotated[str | None, Meta(description="The one payee of this reference.")] = None
    limit: Annotated[int, Meta(description="At most so many items.", ge=1, le=200)] = 50
    cursor: Annotated[str | None, Meta(description="Where to go on: the `next_cursor` of the page before.")] = None


class PayeeDestination(Told, frozen=True):
    """A saved destination."""

    id: Named
    rail: RailName
    destination: Annotated[str, Meta(description="Masked.", examples=["411111******1111"])]
    created_at: datetime
    retired_at: Annotated[datetime | None, Meta(description="Since then nothing new is paid there.")]


class Payee(Told, frozen=True):
    """Whom you pay, and where. A payout that names the payee alone is for the first destination, always."""

    id: Named
    reference: str
    destinations: Annotated[list[PayeeDestination], Meta(description="In the order they were added, those that are retired included.")]
    created_at: datetime


class Payees(Told, frozen=True):
    """A page of payees, newest first."""

    items: list[Payee]
    next_cursor: Annotated[str | None, Meta(description="Null on the last page.")]
