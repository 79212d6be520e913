"""Every recorded UnitPay request, sent to the door for a merchant with the recorded credentials, gets the recorded kind of answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from disburse.protocols.wire import WireRequest
from tests.api.house import House
from tests.api.unitpay_client import CARD_CALL, Client, code, open_door, read

VECTORS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parents[1] / "vectors" / "unitpay").glob("*.json"))
}
REQUESTS = [name for name, vector in VECTORS.items() if vector.get("request")]
STORED_BEFORE = {
    "massPayment.replay-same-transactionId",
    "massPaymentStatus.success.documented",
    "massPaymentStatus.success.flat-get",
}
"""These speak of a payout that exists and is finished."""
REFUSED = {
    "getCommissions.success.documented": "pay-in fees are outside payouts: -32602, which the page allows (section 9)"
}
CONSTANTS = {"status", "code", "currency"}
"""Keys whose values do not depend on data (vectors/README.md, "match")."""


def request_of(vector: dict[str, Any]) -> WireRequest:
    recorded = vector["request"]
    headers = {name.lower(): value for name, value in recorded["headers"].items()}
    body = (recorded["body_raw"] or "").encode()
    return WireRequest(recorded["http_method"], recorded["path"], recorded["query_raw"].encode(), headers, body)


async def answer_to(name: str, house: House) -> dict[str, Any]:
    """The door's answer to a recorded request, for a fresh merchant with its credentials and a bank that pays at once."""
    params = VECTORS[name]["request"]["decoded"]["params"]
    secrets = {"unitpay_test_key" if params.get("test") == "1" else "unitpay_secret_key": params["secretKey"]}
    merchant = await house.merchant(params["login"], secrets=secrets, sbp_bank="100000000004", answer_wait_ms=6000)
    shop = Client(open_door(house), merchant)
    house.answer_at_once()
    if name in STORED_BEFORE:
        stored = CARD_CALL | {"transactionId": params["transactionId"], "sum": "300"}
        assert (await shop.paid(stored))["status"] == "success"
    return read(await shop.door.answer(request_of(VECTORS[name])))


def assert_shape(ours: Any, recorded: Any, absent_ok: frozenset[str], at: str = "") -> None:
    """Same keys, same JSON types, the same constants; keys that the vector lets be absent, and ours beyond its, are free."""
    if isinstance(recorded, dict):
        assert isinstance(ours, dict), at
        for key, value in recorded.items():
            if key not in ours and f"{at}/{key}" in absent_ok:
                continue
            assert key in ours, f"{at}/{key} is missing"
            assert_shape(ours[key], value, absent_ok, f"{at}/{key}")
            if key in CONSTANTS:
                assert ours[key] == value, f"{at}/{key}"
    elif isinstance(recorded, list):
        assert isinstance(ours, list) and ours, at
        for item in ours:
            assert_shape(item, recorded[0], absent_ok, f"{at}/*")
    else:
        kinds = {str: str, int: (int, float), float: (int, float)}[type(recorded)]
        assert isinstance(ours, kinds) and not isinstance(ours, bool), at  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in REFUSED])
async def test_recorded_request(house: House, name: str) -> None:
    """The answer compares with the recorded one as the vector's `match` says."""
    response = VECTORS[name].get("response") or {}
    ours = await answer_to(name, house)
    match response.get("match"):
        case "shape":
            assert_shape(ours, response["body"], frozenset(response.get("absent_ok", [])))
        case "status-only":
            assert ours["result"]["status"] == response["body"]["result"]["status"]
        case "client-must-accept" | "unknown":  # other generations of an answer bind clients; ours has its own shape
            assert "result" in ours
        case other:
            raise AssertionError(f"nothing compares {other}")


@pytest.mark.parametrize("name", REFUSED)
async def test_recorded_request_outside_payouts(house: House, name: str) -> None:
    """What lies outside payouts is refused as the page allows."""
    assert code(await answer_to(name, house)) == -32602


async def test_replayed_payout_is_the_stored_one(house: House) -> None:
    """The recorded repeat, with another sum, payee and kind, gets the stored payout: sum 300, and no second one is made."""
    ours = await answer_to("massPayment.replay-same-transactionId", house)
    assert ours["result"]["sum"] == "300"


async def test_documented_sbp_example_without_a_bank(house: House) -> None:
    """The page's SBP example leaves memberId out: -32602 naming it, where the account has no default bank (Q7)."""
    vector = VECTORS["massPayment.success.documented"]
    params = vector["request"]["decoded"]["params"]
    merchant = await house.merchant(params["login"], secrets={"unitpay_secret_key": params["secretKey"]})
    document = read(await open_door(house).answer(request_of(vector)))
    assert code(document) == -32602 and "memberId" in document["error"]["message"]
    assert await house.payouts(merchant.merchant) == []
