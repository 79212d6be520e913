"""Events, webhook endpoints and API keys over `/v1`, as types. Lives here: shapes alone, beside those of `rest_messages.py`.

An event itself is `events.py`'s: the same bytes wherever it is told. May not live here: reading bytes, what a path takes, secrets
anywhere but in the one answer that shows them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from disburse.protocols.events import Event
from disburse.protocols.rest_messages import Asked, Told

FURTHEST: int = 10**15
"""No merchant has an event of a higher number."""
LONGEST_WAIT_S: int = 30

_Number = Annotated[int, Meta(ge=0, le=FURTHEST, description="The number of an event; 0 is before the first.")]
Named = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]


def _told(words: str) -> Meta:
    return Meta(description=words)


# --- events -------------------------------------------------------------------------------------------------------


class EventsAsked(Asked, frozen=True):
    """Which events to tell, in order."""

    after: _Number = 0
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many.")] = 100
    wait: Annotated[
        int, Meta(ge=0, le=LONGEST_WAIT_S, description="Where there is none yet: answer with the first that comes, or with none after so many seconds.")
    ] = 0


class StreamAsked(Asked, frozen=True):
    """Where a stream begins; a `Last-Event-ID` header has the last word."""

    after: _Number = 0


class Events(Told, frozen=True):
    """Your events in order, without gaps."""

    items: list[Event]
    next_after: Annotated[int, _told("Ask on with this as `after`, for ever: there is no last page.")]


# --- webhook endpoints --------------------------------------------------------------------------------------------


class NewWebhook(Asked, frozen=True):
    """Where to send your events."""

    url: Annotated[str, Meta(max_length=2000, description="https, at port 443 or 8443 of a public host name.", examples=["https://shop.example/hooks"])]
    types: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=40)] | None,
        _told("Types such as payout.paid, or payout.* for all of a kind; null: everything."),
    ] = None
    since: Annotated[
        Annotated[int, Meta(ge=0, le=FURTHEST)] | None,
        _told("Also what happened after the event of this number; 0: from the beginning; null: from now on."),
    ] = None


class Overlap(Asked, frozen=True):
    """How long what is replaced goes on working."""

    overlap_hours: Annotated[int, Meta(ge=0, le=720, description="For so many hours the old secret is good as well.")] = 24


class Range(Asked, frozen=True):
    """Events to send once more, both ends included."""

    first: Annotated[int, Meta(ge=1, le=FURTHEST, description="The number of the first event.")]
    last: Annotated[int, Meta(ge=1, le=FURTHEST, description="The number of the last one.")]


class Webhook(Told, frozen=True):
    """A webhook endpoint as it stands."""

    id: Named
    url: str
    types: Annotated[list[str] | None, _told("Null: everything.")]
    state: Annotated[Literal["active", "paused", "disabled"], _told("Nothing is sent to one that is not active, and nothing is dropped.")]
    reason: Annotated[str | None, _told("Why it is not active.")]
    since: Annotated[int, _told("Events after this number are sent.")]
    done_to: Annotated[int, _told("Every event up to this one was taken, is not wanted, or is being tried again.")]
    last_event: Annotated[int, _told("The number of your last event.")]
    late: Annotated[int, _told("Events that are being tried again.")]
    resend_first: Annotated[int | None, _told("The next of the events that are sent once more.")]
    resend_last: int | None
    old_secret_until: Annotated[datetime | None, _told("Until then the secret before this one signs as well.")]
    failures: Annotated[int, _told("Tries in a row that failed.")]
    last_answer: str | None
    last_at: datetime | None
    created_at: datetime


class WebhookMade(Told, frozen=True):
    """An endpoint with its new secret."""

    webhook: Webhook
    secret: Annotated[
        str | None,
        _told("`whsec_` and base64: it signs every message. Shown this once, and to a repeat with the same Idempotency-Key while it signs; then null."),
    ]

    def __repr__(self) -> str:
        return "WebhookMade(...)"


class Webhooks(Told, frozen=True):
    """Your webhook endpoints."""

    items: list[Webhook]


class Removed(Told, frozen=True):
    """It is gone."""

    id: Named


# --- API keys -----------------------------------------------------------------------------------------------------


class NewApiKey(Asked, frozen=True):
    """A further key."""

    name: Annotated[str, Meta(min_length=1, max_length=60, description="What it is for; you know it again by this.", examples=["payroll"])]


class ApiKey(Told, frozen=True):
    """An API key, without the key."""

    id: Named
    name: str
    ending: Annotated[str, _told("The last four characters of the key.")]
    state: Annotated[Literal["active", "ending", "ended"], _told("`ending`: it works until `ends_at`.")]
    this: Annotated[bool, _told("It is the key that this request came with.")]
    created_at: datetime
    ends_at: Annotated[datetime | None, _told("From then on it is refused.")]


class ApiKeyMade(Told, frozen=True):
    """A key in clear."""

    api_key: Annotated[str | None, _told("Shown this once; it can be replaced and never read again. Null to a repeat with the same Idempotency-Key.")]
    key: ApiKey

    def __repr__(self) -> str:
        return "ApiKeyMade(...)"


class ApiKeys(Told, frozen=True):
    """Your API keys, the oldest first."""

    items: list[ApiKey]
