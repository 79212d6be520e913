"""What stands at which path of `/v1`: one table, by which the door finds its work and the OpenAPI document is written.

Lives here: methods, paths, what each takes and answers. May not live here: doing any of it (`api/rest.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from disburse.protocols import rest_messages as m
from disburse.protocols import rest_registry_messages as r
from disburse.protocols.rest_problems import Refused

Name = Literal[
    "create", "list", "get", "execute", "cancel", "explain", "balances", "fee_quote", "rails", "banks", "top_ups", "limits",
    "registry_create", "registry_list", "registry_get", "registry_rows", "registry_apply", "registry_cancel",
]  # fmt: skip

ANYWHERE: Final = ("bad_request", "unauthorized", "too_slow", "too_large", "unsupported_media_type", "internal_error", "not_begun", "outcome_unknown")
"""Problems that any path may answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One thing to ask. `answers`: by HTTP status. `problems`: beside those of `ANYWHERE`. `keyed`: takes an Idempotency-Key. `file`: the body is a file."""

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
    file: bool = False


_KEYED = ("key_reused", "payouts_off", "payouts_denied", "insufficient_funds", "limit_reached")

REGISTRY_ROUTES: Final = (
    Route("registry_create", "POST", "/v1/registries", "Plan a file of payouts", {201: r.Registry}, query=r.NewRegistryAsked, file=True,
          problems=("bad_file",), description="The body is the file: CSV, JSON lines or XLSX, up to 8 MiB. Every row is judged; nothing is held and nothing is paid."),
    Route("registry_list", "GET", "/v1/registries", "List registries", {200: r.Registries}, query=r.RegistriesAsked),
    Route("registry_get", "GET", "/v1/registries/{id}", "One registry, with its progress", {200: r.Registry}, problems=("not_found",)),
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
        problems=(*_KEYED, "reference_reused", "no_route", "below_minimum"),
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
    Route("balances", "GET", "/v1/balances", "Your money now", {200: m.Balances}),
    Route("limits", "GET", "/v1/limits", "Your limits, and what they leave", {200: m.Limits}),
    Route("fee_quote", "GET", "/v1/fee-quotes", "What a payout would cost", {200: m.FeeQuote}, query=m.FeeAsked),
    Route("rails", "GET", "/v1/rails", "What can be paid", {200: m.Rails}),
    Route("banks", "GET", "/v1/banks", "Banks of SBP", {200: m.Banks}),
    Route("top_ups", "GET", "/v1/top-ups", "Money that was booked for you", {200: m.TopUps}, query=m.TopUpsAsked),
    *REGISTRY_ROUTES,
)  # fmt: skip

_FOUND: Final = {(route.method, *route.path.split("/")[2:]): route for route in ROUTES}
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def find_route(method: str, path: str) -> tuple[Route, str]:
    """What is asked, and the id in its path ('' without one). HEAD is GET. Raises Refused, and WrongMethod for another method's path."""
    head, *parts = path.strip("/").split("/")
    identifier = parts[1] if len(parts) > 1 else ""
    if len(parts) > 1:
        parts[1] = "{id}"
    if head == "v1" and path == "/" + "/".join(["v1", *parts]).replace("{id}", identifier, 1):
        route = _FOUND.get(("GET" if method == "HEAD" else method, *parts))
        if route is not None:
            return route, identifier
        allowed = [verb for verb in _METHODS if (verb, *parts) in _FOUND]
        if allowed:
            raise WrongMethod(allowed)
    raise Refused("not_found")


class WrongMethod(Refused):
    """The path is there and takes only the methods in `allowed`."""

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = [*allowed, "HEAD"] if "GET" in allowed else allowed
        super().__init__("method_not_allowed", f"This path takes {' and '.join(self.allowed)}.")
