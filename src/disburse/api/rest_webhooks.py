"""Webhook endpoints over `/v1`: add, list, show, rotate, pause, resume, resend, remove. The same operations as `disburse webhook`.

Lives here: reading what is asked and telling what came of it. May not live here: what an endpoint is (`operations/webhooks.py`), which
URLs are taken (`protocols/webhook_address.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from disburse.api.rest_orders import actor_of, name_of, own_id
from disburse.domain.merchant import Merchant
from disburse.operations import webhooks
from disburse.operations.desk import Desk
from disburse.operations.repeats import Asked
from disburse.operations.webhooks import Behind, NewWebhook, Webhook
from disburse.protocols import rest_event_messages as e
from disburse.protocols.events import TYPES
from disburse.protocols.rest import encode, read_body, read_key, read_query
from disburse.protocols.rest_messages import Nothing
from disburse.protocols.rest_problems import Refused, bad
from disburse.protocols.rest_routes import Name, Route
from disburse.protocols.webhook_address import BadWebhookUrl, read_endpoint
from disburse.protocols.wire import WireAnswer, WireRequest

WANTED: Final = frozenset(TYPES) | {f"{one.partition('.')[0]}.*" for one in TYPES}
"""What `types` may name: a type, or all of a kind."""


class WebhookDesk:
    """Answers `/v1/webhooks`. `to_loopback`: endpoints on this machine are taken, too."""

    def __init__(self, desk: Desk, *, to_loopback: bool) -> None:
        self._desk = desk
        self._to_loopback = to_loopback

    async def answer(self, route: Route, merchant: Merchant, identifier: str, request: WireRequest) -> WireAnswer:
        """The answer. Raises Refused, Refusal, StoreUnavailable."""
        match route.name:
            case "webhook_add":
                return await self._add(merchant, request)
            case "webhook_list":
                read_query(request, Nothing)
                found = await webhooks.list_webhooks(self._desk, merchant)
                return encode(200, e.Webhooks(items=[_shown(one, behind) for one, behind in found]))
        which, who = own_id(merchant, identifier), actor_of(merchant)
        match route.name:
            case "webhook_get":
                read_query(request, Nothing)
            case "webhook_rotate":
                hours = read_body(request, e.Overlap).overlap_hours
                named = self._asked(merchant, route.name, request, [str(which), hours])
                made = await webhooks.rotate_secret(self._desk, merchant, which, overlap=timedelta(hours=hours), actor=who, asked=named)
                return await self._made(200, merchant, made)
            case "webhook_pause" | "webhook_resume":
                read_body(request, Nothing)
                change = webhooks.pause_webhook if route.name == "webhook_pause" else webhooks.resume_webhook
                await change(self._desk, merchant, which, actor=who, asked=self._asked(merchant, route.name, request, [str(which)]))
            case "webhook_resend":
                asked = read_body(request, e.Range)
                named = self._asked(merchant, route.name, request, [str(which), asked.first, asked.last])
                await webhooks.resend_events(self._desk, merchant, which, asked.first, asked.last, actor=who, asked=named)
            case "webhook_remove":
                read_query(request, Nothing)
                await webhooks.remove_webhook(self._desk, merchant, which, actor=who)
                return encode(200, e.Removed(id=str(which)))
        return encode(200, await self._look(merchant, which))

    async def _add(self, merchant: Merchant, request: WireRequest) -> WireAnswer:
        asked = read_body(request, e.NewWebhook)
        named = self._asked(merchant, "webhook_add", request, [asked.url, asked.types, asked.since], self._objection(asked))
        made = await webhooks.add_webhook(
            self._desk, merchant, asked.url, types=asked.types, since=asked.since, actor=actor_of(merchant), asked=named
        )
        return await self._made(201 if made.fresh else 200, merchant, made)

    def _objection(self, asked: e.NewWebhook) -> Refused | None:
        """Why this cannot be an endpoint now. It goes by settings and versions, so a repeat of what was taken is not asked."""
        try:
            read_endpoint(asked.url, to_loopback=self._to_loopback)
        except BadWebhookUrl as fault:
            return bad("url", f"cannot be a webhook endpoint: {fault}")
        return None if WANTED.issuperset(asked.types or ()) else bad("types", "names a type of event that does not exist")

    def _asked(self, merchant: Merchant, act: Name, request: WireRequest, what: Sequence[Any], objection: Refused | None = None) -> Asked:
        return Asked(name_of(self._desk, merchant, read_key(request), act, what), objection)

    async def _made(self, status: int, merchant: Merchant, made: NewWebhook) -> WireAnswer:
        shown = await self._look(merchant, made.webhook.webhook_id)
        return encode(status, e.WebhookMade(webhook=shown, secret=made.secret or None))

    async def _look(self, merchant: Merchant, which: UUID) -> e.Webhook:
        for one, behind in await webhooks.list_webhooks(self._desk, merchant):
            if one.webhook_id == which:
                return _shown(one, behind)
        raise Refused("not_found")


def _shown(one: Webhook, behind: Behind) -> e.Webhook:
    return e.Webhook(
        id=str(one.webhook_id), url=one.url, types=list(one.types) if one.types is not None else None, state=cast(Any, one.state),
        reason=one.reason, since=one.since, done_to=one.done_to, last_event=behind.last_event, late=behind.late,
        resend_first=one.resend_next, resend_last=one.resend_to, old_secret_until=one.previous_until, failures=one.failures,
        last_answer=one.last_answer, last_at=one.last_at, created_at=one.created_at,
    )  # fmt: skip
