"""UnitPay's idempotency rules (section 3) on a running server: one transactionId of one account is one payout, for ever."""

from __future__ import annotations

from functools import partial

import pytest

from disburse.domain.routing import Route
from tests.conformance.running import Running
from tests.conformance.unitpay_shop import (
    PHONE,
    TO_ADDRESS,
    TO_CARD,
    TO_PHONE,
    TO_PURSE,
    Shop,
    blamed,
    code,
    result,
)
from tests.conformance.wire import at_once, request

OTHERWISE: dict[str, dict[str, str | None]] = {
    "same": {},
    "other-sum": {"sum": "999.00"},
    "negative-sum": {"sum": "-1"},
    "no-sum": {"sum": None},
    "sum-above-everything": {"sum": "9999999999999.99"},
    "sum-below-minimum": {"sum": "0.50"},
    "other-purse": {"purse": "5555555555554444"},
    "bad-purse": {"purse": "4111111111111112"},
    "no-purse": {"purse": None},
    "other-kind": {"paymentType": "sbp", "purse": PHONE, "memberId": "100000000004"},
    "unknown-kind": {"paymentType": "sberpay"},
    "kind-of-old": {"paymentType": "yandex"},
    "no-kind": {"paymentType": None},
    "bad-member": {"memberId": "1"},
    "bad-project": {"projectId": "not a number"},
    "long-comment": {"comment": "x" * 1001},
    "nothing-else": {"sum": None, "purse": None, "paymentType": None},
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_repeat(served: Running, case: str) -> None:
    """A known id gets the stored payout's present state, whatever the other parameters are; no second payout is made."""
    shop = Shop(served)
    first = shop.paid()
    assert shop.paid({**TO_CARD, **OTHERWISE[case]}) == first == result(shop.status())
    assert shop.payouts() == 1
    assert served.balances(shop.merchant)["available"] == "99989.65"


@pytest.mark.parametrize(
    "sum_, status", [("10.22", "error"), ("10.66", "error"), ("10.11", "not_completed"), ("10.00", "success")]
)
def test_a_repeat_tells_the_status(served: Running, sum_: str, status: str) -> None:
    """A repeat answers `result` with the record's status, failed ones included, as massPaymentStatus does, and tries nothing again."""
    shop = Shop(served, answer_wait_ms=1500)
    first = shop.paid(sum=sum_)
    assert first["status"] == status
    assert shop.paid(sum=sum_) == first == result(shop.status())
    assert shop.payouts() == 1


def test_a_repeat_needs_three(served: Running) -> None:
    """On a repeat login and key must be right and transactionId present; the error envelope is for that alone."""
    shop = Shop(served)
    first = shop.paid(sum="10.22")
    assert code(shop.pay(secretKey="wrong")) == code(shop.pay(login="x@example.com")) == -32000
    for name in ("login", "secretKey", "transactionId"):
        assert blamed(shop.pay({**TO_CARD, name: None})) == name
    assert shop.paid() == first


def test_scope_is_the_account(served: Running) -> None:
    """The same id of two accounts is two payouts, and each account sees its own."""
    one, two = Shop(served), Shop(served)
    mine, other = one.paid(), two.paid(sum="20.00")
    assert mine["payoutId"] != other["payoutId"]
    assert (one.paid()["sum"], two.paid()["sum"]) == ("10.00", "20.00")
    assert (one.payouts(), two.payouts()) == (1, 1)


def test_lifetime_is_for_ever(served: Running) -> None:
    """Years later the id still answers with its payout."""
    shop = Shop(served)
    first = shop.paid()
    years = "interval '20 years'"
    served.rows(
        f"UPDATE payouts SET created_at = created_at - {years}, finished_at = finished_at - {years} WHERE merchant_id = $1",
        shop.merchant.merchant_id,
    )
    again = shop.paid(sum="11.00")
    assert (again["payoutId"], again["status"]) == (first["payoutId"], "success")
    assert int(again["createDate"][:4]) == int(first["createDate"][:4]) - 20
    assert shop.payouts() == 1


@pytest.mark.parametrize("wait_ms", [0, 5000])
def test_two_at_once(served: Running, wait_ms: int) -> None:
    """Simultaneous calls with one id: one record, and all get its state."""
    shop = Shop(served, answer_wait_ms=wait_ms)
    made = at_once([shop.paid] * 16)
    assert len({one["payoutId"] for one in made}) == 1
    assert {one["status"] for one in made} <= {"success", "not_completed"}
    assert shop.payouts() == 1


def test_two_at_once_with_other_contents(served: Running) -> None:
    """Simultaneous calls with one id and different sums: one record, whose sum all are told."""
    shop = Shop(served)
    made = at_once([partial(shop.paid, TO_PURSE, sum=f"1{digit}.00") for digit in range(8)])
    assert len({(one["payoutId"], one["sum"]) for one in made}) == 1
    assert shop.payouts() == 1


BANK_OF_NOTHING = Route("elsewhere", frozenset({"account"}), frozenset({"RUB"}))
REFUSED: dict[str, tuple[dict[str, str], dict[str, str] | str | None, int]] = {
    "unauthorized": (TO_CARD, {"secretKey": "wrong"}, -32000),
    "bad-parameters": (TO_CARD, {"sum": "10,00"}, -32602),
    "unknown-kind": (TO_CARD, {"paymentType": "paypal"}, -32602),
    "payouts-off": (TO_CARD, "off", 100),
    "not-allowed": (TO_CARD, "denied", 101),
    "below-minimum": (TO_CARD, {"sum": "1.00"}, 102),
    "above-balance": (TO_CARD, {"sum": "100000.01"}, 103),
    "no-route": (TO_CARD, None, 122),
    "wallet": (TO_PURSE, {"purse": "Z12"}, 1051),
    "address": (TO_ADDRESS, {"purse": "T12"}, 1051),
    "card": (TO_CARD, {"purse": "4111111111111112"}, 1052),
    "phone": (TO_PHONE, {"purse": "7951"}, 1053),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_claims_no_id(served: Running, case: str) -> None:
    """However an id was refused, nothing is stored, and the same id is paid once the cause is gone."""
    shop = Shop(served)
    call, cause, expected = REFUSED[case]
    if cause is None:
        with served.routes(BANK_OF_NOTHING):
            refused = shop.pay(call)
    elif isinstance(cause, str):
        served.set(shop.merchant, payouts=cause)
        refused = shop.pay(call)
        served.set(shop.merchant, payouts="on")
    else:
        refused = shop.pay(call, **cause)
    assert (code(refused), shop.payouts()) == (expected, 0)
    assert blamed(shop.status()) == "transactionId"
    assert shop.paid(call)["status"] == "success"


def test_after_a_top_up(served: Running) -> None:
    """103 while the balance does not cover sum and fee; the same id is paid after a top-up."""
    shop = Shop(served, funds="10.34")
    assert code(shop.pay()) == 103
    assert served.balances(shop.merchant) == {"available": "10.34", "funding": "-10.34"}
    served.top_up(shop.merchant, "0.01")
    assert shop.paid()["partnerBalance"] == "0.00"


CIRCUMSTANCES = {
    "payouts-off": {"payouts": "off"},
    "not-allowed": {"payouts": "denied"},
}


@pytest.mark.parametrize("case", CIRCUMSTANCES)
def test_a_repeat_under_other_circumstances(served: Running, case: str) -> None:
    """The id is looked up before anything else is judged: what would refuse a new payout does not change a known one's answer."""
    shop = Shop(served)
    first = shop.paid()
    served.set(shop.merchant, **CIRCUMSTANCES[case])
    assert shop.paid() == first == result(shop.status())
    with served.routes():
        assert shop.paid() == first


def test_a_client_that_repeats_by_itself(served: Running) -> None:
    """The same bytes three times, as an HTTP client repeats a GET, are one payout."""
    shop = Shop(served)
    raw = request("GET", f"/api/?{shop.query('massPayment', TO_CARD)}")
    assert len({result(shop.send(raw))["payoutId"] for _ in range(3)}) == 1
    assert shop.payouts() == 1
