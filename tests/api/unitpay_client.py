"""A UnitPay client for tests: it writes calls as bytes, hands them to a door, and looks at every answer for leaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from disburse.api.unitpay import UnitPayDoor
from disburse.data import accepted_member_ids, load_bin_rows, load_sbp_members
from disburse.operations.desk import Desk
from disburse.operations.merchants import NewMerchant
from disburse.protocols.unitpay import Call, encode_call
from disburse.protocols.wire import WireAnswer, WireRequest
from tests.api.house import House

MEMBERS = load_sbp_members()
CARD = "4111111111111111"
PHONE = "79510000071"
MEMBER = "100000000004"
PURSE = "Z123456789012"
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
CARD_CALL = {"transactionId": "1782", "sum": "10.00", "paymentType": "card", "purse": CARD}
"""A payout to a card: with the fee of `house.FEES` it takes 40.00."""
SBP_CALL = CARD_CALL | {"paymentType": "sbp", "purse": PHONE, "memberId": MEMBER}
FREE_CALL = CARD_CALL | {"paymentType": "webmoney", "purse": PURSE}
"""A payout that costs nothing beside its sum."""
CALLS = {
    "card": CARD_CALL,
    "sbp": SBP_CALL,
    "webmoney": FREE_CALL,
    "usdt": CARD_CALL | {"paymentType": "usdt", "purse": TRON},
}

Params = Mapping[str, str | None]


def open_door(
    house: House,
    *,
    desk: Desk | None = None,
    answer_within_s: float = 8.0,
    minimums: Mapping[str, int] | None = None,
    also_accepted: frozenset[str] = frozenset(),
) -> UnitPayDoor:
    """A door of the house, with the members and cards that ship."""
    return UnitPayDoor(
        desk or house.desk, world=house.world, members=MEMBERS,
        accepted_members=accepted_member_ids(MEMBERS) | also_accepted,
        bins=load_bin_rows(), minimums=minimums or {}, answer_within_s=answer_within_s,
    )  # fmt: skip


class Client:
    """A merchant's program."""

    def __init__(self, door: UnitPayDoor, merchant: NewMerchant) -> None:
        self.door, self.made, self.merchant = door, merchant, merchant.merchant

    def request(
        self, method: str, params: Params, *, nested: bool = True, verb: Literal["GET", "POST"] = "GET"
    ) -> WireRequest:
        """A call as bytes, with this merchant's credentials unless `params` bring others; None leaves a parameter out."""
        whole = {"login": self.merchant.login, "secretKey": self.made.unitpay_secret_key, **params}
        given = {name: value for name, value in whole.items() if value is not None}
        return encode_call(Call(method, given), nested=nested, http_method=verb)

    async def ask(self, method: str, params: Params = {}, **changes: str | None) -> dict[str, Any]:  # noqa: B006
        """The answer to a call: `result` or `error`, decoded."""
        whole = {**params, **changes}
        document = read(await self.door.answer(self.request(method, whole)))
        text = json.dumps(document)
        for secret in ("purse", "secretKey"):
            value = whole.get(secret) or ""
            assert len(value) < 6 or value not in text, f"{secret} is in the answer"
        assert self.made.unitpay_secret_key not in text
        return document

    async def pay(self, params: Params = CARD_CALL, **changes: str | None) -> dict[str, Any]:
        """massPayment: its answer."""
        return await self.ask("massPayment", params, **changes)

    async def paid(self, params: Params = CARD_CALL, **changes: str | None) -> dict[str, Any]:
        """massPayment that is answered with a payout: the payout."""
        document = await self.pay(params, **changes)
        assert "result" in document, document
        result: dict[str, Any] = document["result"]
        return result

    async def status(self, reference: str = "1782") -> dict[str, Any]:
        """massPaymentStatus: its answer."""
        return await self.ask("massPaymentStatus", {"transactionId": reference})


def read(answer: WireAnswer) -> dict[str, Any]:
    """An answer's document. It is always HTTP 200 and JSON with `result` or `error`, and an error has a text and a number."""
    assert (answer.status, answer.content_type) == (200, "application/json; charset=utf-8")
    document: dict[str, Any] = json.loads(answer.body)
    assert list(document) in (["result"], ["error"])
    if "error" in document:
        error = document["error"]
        assert set(error) == {"message", "code"} and type(error["code"]) is int and error["message"]
    return document


def code(document: dict[str, Any]) -> int:
    """The code of an error; fails on a result."""
    assert "error" in document, document
    number: int = document["error"]["code"]
    return number


def blamed(document: dict[str, Any]) -> str:
    """The parameter that a -32602 names."""
    assert code(document) == -32602
    message: str = document["error"]["message"]
    return message.rpartition(": ")[2]
