"""What the UnitPay connector's tests share: a connector pointed at a server of the test's own, and answers as UnitPay writes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from disburse.connectors.contract import Order, Question
from disburse.connectors.kind import Http, Secret, Surroundings
from disburse.connectors.sandbox_book import Spool
from disburse.connectors.transport import HttpTransport
from disburse.connectors.unitpay import UnitPayConnector, UnitPaySettings, make
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import read_amount
from disburse.domain.ports import Clock
from disburse.protocols.unitpay import Call, decode_call
from disburse.protocols.wire import WireRequest
from disburse.world import RealClock

KEY = "a-key-that-nobody-may-see"
LOGIN = "partner@example.com"
CARD = Destination(Rail.CARD, "4111111111111111")
PATIENCE_S = 20.0


@dataclass
class Alerts:
    """What a person would have been told: connector, alert, code."""

    told: list[tuple[str, str, int | None]] = field(default_factory=list)

    def __call__(self, connector: str, alert: str, code: int | None = None, version: str | None = None) -> None:
        assert version == "2026-11-21"
        self.told.append((connector, alert, code))


@dataclass
class Upstream:
    """A connector and what it told people."""

    connector: UnitPayConnector
    alerts: Alerts


def no_spool(file: str) -> Spool:
    raise AssertionError("a UnitPay connector keeps no file")


@asynccontextmanager
async def upstream(url: str, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Upstream]:
    """A connector called `up` that asks this address."""
    clock = clock or RealClock()
    transports: list[HttpTransport] = []

    def transport(http: Http) -> HttpTransport:
        transports.append(HttpTransport(clock, connections=http.connections))
        return transports[-1]

    alerts = Alerts()
    given: dict[str, Any] = {"login": LOGIN, "secret_key": Secret(lambda: KEY), "url": url, **settings}
    yield Upstream(make("up", UnitPaySettings(**given), Surroundings(clock, transport, alerts, no_spool)), alerts)
    for one in transports:
        await one.close()


def order(amount: str = "300.00", end_to_end_id: str = "1782", to: Destination = CARD, deadline_s: float = PATIENCE_S) -> Order:
    return Order(end_to_end_id, read_amount(amount, "RUB"), to, deadline_s)


def question(end_to_end_id: str = "1782", reference: str | None = None) -> Question:
    return Question(end_to_end_id, reference, PATIENCE_S)


def http(body: Any, status: int = 200) -> bytes:
    """An answer as bytes; `body` is JSON unless it is bytes already."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(raw), raw)


def result(status: str, /, **fields: Any) -> dict[str, Any]:
    """A payout as massPayment and massPaymentStatus show it; a field of None is left out."""
    shown = {
        "message": "said", "status": status, "payoutId": "114233", "partnerBalance": "15733.00", "sum": "300",
        "createDate": "2021-12-01 11:51:02", "payoutCommission": "6.00", "partnerCommission": "0.00", **fields,
    }  # fmt: skip
    return {"result": {name: value for name, value in shown.items() if value is not None}}


def error(code: int) -> dict[str, Any]:
    return {"error": {"message": "no", "code": code}}


def call_of(request: bytes) -> Call:
    """What a server reads in a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.decode("ascii").split("\r\n")
    method, target, _ = line.split(" ")
    path, _, query = target.partition("?")
    fields = {name.lower(): value for name, value in (header.split(": ", 1) for header in headers)}
    return decode_call(WireRequest(method, path, query.encode(), fields, body))
