"""Hostile input at the REST door: a problem within a second, no payout, no hold, no key, no 5xx, and nothing of the request anywhere.

The tables follow the corpora of the reliability page, sections 4.3 and 4.8, for the fields of this surface.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest
import structlog.testing

from tests.api.house import House
from tests.api.rest_client import CARD, CARD_TO, ORDER, PHONE_TO, PURSE_TO, Program, problem, program, without
from tests.api.served import Answer
from tests.api.test_unitpay_hostile import ADDRESSES, CARDS, MEMBERS, PHONES, SUMS

WITHIN_S = 1.0
NOT_TEXT: list[Any] = [0, 10, -1, 10.5, 1e30, True, False, [], ["10"], {}, {"a": 1}]
CURRENCIES = ["rub", "RUR", "643", "RU\u0412", "", " RUB", "RUB ", "XXX", "XAU", "RUBRUB", "R" * 5000, "RUB\u200b", "\u20bd"]
PURSES = ["Z12345678901", "Z1234567890123", "z12345678901a", "Q123456789012", "C123456789012", "\u0130123456789012", "Z１２３４５６７８９０１２", "Z 123456789012", "Z" * 65]
WALLETS = ["", "123456789", "1234567890123456", "٧٩٥١٠٠٠٠٠٧", "7951000007a", "+" + "7" * 70]
ACCOUNTS = ["40817810099910004313", "4081781009991000431", "408178100999100043120", "03100643000000010001", "４０８１７８１００９９９１０００４３１２", "a" * 20]
BIKS = ["04452522", "944525225", "０４４５２５２２５", "bik", ""]
NAMES = ["", "a", "a" * 51, "a\u202eb", "a\u200bb", "\u2066abc", " ", "a" * 5000]
REFERENCES = ["", " ", " a", "a ", "\u00a0a", "a\u202eb", "a\u200bb", "a\ufeffb", "\ue000", "x" * 201, "a\u2028b"]
KEYS = ["", '""', '"', "a b", "a\tb", "x" * 256, "a, b", 'a"b', "ключ"]
BODIES = [
    b"", b" ", b"null", b"true", b"1", b'"a"', b"[]", b"[{}]", b"{", b"}", b"{}{}", b"{'a':1}", b"\xff\xfe{\x00}\x00", b"\x00", b"{\"a\":NaN}",
    b'{"amount":1e999999}', b'{"amount":' + b"9" * 5000 + b"}", b"[" * 50_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}', b'{"a":1,}', b"{\"a\":1 /* */}", b"\xc0\x80", b'{"reference":"\xc0\xaf"}', b"amount=10", b"<a/>",
]  # fmt: skip


def orders() -> Iterator[tuple[str, str, Any]]:
    """(field to blame, field to replace, what is sent in its place) with one thing wrong in an order that is otherwise right."""
    rub = {"currency": "RUB"}
    value: Any
    for value in SUMS:
        yield "amount.amount", "amount", {"amount": value, **rub}
    for value in NOT_TEXT:
        yield "amount.amount", "amount", {"amount": value, **rub}
        yield "amount.currency", "amount", {"amount": "10", "currency": value}
    for value in CURRENCIES:
        yield "amount.currency", "amount", {"amount": "10", "currency": value}
    yield "amount.currency", "amount", {"amount": "10"}
    yield "amount.amount", "amount", rub
    yield "amount.minor", "amount", {"amount": "10", "minor": "1", **rub}
    for value in ["10", None, *[one for one in NOT_TEXT if not isinstance(one, dict)]]:
        yield "amount", "amount", value
        yield "destination", "destination", value
    for field, changes in destinations():
        yield f"destination.{field}", "destination", changes
    for value in REFERENCES:
        yield "reference", "reference", value
    for value in NOT_TEXT:
        yield "reference", "reference", value
        yield "comment", "comment", value
    yield "comment", "comment", "x" * 1001
    for value in [None, 0, 1, "true", "false", "", [], {}]:
        yield "execute", "execute", value
    for name in ("Reference", "merchant_id", "fee", "state", "__proto__", "executed"):
        yield name, name, "x"


def destinations() -> Iterator[tuple[str, Any]]:
    """(field to blame, destination)."""
    tables: list[tuple[dict[str, str], str, list[str]]] = [
        (CARD_TO, "number", [*CARDS, "", "4" * 5000]), (PHONE_TO, "phone", [*PHONES, ""]), (PHONE_TO, "bank", [*MEMBERS, ""]), (PURSE_TO, "purse", PURSES),
        ({"rail": "qiwi"}, "wallet", WALLETS), ({"rail": "usdt"}, "address", [*ADDRESSES, ""]), ({"rail": "account", "bik": "044525225"}, "account", ACCOUNTS),
        ({"rail": "account", "account": "40817810099910004312"}, "bik", BIKS), (CARD_TO, "name", NAMES),
    ]  # fmt: skip
    for whole, field, values in tables:
        for value in [*values, *NOT_TEXT]:
            yield field, {**whole, field: value}
        if field not in ("bank", "name"):
            yield field, without(whole, field)
    for value in ["Card", "cards", "", "card ", "visa", "__proto__", *NOT_TEXT]:
        yield "rail", {**CARD_TO, "rail": value}
    yield "rail", {"number": CARD}
    yield "purse", {**CARD_TO, "purse": "Z123456789012"}
    yield "cvv", {**CARD_TO, "cvv": "123"}


class Watch:
    """Sends bad requests and holds each answer to the rules."""

    def __init__(self, shop: Program, caplog: pytest.LogCaptureFixture, logs: list[Any]) -> None:
        self.shop, self._caplog, self._logs = shop, caplog, logs

    async def refused(self, what: str, asked: Awaitable[Answer]) -> Answer:
        """The answer to a request that must be refused."""
        began = time.perf_counter()
        answer = await asked
        assert time.perf_counter() - began < WITHIN_S, what
        assert 400 <= answer.status < 500, (what, answer)
        assert problem(answer) and len(answer.body) < 2000
        return answer

    async def nothing_happened(self) -> None:
        """No payout, no key, no hold, and nothing of a payee in any log."""
        assert await self.shop.payouts() == 0 and await self.shop.keys_kept() == 0
        assert await self.shop.house.balances(self.shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}
        told = self._caplog.text + repr(self._logs) + self.shop.served.written.getvalue()
        for secret in (CARD, "79510000071", self.shop.made.api_key):
            assert secret not in told


@pytest.fixture
async def watch(house: House, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Watch]:
    """A merchant's program, watched."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        async with program(house) as shop:
            yield Watch(shop, caplog, logs)


async def test_every_field(watch: Watch) -> None:
    """One bad field is enough: 400 that names it and repeats nothing of it; nothing is made, held or remembered."""
    count = 0
    for field, name, value in orders():
        answer = await watch.refused(field, watch.shop.create({**ORDER, name: value}, key="k-1"))
        count += 1
        if answer.status == 413:
            assert len(json.dumps(value)) > 60_000
            continue
        assert (answer.status, problem(answer)) == (400, "bad_request"), (field, value)
        blamed = {answer.json.get("field"), *(one["field"] for one in answer.json.get("errors", []))}
        assert blamed & {field, field.rpartition(".")[2], field.partition(".")[0]}, (field, value, answer.json)
        if isinstance(value, str) and len(value) > 8:
            assert value not in answer.body.decode()
    assert count > 350
    await watch.nothing_happened()


async def test_everything_wrong_is_told_at_once(watch: Watch) -> None:
    """An order of the right shape with four bad values is told all four."""
    order = {"amount": {"amount": "0", "currency": "RUB"}, "destination": {**CARD_TO, "number": "4111111111111112"}, "reference": " ", "comment": "x" * 1001}
    answer = await watch.refused("all", watch.shop.create(order))
    assert [one["field"] for one in answer.json["errors"]] == ["amount.amount", "destination.number", "reference", "comment"]
    assert answer.json["field"] == "amount.amount"


async def test_every_body(watch: Watch) -> None:
    """Bytes that are not one strict JSON object are 400, whatever they are."""
    for path in ("/v1/payouts", "/v1/payouts/018f0000-0000-7000-8000-000000000000/execute"):
        for raw in BODIES:
            if path.endswith("execute") and not raw:
                continue
            answer = await watch.refused(repr(raw[:20]), watch.shop.ask("POST", path, raw=raw))
            assert answer.status in (400, 415)
    whole = json.dumps(ORDER)
    for twice in (whole[:-1] + ',"reference":"1783"}', whole[:-1] + ',"amount":{"amount":"9","amount":"8","currency":"RUB"}}', whole + whole):
        assert (await watch.refused("twice", watch.shop.ask("POST", "/v1/payouts", raw=twice.encode()))).status == 400
    await watch.nothing_happened()


async def test_every_media_type(watch: Watch) -> None:
    """A body is read as JSON when it says that it is, and in UTF-8."""
    raw = json.dumps(ORDER).encode()
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json, text/plain", "application/json; charset=utf-16", "application/jsonx"):
        answer = await watch.refused(str(kind), watch.shop.ask("POST", "/v1/payouts", raw=raw, kind=kind))
        assert answer.status in (400, 415)
    for header in ("Content-Encoding: gzip", "Content-Encoding: identity"):
        answer = await watch.refused(header, watch.shop.ask("POST", "/v1/payouts", raw=raw, headers=(header,)))
        assert problem(answer) == "unsupported_media_type"
    answer = await watch.refused("large", watch.shop.ask("POST", "/v1/payouts", raw=b" " * 70_000))
    assert problem(answer) == "too_large"
    await watch.nothing_happened()
    assert (await watch.shop.ask("POST", "/v1/payouts", raw=raw, kind="Application/JSON; charset=UTF-8")).status == 201


async def test_every_key(watch: Watch) -> None:
    """A key that is none is 400 naming the header; two keys are none; an order with neither key nor reference is refused."""
    for key in KEYS:
        answer = await watch.refused(key, watch.shop.create(key=key.encode().decode("latin-1")))
        assert (answer.status, answer.json["field"] if answer.json.get("field") else None) in ((400, "Idempotency-Key"), (400, None))
    answer = await watch.refused("two", watch.shop.ask("POST", "/v1/payouts", ORDER, headers=("Idempotency-Key: a", "Idempotency-Key: b")))
    assert answer.status == 400
    for order in (without(ORDER, "reference"), {**ORDER, "reference": None}):
        answer = await watch.refused("neither", watch.shop.create(order))
        assert (answer.status, answer.json["field"]) == (400, "reference")
    await watch.nothing_happened()


PATHS = [
    ("GET", "/v1"), ("GET", "/v1/"), ("GET", "/V1/payouts"), ("GET", "/v1/payouts/"), ("GET", "/v1//payouts"), ("GET", "/v1/payouts//"), ("GET", "/v1/nothing"),
    ("GET", "/v1/payouts/1/2/3"), ("GET", "/v1/payouts/../balances"), ("GET", "/v1/%70ayouts"), ("GET", "/v1/payouts/{id}"), ("GET", "/v1/payouts/1"),
    ("GET", "/v1/payouts/{018f0000-0000-7000-8000-000000000000}"), ("GET", "/v1/payouts/018f00000000700080000000000000000"), ("GET", "/v1/payouts/%31"),
    ("GET", "/v1/payouts/urn:uuid:018f0000-0000-7000-8000-000000000000"), ("GET", "/v1/payouts/018f0000-0000-7000-8000-0000000000000"),
    ("POST", "/v1/payouts/1/execute"), ("POST", "/v1/payouts//cancel"), ("GET", "/v1/payouts/1/explain"), ("POST", "/v1/payouts/018f0000-0000-7000-8fff-000000000000/cancel"),
]  # fmt: skip


async def test_every_path(watch: Watch) -> None:
    """A path that leads nowhere, and an id that can be none, are 404; another method is 405 and says which."""
    for method, path in PATHS:
        answer = await watch.refused(path, watch.shop.ask(method, path))
        assert (answer.status, problem(answer)) == (404, "not_found"), path
    for method, path, allowed in [
        ("DELETE", "/v1/payouts", "GET, POST, HEAD"), ("PUT", "/v1/payouts", "GET, POST, HEAD"), ("PATCH", "/v1/payouts/1", "GET, HEAD"),
        ("GET", "/v1/payouts/1/execute", "POST"), ("POST", "/v1/balances", "GET, HEAD"), ("OPTIONS", "/v1/rails", "GET, HEAD"),
    ]:  # fmt: skip
        answer = await watch.refused(path, watch.shop.ask(method, path))
        assert (answer.status, problem(answer), answer.headers["allow"]) == (405, "method_not_allowed", allowed)
    await watch.nothing_happened()


async def test_every_bearer(watch: Watch) -> None:
    """An Authorization that is none of ours is 401, whatever is in it."""
    for header in ("Bearer", "Bearer ", "Basic abc", "bearer  ", "Bearer a b", "Bearer \xff\xfe", "Bearer " + "x" * 5000, "Bearer ' OR 1=1 --", f"Basic {watch.shop.made.api_key}",
                   f"Bearer {watch.shop.made.api_key}x", f"Bearer {watch.shop.made.api_key.lower()}"):  # fmt: skip
        answer = await watch.refused(header, watch.shop.ask("GET", "/v1/payouts", bearer=None, headers=(f"Authorization: {header}",)))
        assert (answer.status, problem(answer)) == (401, "unauthorized")
    assert (await watch.shop.ask("GET", "/v1/payouts", bearer=None, headers=(f"authorization: bEARER   {watch.shop.made.api_key}",))).status == 200
    await watch.nothing_happened()
