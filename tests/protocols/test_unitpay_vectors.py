"""The golden vectors: every recorded request is understood, every recorded answer is read without loss, every shape is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from disburse.protocols import unitpay
from disburse.protocols.unitpay import (
    UNITPAY_TIME,
    Bank,
    BinInfo,
    Code,
    ErrorAnswer,
    PayoutAnswer,
    ResultAnswer,
    Status,
    decode_answer,
    decode_call,
    encode_question,
    read_question,
)
from disburse.protocols.wire import Malformed, WireRequest

VECTORS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parents[1] / "vectors" / "unitpay").glob("*.json"))
}
REQUESTS = [name for name, vector in VECTORS.items() if vector.get("request")]
ANSWERS = [name for name, vector in VECTORS.items() if vector.get("response", {}).get("body")]
OUTSIDE_PAYOUTS = {"getCommissions"}


def request_of(vector: dict[str, Any]) -> WireRequest:
    recorded = vector["request"]
    headers = {name.lower(): value for name, value in recorded["headers"].items()}
    body = (recorded["body_raw"] or "").encode()
    return WireRequest(recorded["http_method"], recorded["path"], recorded["query_raw"].encode(), headers, body)


def at(document: Any, pointer: str) -> Iterator[Any]:
    """The values a JSON pointer names, `*` standing for every item."""
    found = [document]
    for step in pointer.split("/")[1:]:
        found = [item for value in found for item in (value if step == "*" else [value[step]])]
    return iter(found)


def assert_types(document: Any, types: dict[str, str], absent_ok: list[str]) -> None:
    kinds: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "array": (list,), "object": (dict,)}
    for pointer, kind in types.items():
        try:
            values = list(at(document, pointer))
        except KeyError:
            assert pointer in absent_ok, f"{pointer} is missing"
            continue
        assert values, pointer
        for value in values:
            assert isinstance(value, kinds[kind]) and not isinstance(value, bool), pointer


def test_vectors_are_there() -> None:
    """The vectors travel with the tests."""
    assert len(VECTORS) == 37 and len(REQUESTS) == 20


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_request_is_understood(name: str) -> None:
    """Each recorded request, whoever's client made it, decodes to the method and parameters it means."""
    call = decode_call(request_of(VECTORS[name]))
    assert {"method": call.method, "params": call.params} == VECTORS[name]["request"]["decoded"]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("http_method", ["GET", "POST"])
def test_recorded_request_survives_our_client(name: str, nested: bool, http_method: Any) -> None:
    """Read as a message, written by our client in any form and read again, a recorded request means the same."""
    call = decode_call(request_of(VECTORS[name]))
    if call.method in OUTSIDE_PAYOUTS:
        with pytest.raises(Malformed) as caught:
            read_question(call)
        assert caught.value.name == "method"
        return
    question = read_question(call)
    again = decode_call(encode_question(question, nested=nested, http_method=http_method))
    assert again.params == call.params
    assert read_question(again) == question


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answer_is_read(name: str) -> None:
    """Each recorded answer is a result or an error to our connector, with the code it carries."""
    body = VECTORS[name]["response"]["body"]
    for raw in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=1)):
        answer = decode_answer(raw.encode(), 200)
        if "error" in body:
            assert answer == ErrorAnswer(body["error"]["code"], body["error"]["message"])
        else:
            assert isinstance(answer, ResultAnswer)


@pytest.mark.parametrize(
    "name",
    [name for name in ANSWERS if name.startswith("massPayment") and "payoutId" in str(VECTORS[name]["response"])],
)
def test_recorded_payout_is_read_without_loss(name: str) -> None:
    """Every field of a recorded payout arrives, ids as text and amounts digit for digit."""
    recorded = VECTORS[name]["response"]["body"]["result"]
    answer = decode_answer(json.dumps({"result": recorded}).encode(), 200)
    assert isinstance(answer, ResultAnswer)
    payout = unitpay.payout_of(answer)
    assert payout.status == recorded["status"]
    assert payout.payout_id == str(recorded["payoutId"])
    assert payout.message == recorded["message"]
    assert (payout.sum, payout.partner_balance) == (recorded["sum"], recorded["partnerBalance"])
    assert (payout.payout_commission, payout.partner_commission) == (
        recorded["payoutCommission"],
        recorded["partnerCommission"],
    )
    assert payout.create_date is not None
    assert payout.create_date.strftime("%Y-%m-%d %H:%M:%S") == recorded["createDate"]
    assert (payout.complete_date is None) == ("completeDate" not in recorded)
    assert payout.transaction_id == recorded.get("transactionId")


def test_other_recorded_results_are_read() -> None:
    """Banks, available amount, BIN data, fees and all three generations of the balance arrive as recorded."""

    def result(name: str) -> ResultAnswer:
        answer = decode_answer(json.dumps(VECTORS[name]["response"]["body"]).encode(), 200)
        assert isinstance(answer, ResultAnswer)
        return answer

    assert unitpay.banks_of(result("getSbpBankList.success.documented"))[0] == Bank(
        "100000000001", "Газпромбанк", "Gazprombank"
    )
    available = unitpay.available_amount_of(result("massPaymentAvailableAmount.success.documented"))
    assert (available.amount, available.currency) == ("1057.36", "RUB")
    assert unitpay.bin_info_of(result("getBinInfo.success.sparse")) == BinInfo(
        bin="555555", country_code="BR", brand="MASTERCARD", type="CREDIT"
    )
    assert unitpay.bin_info_of(result("getBinInfo.success.documented")).bank_phone == "7 495 620-91-91"
    assert unitpay.commissions_of(result("getCommissions.success.documented")) == {
        "webmoney": "2",
        "card": "3.5",
        "card_not_rf": "10",
        "sbp": "0.7",
    }
    balances = [unitpay.partner_of(result(f"getPartner.success.v{n}")) for n in (1, 2, 3)]
    assert [(b.balance, b.available) for b in balances] == [
        ("247.03", "245.03"),
        ("13.20", "13.20"),
        ("1060.76", "1060.76"),
    ]


def payout(status: Status, done: bool) -> PayoutAnswer:
    return PayoutAnswer(
        message=unitpay.status_text(status),
        status=status,
        payout_id=114233,
        partner_balance="15733.00",
        create_date=datetime(2021, 12, 1, 11, 51, 2, tzinfo=UNITPAY_TIME),
        complete_date=datetime(2021, 12, 1, 11, 52, 2, tzinfo=UNITPAY_TIME) if done else None,
        sum="300",
        payout_commission="6.00",
        partner_commission="0.00",
        transaction_id="1782",
    )


def written(name: str) -> bytes:
    """What our server answers in the situation of a vector."""
    recorded = VECTORS[name]["response"]["body"]
    match VECTORS[name]["method"]:
        case _ if "error" in recorded:
            return unitpay.encode_error(Code(recorded["error"]["code"]))
        case "massPayment" | "massPaymentStatus":
            status = Status(recorded["result"]["status"])
            return unitpay.encode_payout(payout(status, "completeDate" in recorded["result"]))
        case "getSbpBankList":
            return unitpay.encode_banks([Bank("100000000001", "Газпромбанк", "Gazprombank")])
        case "massPaymentAvailableAmount":
            return unitpay.encode_available_amount("1057.36", "RUB")
        case "getCommissions":
            return unitpay.encode_commissions({"webmoney": "2", "card": "3.5", "card_not_rf": "10", "sbp": "0.7"})
        case "getBinInfo":
            return unitpay.encode_bin_info(BinInfo(bin="477964", bank="Alfa Bank", country_code="RU", brand="VISA"))
        case _:
            return unitpay.encode_partner("partner@gmail.com", balance="1060.76", available="1060.76")


@pytest.mark.parametrize("name", [n for n in ANSWERS if VECTORS[n]["response"]["match"] != "client-must-accept"])
def test_we_write_the_documented_shape(name: str) -> None:
    """Our answer has every documented key, each as the documented JSON type, and the same code and status."""
    response = VECTORS[name]["response"]
    ours, recorded = json.loads(written(name)), response["body"]
    assert_types(ours, response["types"], response.get("absent_ok", []))
    assert list(ours) == list(recorded)
    if "error" in recorded:
        assert ours["error"]["code"] == recorded["error"]["code"]
    elif "status" in recorded["result"]:
        assert ours["result"]["status"] == recorded["result"]["status"]


@pytest.mark.parametrize("name", ["getPartner.success.v1", "getPartner.success.v3"])
def test_balance_is_the_union_of_its_generations(name: str) -> None:
    """A client written for the first or for today's answer of getPartner finds its keys."""
    assert_types(json.loads(written(name)), VECTORS[name]["response"]["types"], [])
