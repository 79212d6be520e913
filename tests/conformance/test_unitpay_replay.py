"""Every UnitPay vector that has a request, sent byte for byte to a running server, each on a fresh merchant with its credentials."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.running import Running
from tests.conformance.unitpay_shop import MEMBER, TO_CARD, TO_PHONE, Shop, blamed, read, result
from tests.conformance.vectors import check_types, check_unitpay_shape, load, raw_request, with_request
from tests.conformance.wire import send

VECTORS = with_request("unitpay")

EXTRA: dict[str, frozenset[str]] = {
    "massPayment": frozenset({"/result/transactionId"}),
    "massPaymentStatus": frozenset({"/result/transactionId"}),
    "getPartner": frozenset({"/result/balance", "/result/balance_payout"}),
}
"""Keys beside the vector's that the page tells our server to send (Q12; section 9)."""
OUTSIDE_PAYOUTS = {"getCommissions"}
"""Methods that the page lets our server refuse with -32602 (section 9)."""


def shop_of(served: Running, vector: dict[str, Any]) -> Shop:
    """A fresh merchant to whom the vector's credentials belong, with the state of things that its answer takes for granted."""
    params = vector["request"]["decoded"]["params"]
    key = "unitpay_test_key" if params.get("test") == "1" else "unitpay_secret_key"
    served.vacate(params["login"])
    made = served.merchant(params["login"], secrets={key: params["secretKey"]}, sbp_bank=MEMBER)
    shop = Shop(served, made)
    if "precondition" in vector or vector["method"] == "massPaymentStatus":
        call = TO_PHONE if "precondition" in vector else TO_CARD
        assert shop.paid(call, transactionId=params["transactionId"], sum="300")["status"] == "success"
    return shop


@pytest.mark.parametrize("name", VECTORS)
def test_replay(served: Running, name: str) -> None:
    """The vector's bytes get the vector's answer, as its `match` compares."""
    vector = VECTORS[name]
    expected, shop = vector["response"], shop_of(served, vector)
    answer = send(served.port, raw_request(vector))
    assert answer.status == expected["http_status"]
    assert answer.headers["content-type"].partition(";")[0] == expected["content_type"]
    document = read(answer)
    match expected["match"]:
        case _ if vector["method"] in OUTSIDE_PAYOUTS:
            assert blamed(document) == "method"
        case "shape":
            check_unitpay_shape(document, expected, EXTRA.get(vector["method"], frozenset()))
        case "status-only":
            check_types(document, expected)
            assert result(document)["status"] == expected["body"]["result"]["status"]
        case "client-must-accept" | "unknown":
            result(document)
        case other:
            raise AssertionError(f"{other} has no comparison")
    check_stored(shop, vector, document)


def check_stored(shop: Shop, vector: dict[str, Any], document: dict[str, Any]) -> None:
    """A payout's answer tells of the one payout that there is; the test mode left none."""
    params = vector["request"]["decoded"]["params"]
    if "transactionId" not in params or params.get("test") == "1":
        assert shop.payouts() == 0
    else:
        assert shop.payouts() == 1
        sent = "300" if "precondition" in vector else params.get("sum", "300")
        assert (document["result"]["sum"], document["result"]["transactionId"]) == (sent, params["transactionId"])


def test_none_is_lost() -> None:
    """The folder holds what it should; what is not sent has no request."""
    vectors = load("unitpay")
    assert (len(vectors), len(VECTORS)) == (37, 20)
    assert all(
        "request" not in vector or vector["request"] is None for name, vector in vectors.items() if name not in VECTORS
    )
