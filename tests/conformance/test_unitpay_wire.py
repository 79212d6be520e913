"""UnitPay sections 1 and 2 on a running server: verbs, paths, forms of parameters, encodings, HTTP status, time, credentials, log."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from itertools import permutations
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest

from tests.conformance.conftest import Log
from tests.conformance.running import Running
from tests.conformance.unitpay_shop import CARD, TO_CARD, TO_PHONE, Shop, blamed, code, read, result
from tests.conformance.wire import FORM, JSON, at_once, pairs, request, send, until

METHODS = {
    "massPayment": TO_CARD,
    "massPaymentStatus": {"transactionId": "1782"},
    "getSbpBankList": {},
    "massPaymentAvailableAmount": {"sum": "5", "purse": CARD, "paymentType": "card"},
    "massPaymentCommissions": {},
    "getBinInfo": {"bin": "477964"},
    "getPartner": {},
}


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_one_endpoint(served: Running, path: str) -> None:
    """Every method is served at one path, with or without a slash behind it, at once: a redirect would not be a 200."""
    shop = Shop(served)
    for method, params in METHODS.items():
        assert "result" in shop.send(request("GET", f"{path}?{shop.query(method, params)}")), method


CARRIERS = {
    "get-nested": ("GET", True, None),
    "get-flat": ("GET", False, None),
    "form-nested": ("POST", True, FORM),
    "form-flat": ("POST", False, FORM),
    "form-utf8": ("POST", True, f"{FORM}; charset=UTF-8"),
    "query-of-a-post": ("POST", True, None),
    "json-flat": ("POST", False, JSON),
    "json-nested": ("POST", True, JSON),
}


@pytest.mark.parametrize("case", CARRIERS)
def test_carriers(served: Running, case: str) -> None:
    """GET and POST, query, form and JSON, nested and flat names: the same call gets the same answer."""
    verb, nested, kind = CARRIERS[case]
    shop = Shop(served)
    query = shop.query("massPayment", TO_CARD, nested=nested)
    if verb == "GET":
        document = shop.send(request("GET", f"/api?{query}"))
    elif kind is None:
        document = shop.send(request("POST", f"/api?{query}", body=b""))
    elif kind == JSON:
        params = shop.params(TO_CARD)
        whole = {"method": "massPayment", "params": params} if nested else {"method": "massPayment", **params}
        document = shop.post(json.dumps(whole), JSON)
    else:
        document = shop.post(query, kind)
    assert (result(document)["status"], result(document)["sum"]) == ("success", "10.00")
    assert shop.payouts() == 1


def test_mixed_names(served: Running) -> None:
    """Nested and flat names may stand in one call, in query and body."""
    shop = Shop(served)
    named = [
        (name if n % 2 else f"params[{name}]", value) for n, (name, value) in enumerate(shop.params(TO_CARD).items())
    ]
    assert "result" in shop.send(request("GET", f"/api?method=massPayment&{pairs(named)}"))
    body = pairs(named[3:]).encode()
    head = f"/api?method=massPayment&{pairs(named[:3])}"
    assert "result" in shop.send(request("POST", head, f"Content-Type: {FORM}", body=body))
    assert shop.payouts() == 1


TWICE = {
    "flat-flat": ("sum=11.00&sum=10.00", "sum"),
    "nested-flat": ("params[sum]=10.00&sum=10.01", "sum"),
    "written-otherwise": ("sum=10.00&sum=10.0", "sum"),
    "credentials": ("secretKey=other", "secretKey"),
    "method": ("method=massPaymentStatus", "method"),
}


@pytest.mark.parametrize("case", TWICE)
def test_one_name_twice(served: Running, case: str) -> None:
    """One name with two values is -32602, on a replay too; two equal values are one."""
    shop = Shop(served)
    more, name = TWICE[case]
    once = shop.query("massPayment", {**TO_CARD, "sum": None} if name == "sum" else TO_CARD)
    for payouts in (0, 1):
        assert blamed(shop.send(request("GET", f"/api?{once}&{more}"))) == name
        assert shop.payouts() == payouts
        shop.paid()
    assert "result" in shop.send(
        request("GET", f"/api?{shop.query('massPayment', TO_CARD)}&sum=10.00&params[sum]=%2010.00")
    )


def test_head_is_refused(served: Running) -> None:
    """HEAD makes nothing, though its bytes are those of a good GET; so do other verbs, which are told -32602."""
    shop = Shop(served)
    target = f"/api?{shop.query('massPayment', TO_CARD)}"
    answer = send(served.port, request("HEAD", target))
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"", "no-store")
    for verb in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert code(shop.send(request(verb, target))) == -32602
    assert shop.payouts() == 0


def test_answers_are_not_stored(served: Running) -> None:
    """Results and errors carry `Cache-Control: no-store`."""
    shop = Shop(served)
    for key in (shop.made.unitpay_secret_key, "wrong"):
        answer = send(served.port, request("GET", f"/api?{shop.query('getPartner', {'secretKey': key})}"))
        assert answer.headers["cache-control"] == "no-store"


ENCODINGS = {
    "escaped-brackets": lambda name, value: f"params%5B{name}%5D={quote(value, safe='')}",
    "raw-brackets": lambda name, value: f"params[{name}]={quote(value, safe='')}",
    "raw-at": lambda name, value: f"params[{name}]={quote(value, safe='@')}",
    "space-as-plus": lambda name, value: f"params%5B{name}%5D={quote_plus(value)}",
    "everything-escaped": lambda name, value: (
        f"params%5B{name}%5D={''.join(f'%{octet:02x}' for octet in value.encode())}"
    ),
}


@pytest.mark.parametrize("case", ENCODINGS)
def test_encodings(served: Running, case: str) -> None:
    """Brackets and @ raw or escaped, a space as %20 or +, Cyrillic in UTF-8: all are read as the same call."""
    shop = Shop(served)
    params = shop.params({**TO_CARD, "comment": "Выплата за июль, 2"})
    query = "&".join(["method=massPayment", *(ENCODINGS[case](name, value) for name, value in params.items())])
    assert "result" in shop.send(request("GET", f"/api?{query}"))
    [row] = served.rows("SELECT comment, reference FROM payouts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert (row["comment"], row["reference"]) == ("Выплата за июль, 2", "1782")


def test_any_order(served: Running) -> None:
    """Parameters come in any order, the method too."""
    shop = Shop(served)
    whole = [
        ("method", "massPaymentStatus"),
        *((f"params[{n}]", v) for n, v in shop.params({"transactionId": "1782"}).items()),
    ]
    shop.paid()
    for order in permutations(whole):
        assert "result" in shop.send(request("GET", f"/api?{pairs(order)}"))


def test_values_are_trimmed(served: Running) -> None:
    """White space at the ends of any value is dropped: `15 ` is `15`."""
    shop = Shop(served)
    first = shop.paid(transactionId="15")
    assert shop.paid(transactionId="15 ") == first == shop.paid(transactionId=" \t15\r\n")
    padded = {name: f" {value} " for name, value in shop.params({**TO_CARD, "transactionId": "15"}).items()}
    assert shop.paid(padded) == first
    assert shop.payouts() == 1


def test_result_or_error(served: Running) -> None:
    """An answer is a JSON object with `result` or `error`, never both; HTTP 200 in either case, whatever is wrong."""
    shop = Shop(served)
    raw = [
        request("GET", f"/api?{shop.query('massPayment', TO_CARD)}"),
        request("GET", f"/api?{shop.query('massPayment', {'transactionId': '2'})}"),
        request("GET", f"/api?{shop.query('massPayment', {'secretKey': 'x'})}"),
        request("GET", f"/api?{shop.query('massPay', {})}"),
        request("GET", "/api"),
        request("GET", "/api?%zz=%"),
        request("POST", "/api", f"Content-Type: {JSON}", body=b"[1"),
        request("POST", "/api", "Content-Type: text/plain", body=b"method=getPartner"),
        request("POST", "/api", f"Content-Type: {FORM}", body=b"x" * 70000),
    ]
    assert [next(iter(read(send(served.port, one)))) for one in raw] == ["result"] + ["error"] * 8


def test_an_answer_in_time(served: Running) -> None:
    """While nothing can be written or read of a merchant's money, -32603 comes within about 8 s; a payout that was made is found later."""
    shop = Shop(served)
    began = time.monotonic()
    with served.stalled(shop.merchant, books=True):
        answers = at_once(
            [
                lambda: code(shop.pay()),
                lambda: code(shop.ask("massPaymentAvailableAmount", METHODS["massPaymentAvailableAmount"])),
                lambda: code(shop.ask("getPartner")),
            ]
        )
        waited = time.monotonic() - began
    assert answers == [-32603] * 3
    assert waited < 9.0
    assert shop.paid()["status"] in ("success", "not_completed")
    assert shop.payouts() == 1


def test_status_of_what_is_being_made(served: Running) -> None:
    """While a payout waits for its commit massPaymentStatus says -32603, not "unknown"; `not_completed` comes after the commit alone."""
    shop = Shop(served, answer_wait_ms=0)
    with ExitStack() as stall:
        stall.enter_context(served.stalled(shop.merchant))

        def ask_then_release() -> int:
            until(lambda: served.run(is_creating(shop)), bool)
            told = code(shop.status())
            assert shop.payouts() == 0
            stall.close()
            return told

        documents: list[Any] = at_once([shop.pay, ask_then_release])
    assert documents[1] == -32603
    made = result(documents[0])
    assert made["status"] == "not_completed"
    assert result(shop.status())["payoutId"] == made["payoutId"]
    assert blamed(shop.status("another")) == "transactionId"


async def is_creating(shop: Shop) -> bool:
    """Whether the server has this shop's call and has not committed it."""
    desk = shop.served.house.desk
    return desk.is_creating(desk.base(shop.merchant, "unitpay", "1782", UUID(int=0)))


SDKS = {
    "Unitpay-Client": "unitpay-php-sdk/4.0.0",
    "X-Unitpay-Client": "unitpay-php-sdk/2.1.0",
}


@pytest.mark.parametrize("case", SDKS)
def test_client_headers(served: Running, log: Log, case: str) -> None:
    """The SDK's headers change no answer; its version is logged, and nothing else of them."""
    shop = Shop(served)
    about = f'{case}: {{"sdk_version":"4.0.0","lang":"php","publisher":"unitpay","secret":"{CARD}"}}'
    query = shop.query("massPayment", TO_CARD)
    document = shop.send(request("GET", f"/api?{query}", f"User-Agent: {SDKS[case]} api/v1", about))
    assert result(document)["status"] == "success"
    [line] = log.lines("unitpay_client")
    assert SDKS[case] in line.values() and line["merchant"] == shop.merchant.merchant_id
    assert CARD not in log.text and "publisher" not in log.text


def test_no_query_is_logged(served: Running, log: Log) -> None:
    """Whatever a call's end, the log has nothing of its query: no key, no card, no phone, no login, not even escaped."""
    shop = Shop(served)
    shop.pay()
    shop.pay(TO_PHONE, transactionId="2")
    shop.pay(transactionId="3", purse="4111111111111112")
    shop.pay(secretKey="a wrong secret key")
    shop.send(request("GET", f"/api?{shop.query('massPayment', TO_CARD)}&params[sum]=%ff"))
    send(served.port, request("GET", f"/nowhere?{shop.query('massPayment', TO_CARD)}"))
    shop.send(request("POST", f"/api?{shop.query('massPayment', TO_CARD)}", body=b"x" * 70000))
    secrets = (
        shop.made.unitpay_secret_key,
        "411111",
        TO_PHONE["purse"],
        shop.merchant.login,
        "secretKey",
        "wrong secret",
    )
    assert not [one for one in secrets if one in log.text or quote(one, safe="") in log.text]


# --- who asks -----------------------------------------------------------------------------------------------------


def test_login_and_key(served: Running) -> None:
    """The account's e-mail, in any case of letters, and the account's own key let in."""
    shop = Shop(served)
    assert result(shop.ask("getPartner"))["email"] == shop.merchant.login
    assert result(shop.ask("getPartner", login=shop.merchant.login.upper()))["email"] == shop.merchant.login


def test_wrong_login_or_key(served: Running) -> None:
    """A wrong login or key is -32000 in one and the same answer, whatever the method, also where another key of the account is right."""
    shop, other = Shop(served), Shop(served)
    login, made = shop.merchant.login, shop.made
    strangers = [
        (login, "wrong"), ("nobody@example.com", made.unitpay_secret_key), (other.merchant.login, made.unitpay_secret_key),
        (login, made.unitpay_test_key), (login, made.password), (login, made.api_key), (login, str(shop.merchant.project_id)),
    ]  # fmt: skip
    answers = set()
    for method, params in METHODS.items():
        for who, key in strangers:
            document = shop.ask(method, params, login=who, secretKey=key)
            assert code(document) == -32000, method
            answers.add(document["error"]["message"])
    assert len(answers) == 1
    assert shop.payouts() == 0
