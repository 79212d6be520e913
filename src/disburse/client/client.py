"""`Client`: everything that a merchant's program may ask of `/v1`, one method each, with asyncio.

A method sends what it is given, waits for the answer, and asks again where that is harmless (`asking.py`). It returns what was asked
for, or raises one of three things (`errors.py`). May not live here: what an answer means, bytes.

A payout needs a name, so that it is never made twice: a `reference` in `NewPayout`, or a `key`, or both. Where the caller gives no key,
the client draws one before the first try. It is in `OutcomeUnknown`, and lost with a process that dies: what must survive that is
the reference, or a key that was stored before it was used. Whatever else would be done a second time has a `key` too.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Self, TypeVar

import msgspec

from disburse.client.asking import Asking, Done, Retries
from disburse.client.calls import Call, Id, read, upload, write
from disburse.client.errors import EventsMissing
from disburse.client.line import Line
from disburse.protocols import rest_event_messages as e
from disburse.protocols import rest_messages as m
from disburse.protocols import rest_payee_messages as p
from disburse.protocols import rest_registry_messages as r
from disburse.protocols.events import Event

T = TypeVar("T")

_EVERY_PAYOUT = m.PayoutsAsked()
_EVERY_TOP_UP = m.TopUpsAsked()
_EVERY_PAYEE = p.PayeesAsked()
_A_REGISTRY = r.NewRegistryAsked()
_EVERY_ROW = r.RegistryRowsAsked()
_PLANNING_S = 30.0


def new_key() -> str:
    """An Idempotency-Key that nobody has used: store it before you use it, and your own crash cannot lose it."""
    return str(uuid.uuid4())


class Client:
    """One merchant's way to one server; any number of tasks may share it. Open it by `async with`, or close it.

    `timeout_s` is for one try. `retries`: how often and how patiently. `tls`: an own trust store. `plain_http`: the API key may go over
    http to another machine. `draw_key` and `sleep` are for programs that replay, and tests. Raises ValueError for an address or key that can be none.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        tls: ssl.SSLContext | None = None,
        plain_http: bool = False,
        connections: int = 100,
        draw_key: Callable[[], str] = new_key,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._line = Line(url, api_key, timeout_s=timeout_s, tls=tls, plain_http=plain_http, connections=connections)
        self._retries = retries if retries is not None else Retries()
        self._draw_key = draw_key
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._line.close()

    async def send(self, call: Call[T]) -> T:
        """One call, through all its tries. Raises Problem, NoAnswer, OutcomeUnknown."""
        asking = Asking(call, self._retries)
        try:
            while True:
                step = asking.hear(await self._line.send(call), datetime.now(UTC))
                if isinstance(step, Done):
                    return step.value
                await self._sleep(step.seconds)
        except asyncio.CancelledError as cancelled:
            if call.key is not None:
                cancelled.add_note(f"It is not known whether {call.what} was done. Its Idempotency-Key is {call.key}.")
            raise

    def _named(self, key: str | None) -> str:
        return key if key is not None else self._draw_key()

    # --- payouts ---

    async def create(self, order: m.NewPayout, *, key: str | None = None) -> m.Payout:
        """Make a payout, or find the one that this reference or key made. With `execute` it is sent at once, or not made at all."""
        return await self.send(write("create", m.Payout, body=order, key=self._named(key), reference=order.reference))

    async def execute(self, payout_id: Id, *, key: str | None = None) -> m.Payout:
        """Hold a payout's money and send it."""
        return await self.send(write("execute", m.Payout, payout_id, key=self._named(key)))

    async def cancel(self, payout_id: Id, *, key: str | None = None) -> m.Payout:
        """Cancel what was not sent yet."""
        return await self.send(write("cancel", m.Payout, payout_id, key=self._named(key)))

    async def payout(self, payout_id: Id) -> m.Payout:
        """A payout as it stands."""
        return await self.send(read("get", m.Payout, payout_id))

    async def find(self, reference: str, *, surface: m.Surface | None = None) -> m.Payout | None:
        """The payout of a reference; None when there is none."""
        found = await self.send(read("list", m.Payouts, query=m.PayoutsAsked(reference=reference, surface=surface)))
        return found.items[0] if found.items else None

    async def explain(self, payout_id: Id) -> m.Explanation:
        """Why a payout is as it is, in words for people."""
        return await self.send(read("explain", m.Explanation, payout_id))

    async def payouts(self, asked: m.PayoutsAsked = _EVERY_PAYOUT) -> AsyncIterator[m.Payout]:
        """All payouts that pass the filters, newest first, page by page."""
        while True:
            page = await self.send(read("list", m.Payouts, query=asked))
            for one in page.items:
                yield one
            if page.next_cursor is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next_cursor)

    # --- money, and what can be paid ---

    async def balances(self, at: datetime | None = None) -> list[m.Balance]:
        """Your money, one item a currency; `at` (with a time zone): as of then."""
        return (await self.send(read("balances", m.Balances, query=m.BalancesAsked(at=at)))).items

    async def fee_quote(self, rail: m.RailName, amount: m.Amount) -> m.FeeQuote:
        """What a payout would cost now."""
        return await self.send(read("fee_quote", m.FeeQuote, query=m.FeeAsked(rail=rail, amount=amount.amount, currency=amount.currency)))

    async def limits(self) -> m.Limits:
        """Your limits, and what they leave."""
        return await self.send(read("limits", m.Limits))

    async def rails(self) -> list[m.Rail]:
        """What can be paid now, and at which fee."""
        return (await self.send(read("rails", m.Rails))).items

    async def banks(self) -> list[m.Bank]:
        """The banks that a payout through SBP may name."""
        return (await self.send(read("banks", m.Banks))).items

    async def top_ups(self, asked: m.TopUpsAsked = _EVERY_TOP_UP) -> AsyncIterator[m.TopUp]:
        """The money that was booked for you, newest first, page by page."""
        while True:
            page = await self.send(read("top_ups", m.TopUps, query=asked))
            for one in page.items:
                yield one
            if page.next_cursor is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next_cursor)

    # --- payees ---

    async def add_payee(self, payee: p.NewPayee, *, key: str | None = None) -> p.Payee:
        """Save a payee, or find the one of this reference."""
        return await self.send(write("payee_add", p.Payee, body=payee, key=self._named(key), reference=payee.reference))

    async def payee(self, payee_id: Id) -> p.Payee:
        """One payee."""
        return await self.send(read("payee_get", p.Payee, payee_id))

    async def find_payee(self, reference: str) -> p.Payee | None:
        """The payee of a reference; None when there is none."""
        found = await self.send(read("payee_list", p.Payees, query=p.PayeesAsked(reference=reference)))
        return found.items[0] if found.items else None

    async def payees(self, asked: p.PayeesAsked = _EVERY_PAYEE) -> AsyncIterator[p.Payee]:
        """All payees, newest first, page by page."""
        while True:
            page = await self.send(read("payee_list", p.Payees, query=asked))
            for one in page.items:
                yield one
            if page.next_cursor is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next_cursor)

    async def add_destination(self, payee_id: Id, destination: m.To, *, key: str | None = None) -> p.Payee:
        """Save a further destination; one that the payee has already is not added again."""
        asked = p.NewDestination(destination=destination)
        return await self.send(write("payee_destination_add", p.Payee, payee_id, asked, key=self._named(key)))

    async def retire_destination(self, payee_id: Id, destination_id: Id) -> p.Payee:
        """Pay nothing new there."""
        return await self.send(write("payee_destination_retire", p.Payee, payee_id, p.Retired(destination=str(destination_id))))

    # --- registries ---

    async def plan_registry(
        self, content: bytes, asked: r.NewRegistryAsked = _A_REGISTRY, *, key: str | None = None, told: Callable[[int, int], None] | None = None
    ) -> r.Registry:
        """Send a file of payouts and have every row judged; nothing is held and nothing is paid. `told`: bytes sent, and bytes in all."""
        return await self.send(upload("registry_create", r.Registry, content, asked, key=self._named(key), told=told, wait_s=_PLANNING_S))

    async def apply_registry(self, planned: r.Registry, *, only_good: bool = False, again: bool = False) -> r.Registry:
        """Do exactly what was planned and looked at. May be repeated at any time: each row is paid once. Raises ValueError for one without a plan."""
        if planned.digest is None:
            raise ValueError("this registry is not planned yet")
        asked = r.Apply(digest=planned.digest, only_good=only_good, again=again)
        return await self.send(write("registry_apply", r.Registry, planned.id, asked))

    async def follow_registry(self, registry_id: Id, told: Callable[[r.Registry], None], *, every_s: float = 1.0) -> r.Registry:
        """Look every so many seconds until it is over; `told` gets each look, with its counters. The last look."""
        while True:
            seen = await self.registry(registry_id)
            told(seen)
            if seen.final:
                return seen
            await self._sleep(every_s)

    async def registry(self, registry_id: Id) -> r.Registry:
        """A registry as it stands."""
        return await self.send(read("registry_get", r.Registry, registry_id))

    async def registries(self) -> AsyncIterator[r.Registry]:
        """All registries, newest first, page by page."""
        asked = r.RegistriesAsked()
        while True:
            page = await self.send(read("registry_list", r.Registries, query=asked))
            for one in page.items:
                yield one
            if page.next_cursor is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next_cursor)

    async def registry_rows(self, registry_id: Id, asked: r.RegistryRowsAsked = _EVERY_ROW) -> AsyncIterator[r.RegistryRow]:
        """The rows of a registry in the file's order, with their faults and what became of them."""
        while True:
            page = await self.send(read("registry_rows", r.RegistryRows, registry_id, asked))
            for one in page.items:
                yield one
            if page.next_cursor is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next_cursor)

    async def cancel_registry(self, registry_id: Id) -> r.Registry:
        """Stop a registry. Payouts that were made go on; rows that are left are given up."""
        return await self.send(write("registry_cancel", r.Registry, registry_id))

    # --- events ---

    async def events(self, after: int = 0, *, follow: bool = True, page: int = 100, wait_s: int = 20) -> AsyncIterator[Event]:
        """Everything that happened after event number `after`, in order and without gaps; with `follow` for ever, else until there is no more.

        `wait_s`: how long the server holds a request when there is nothing yet, at most 30. Store what an event tells together with its number,
        and begin again there: nothing is missed. Raises EventsMissing too.
        """
        while True:
            asked = e.EventsAsked(after=after, limit=page, wait=wait_s if follow else 0)
            told = await self.send(read("events", e.Events, query=asked, wait_s=asked.wait))
            for event in told.items:
                if event.number != after + 1:
                    raise EventsMissing(after, event.number)
                after = event.number
                yield event
            if not told.items:
                if not follow:
                    return
                await self._sleep(self._retries.first_pause_s)  # a server that is about to end answers at once

    # --- webhook endpoints ---

    async def add_webhook(self, webhook: e.NewWebhook, *, key: str | None = None) -> e.WebhookMade:
        """Have events posted to a URL. Its secret is shown by this key alone, while it signs."""
        return await self.send(write("webhook_add", e.WebhookMade, body=webhook, key=self._named(key)))

    async def webhooks(self) -> list[e.Webhook]:
        """All endpoints."""
        return (await self.send(read("webhook_list", e.Webhooks))).items

    async def webhook(self, webhook_id: Id) -> e.Webhook:
        """One endpoint."""
        return await self.send(read("webhook_get", e.Webhook, webhook_id))

    async def rotate_webhook(self, webhook_id: Id, *, overlap_hours: int = 24, key: str | None = None) -> e.WebhookMade:
        """Sign with a new secret; for so many hours the old one signs as well."""
        asked = e.Overlap(overlap_hours=overlap_hours)
        return await self.send(write("webhook_rotate", e.WebhookMade, webhook_id, asked, key=self._named(key)))

    async def pause_webhook(self, webhook_id: Id, *, key: str | None = None) -> e.Webhook:
        """Send nothing until it is resumed."""
        return await self.send(write("webhook_pause", e.Webhook, webhook_id, key=self._named(key)))

    async def resume_webhook(self, webhook_id: Id, *, key: str | None = None) -> e.Webhook:
        """Go on where it stopped."""
        return await self.send(write("webhook_resume", e.Webhook, webhook_id, key=self._named(key)))

    async def resend_webhook(self, webhook_id: Id, first: int, last: int, *, key: str | None = None) -> e.Webhook:
        """Send the events from `first` to `last` once more."""
        return await self.send(write("webhook_resend", e.Webhook, webhook_id, e.Range(first=first, last=last), key=self._named(key)))

    async def remove_webhook(self, webhook_id: Id) -> None:
        """Forget an endpoint."""
        await self.send(write("webhook_remove", e.Removed, webhook_id))

    # --- API keys ---

    async def add_api_key(self, name: str, *, key: str | None = None) -> e.ApiKeyMade:
        """A further key. It is shown once: `api_key` is None where an earlier try was carried out and its answer was lost. Rotate it then."""
        return await self.send(write("api_key_add", e.ApiKeyMade, body=e.NewApiKey(name=name), key=self._named(key)))

    async def api_keys(self) -> list[e.ApiKey]:
        """All keys, without the keys."""
        return (await self.send(read("api_key_list", e.ApiKeys))).items

    async def rotate_api_key(self, key_id: Id, *, overlap_hours: int = 24, key: str | None = None) -> e.ApiKeyMade:
        """A new key in the place of one, which ends after so many hours. It is shown once, as in `add_api_key`."""
        asked = e.Overlap(overlap_hours=overlap_hours)
        return await self.send(write("api_key_rotate", e.ApiKeyMade, key_id, asked, key=self._named(key)))

    async def disable_api_key(self, key_id: Id) -> e.ApiKey:
        """End a key now; it cannot be the one that asks."""
        return await self.send(write("api_key_disable", e.ApiKey, key_id))


