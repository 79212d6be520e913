"""What stands at which path of `/v1`: one table, by which the door finds its work and the OpenAPI document is written.

Lives here: methods, paths, what each takes and answers. May not live here: doing any of it (`api/rest.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from disburse.protocols import rest_event_messages as e
from disburse.protocols import rest_messages as m
from disburse.protocols import rest_payee_messages as p
from disburse.protocols import rest_registry_messages as r
from disburse.protocols.events import Event
from disburse.protocols.rest_problems import Refused

Name = Literal[
    "create", "list", "get", "execute", "cancel", "explain", "balances", "fee_quote", "rails", "banks", "top_ups", "limits", "events", "event_stream",
    "webhook_add", "webhook_list", "webhook_get", "webhook_rotate", "webhook_pause", "webhook_resume", "webhook_resend", "webhook_remove",
    "api_key_add", "api_key_list", "api_key_get", "api_key_rotate", "api_key_disable",
    "payee_add", "payee_list", "payee_get", "payee_destination_add", "payee_destination_retire",
    "registry_create", "registry_list", "registry_get", "registry_stream", "registry_rows", "registry_apply", "registry_cancel",
]  # fmt: skip
Room = Literal["payouts", "payees", "events", "webhooks", "api_keys"]
"""Which file of the door answers: `payouts` is `api/rest.py` itself, any other `api/rest_ROOM.py`."""

ANYWHERE: Final = ("bad_request", "unauthorized", "too_slow", "too_large", "unsupported_media_type", "too_many_requests", "internal_error", "not_begun", "outcome_unknown")
"""Problems that any path may answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One thing to ask. `answers`: by HTTP status. `problems`: beside those of `ANYWHERE`. `keyed`: takes an Idempotency-Key. `file`: the body is a
    file. `stream`: the answer is one of server-sent events, each with a message of the type under `answers` as its data.
    """

    name: Name
    method: str
    path: str
    summary: str
    answers: dict[int, type[msgspec.Struct]]
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    problems: tuple[str, ...] = ()
    keyed: bool = False
    description: str = field(default="")
    room: Room = "payouts"
    stream: bool = False
    file: bool = False


_KEYED = ("key_reused", "payouts_off", "payouts_denied", "insufficient_funds", "limit_reached")

PAYEE_ROUTES: Final = (
    Route("payee_add", "POST", "/v1/payees", "Save a payee", {201: p.Payee, 200: p.Payee}, body=p.NewPayee, problems=("key_reused", "reference_reused"),
          keyed=True, room="payees", description="200 when the payee of this reference was there with the same destination; a repeat changes nothing."),
    Route("payee_list", "GET", "/v1/payees", "List payees, or find one by reference", {200: p.Payees}, query=p.PayeesAsked, room="payees"),
    Route("payee_get", "GET", "/v1/payees/{id}", "One payee", {200: p.Payee}, problems=("not_found",), room="payees"),
    Route("payee_destination_add", "POST", "/v1/payees/{id}/destinations", "Save a further destination", {200: p.Payee}, body=p.NewDestination,
          problems=("not_found", "key_reused", "too_many"), keyed=True, room="payees",
          description="One that the payee has already is not added again. With an Idempotency-Key a late repeat adds nothing, also after it was retired."),
    Route("payee_destination_retire", "POST", "/v1/payees/{id}/retire", "Pay nothing new to a destination", {200: p.Payee}, body=p.Retired,
          problems=("not_found",), room="payees", description="Payouts that were made go on. It can be added again, under a new id."),
)  # fmt: skip

EVENT_ROUTES: Final = (
    Route(
        "events", "GET", "/v1/events", "Everything that happened, in order", {200: e.Events}, query=e.EventsAsked, room="events",
        description="Your events are numbered 1, 2, 3 and so on, without gaps and for ever. Ask for what comes after the last number that "
        "you have stored, and nothing is missed.",
    ),
    Route(
        "event_stream", "GET", "/v1/events/stream", "The same as server-sent events", {200: Event}, query=e.StreamAsked, room="events", stream=True,
        description="Each message has the event's number as its id. A stream ends after some time: come again with `Last-Event-ID`.",
    ),
)  # fmt: skip

WEBHOOK_ROUTES: Final = (
    Route("webhook_add", "POST", "/v1/webhooks", "Send your events to a URL", {201: e.WebhookMade, 200: e.WebhookMade}, body=e.NewWebhook,
          problems=("key_reused", "too_many", "no_such_events", "not_found"), keyed=True, room="webhooks",
          description="A repeat makes another endpoint, unless it has the Idempotency-Key of the first: that is answered 200, with the endpoint as it stands, and "
          "with its secret while that still signs; or 404 when it was removed."),
    Route("webhook_list", "GET", "/v1/webhooks", "Your webhook endpoints", {200: e.Webhooks}, room="webhooks"),
    Route("webhook_get", "GET", "/v1/webhooks/{id}", "One endpoint", {200: e.Webhook}, problems=("not_found",), room="webhooks"),
    Route("webhook_rotate", "POST", "/v1/webhooks/{id}/rotate", "Sign with a new secret", {200: e.WebhookMade}, body=e.Overlap,
          problems=("not_found", "key_reused"), keyed=True, room="webhooks",
          description="Both secrets sign for `overlap_hours`; one that was older ends at once. Send an Idempotency-Key: without it a repeat makes a third "
          "secret, and the one that your receiver knows ends."),
    Route("webhook_pause", "POST", "/v1/webhooks/{id}/pause", "Send nothing until it is resumed", {200: e.Webhook}, body=m.Nothing,
          problems=("not_found", "key_reused"), keyed=True, room="webhooks"),
    Route("webhook_resume", "POST", "/v1/webhooks/{id}/resume", "Go on where it stopped", {200: e.Webhook}, body=m.Nothing,
          problems=("not_found", "key_reused"), keyed=True, room="webhooks"),
    Route("webhook_resend", "POST", "/v1/webhooks/{id}/resend", "Send a range of events once more", {200: e.Webhook}, body=e.Range,
          problems=("not_found", "key_reused", "no_such_events", "resend_under_way"), keyed=True, room="webhooks"),
    Route("webhook_remove", "DELETE", "/v1/webhooks/{id}", "Forget an endpoint", {200: e.Removed},
          problems=("not_found",), room="webhooks", description="What still waits for it is forgotten too; the events themselves stay."),
)  # fmt: skip

API_KEY_ROUTES: Final = (
    Route("api_key_add", "POST", "/v1/api-keys", "Make a further key", {201: e.ApiKeyMade, 200: e.ApiKeyMade}, body=e.NewApiKey,
          problems=("key_reused", "too_many"), keyed=True, room="api_keys",
          description="The key is shown this once. A repeat makes another key, unless it has the Idempotency-Key of the first: that is answered 200, with the key's "
          "name and id and `api_key` null, since nobody has its text. Rotate it then."),
    Route("api_key_list", "GET", "/v1/api-keys", "Your API keys", {200: e.ApiKeys}, room="api_keys"),
    Route("api_key_get", "GET", "/v1/api-keys/{id}", "One key", {200: e.ApiKey}, problems=("not_found",), room="api_keys"),
    Route("api_key_rotate", "POST", "/v1/api-keys/{id}/rotate", "Replace a key", {201: e.ApiKeyMade, 200: e.ApiKeyMade}, body=e.Overlap,
          problems=("not_found", "key_reused", "too_many", "own_key", "key_ended"), keyed=True, room="api_keys",
          description="A new key of the same name is made, and the old one ends after `overlap_hours`. A key may replace itself, with an overlap. A repeat with the same "
          "Idempotency-Key is answered 200, with `api_key` null: rotate the new key then."),
    Route("api_key_disable", "POST", "/v1/api-keys/{id}/disable", "End a key now", {200: e.ApiKey}, body=m.Nothing,
          problems=("not_found", "own_key"), room="api_keys",
          description="A key cannot end itself: so one that works is always left. Every process refuses it within five seconds."),
)  # fmt: skip

REGISTRY_ROUTES: Final = (
    Route("registry_create", "POST", "/v1/registries", "Plan a file of payouts", {201: r.Registry, 200: r.Registry}, query=r.NewRegistryAsked, file=True,
          problems=("bad_file", "wrong_state", "key_reused"), keyed=True,
          description="The body is the file: CSV, JSON lines or XLSX, up to 8 MiB. Every row is judged; nothing is held and nothing is paid. A repeat with the same "
          "Idempotency-Key is answered 200, with the registry that the first one planned."),
    Route("registry_list", "GET", "/v1/registries", "List registries", {200: r.Registries}, query=r.RegistriesAsked),
    Route("registry_get", "GET", "/v1/registries/{id}", "One registry, with its progress", {200: r.Registry}, problems=("not_found",)),
    Route("registry_stream", "GET", "/v1/registries/{id}/stream", "The same as server-sent events", {200: r.Registry}, problems=("not_found",), stream=True,
          description="A message with all of it whenever something has changed. Ends with the final state, and after some time: come again."),
    Route("registry_rows", "GET", "/v1/registries/{id}/rows", "Rows, with their faults and what became of them", {200: r.RegistryRows},
          query=r.RegistryRowsAsked, problems=("not_found",)),
    Route("registry_apply", "POST", "/v1/registries/{id}/apply", "Do exactly what was planned", {200: r.Registry}, body=r.Apply,
          problems=("not_found", "wrong_state", "drifted", "not_all_good", "applied_before", "insufficient_funds", "payouts_off"),
          description="May be repeated at any time: each row is paid once. Rows become payouts in the background."),
    Route("registry_cancel", "POST", "/v1/registries/{id}/cancel", "Stop a registry", {200: r.Registry}, body=m.Nothing,
          problems=("not_found", "wrong_state"), description="Payouts that were made go on; rows that are left are given up."),
)  # fmt: skip

ROUTES: Final = (
    Route(
        "create", "POST", "/v1/payouts", "Make a payout",
        {201: m.Payout, 200: m.Payout}, body=m.NewPayout, keyed=True,
        problems=(*_KEYED, "reference_reused", "no_route", "below_minimum", "destination_retired"),
        description="201 when this call made it, 200 when it was there: a repeat changes nothing. With `execute` its money is held "
        "and it is sent in the same step, or nothing is made at all. It is `scheduled` while its time is to come or its rail is closed, and "
        "`awaiting_approval` while persons must agree to it.",
    ),
    Route("list", "GET", "/v1/payouts", "List payouts, or find one by reference", {200: m.Payouts}, query=m.PayoutsAsked),
    Route("get", "GET", "/v1/payouts/{id}", "One payout", {200: m.Payout}, problems=("not_found",)),
    Route(
        "execute", "POST", "/v1/payouts/{id}/execute", "Hold the money and send it", {200: m.Payout}, body=m.Nothing, keyed=True,
        problems=("not_found", "wrong_state", *_KEYED),
        description="A payout that was executed before is answered as it stands.",
    ),
    Route(
        "cancel", "POST", "/v1/payouts/{id}/cancel", "Cancel what was not sent yet", {200: m.Payout}, body=m.Nothing, keyed=True,
        problems=("not_found", "wrong_state", "key_reused"),
        description="Held money goes back. A payout that is cancelled already is answered as it stands.",
    ),
    Route("explain", "GET", "/v1/payouts/{id}/explain", "Why a payout is as it is", {200: m.Explanation}, problems=("not_found",)),
    Route("limits", "GET", "/v1/limits", "Your limits, and what they leave", {200: m.Limits}),
    Route("balances", "GET", "/v1/balances", "Your money now, or as of a time", {200: m.Balances}, query=m.BalancesAsked),
    Route("fee_quote", "GET", "/v1/fee-quotes", "What a payout would cost", {200: m.FeeQuote}, query=m.FeeAsked),
    Route("rails", "GET", "/v1/rails", "What can be paid", {200: m.Rails}),
    Route("banks", "GET", "/v1/banks", "Banks of SBP", {200: m.Banks}),
    Route("top_ups", "GET", "/v1/top-ups", "Money that was booked for you", {200: m.TopUps}, query=m.TopUpsAsked),
    *PAYEE_ROUTES,
    *EVENT_ROUTES,
    *WEBHOOK_ROUTES,
    *API_KEY_ROUTES,
    *REGISTRY_ROUTES,
)  # fmt: skip

_FOUND: Final = {(route.method, *route.path.split("/")[2:]): route for route in ROUTES}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def find_route(method: str, path: str) -> tuple[Route, str]:
    """What is asked, and the id in its path ('' without one). HEAD is GET. Raises Refused, and WrongMethod for another method's path."""
    _, head, *parts = path.split("/") if path.startswith("/") else ("", "")
    verb = "GET" if method == "HEAD" else method
    if head == "v1" and "{id}" not in parts:
        for spelled, identifier in ((parts, ""), ([*parts[:1], "{id}", *parts[2:]], parts[1] if len(parts) > 1 else "")):
            route = _FOUND.get((verb, *spelled))
            if route is not None:
                return route, identifier
            allowed = [one for one in _METHODS if (one, *spelled) in _FOUND]
            if allowed:
                raise WrongMethod(allowed)
    raise Refused("not_found")


class WrongMethod(Refused):
    """The path is there and takes only the methods in `allowed`."""

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = [*allowed, "HEAD"] if "GET" in allowed else allowed
        super().__init__("method_not_allowed", f"This path takes {' and '.join(self.allowed)}.")
