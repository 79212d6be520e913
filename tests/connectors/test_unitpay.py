"""The UnitPay connector against a server that answers whatever a test wants: what it sends, and what it believes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from disburse.connectors.contract import Bank, Limit
from disburse.connectors.kind import Bounds, Http, Secret, Tariff
from disburse.connectors.unitpay import KEY_REST_S, BalanceProbe, UnitPaySettings
from disburse.connectors.unitpay_table import ROWS, TABLE, Proves
from disburse.domain.destinations import Destination, Rail
from disburse.domain.fees import FeeRule
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Accepted, NotFound, NotSent, Rejected, Settled, Unknown
from disburse.protocols.unitpay import Code
from disburse.protocols.wire import WireRequest
from tests.clock import FakeClock
from tests.connectors.loopback import Serve, says, serving
from tests.connectors.unitpay_house import (
    CARD,
    KEY,
    LOGIN,
    call_of,
    error,
    http,
    order,
    question,
    result,
    upstream,
)

PAID = Money(300_00, "RUB")


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with serving() as started:
        yield started


# --- what goes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "to, kind, purse, member",
    [
        (CARD, "card", "4111111111111111", None),
        (Destination(Rail.SBP, "79001234567", "100000000111"), "sbp", "79001234567", "100000000111"),
        (Destination(Rail.WEBMONEY, "Z123456789012"), "webmoney", "Z123456789012", None),
        (Destination(Rail.USDT, "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", network="TRC20"), "usdt",
         "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spelling", ["nested", "flat"])
@pytest.mark.parametrize("http_method", ["GET", "POST"])
async def test_an_order_goes_out_once_with_our_id(
    serve: Serve, to: Destination, kind: str, purse: str, member: str | None, spelling: str, http_method: str
) -> None:
    """massPayment carries our end-to-end id, the sum to the kopeck and the destination, in every spelling there is."""
    server = await serve(says(http(result("success", sum="10.50"))))
    async with upstream(server.url, spelling=spelling, http_method=http_method, project_id="7") as up:
        assert await up.connector.submit(order("10.50", "id-1", to)) == Settled("114233", Money(1050, "RUB"))
    [request] = server.requests
    call = call_of(request)
    wanted = {
        "login": LOGIN, "secretKey": KEY, "transactionId": "id-1", "sum": "10.50", "purse": purse, "paymentType": kind,
        "projectId": "7",
    }  # fmt: skip
    assert (call.method, dict(call.params)) == ("massPayment", wanted | ({"memberId": member} if member else {}))
    assert (b"params%5B" in request) is (spelling == "nested")
    assert request.startswith(b"GET /pay?method=" if http_method == "GET" else b"POST /pay HTTP/1.1")
    assert (KEY.encode() in request.split(b"\r\n")[0]) is (http_method == "GET")


async def test_a_question_goes_out_by_our_id(serve: Serve) -> None:
    """massPaymentStatus asks by our end-to-end id and nothing else."""
    server = await serve(says(http(result("not_completed"))))
    async with upstream(server.url) as up:
        assert await up.connector.inquire(question("id-1")) == Accepted("114233")
    call = call_of(server.requests[0])
    assert (call.method, dict(call.params)) == (
        "massPaymentStatus", {"login": LOGIN, "secretKey": KEY, "transactionId": "id-1"}
    )  # fmt: skip


# --- results -----------------------------------------------------------------------------------------------------

RESULTS: list[tuple[dict[str, Any], Any, Any]] = [
    (result("success"), Settled("114233", PAID), Settled("114233", PAID)),
    (result("success", payoutId=193186721), Settled("193186721", PAID), Settled("193186721", PAID)),
    (result("success "), Settled("114233", PAID), Settled("114233", PAID)),
    (result("success", transactionId="1782"), Settled("114233", PAID), Settled("114233", PAID)),
    (result("success", sum=300.0), Settled("114233", PAID), Settled("114233", PAID)),
    (result("success", sum=None), Settled("114233"), Settled("114233")),
    (result("success", sum="999"), Settled("114233", Money(999_00, "RUB")), Settled("114233", Money(999_00, "RUB"))),
    (result("success", purse="411111******1111"), Settled("114233", PAID), Settled("114233", PAID)),
    (result("not_completed"), Accepted("114233"), Accepted("114233")),
    (result("not_completed", payoutId=None), Accepted(None), Accepted(None)),
    (result("error"), Rejected("refused by the provider", provider_reference="114233"),
     Rejected("refused by the provider", provider_reference="114233")),
]  # fmt: skip


@pytest.mark.parametrize("body, outcome, finding", RESULTS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_result_about_our_order_is_believed(
    serve: Serve, body: dict[str, Any], outcome: Any, finding: Any, status: int
) -> None:
    """success, not_completed and error mean what the page says, whatever the HTTP status; the sum told goes with a success."""
    server = await serve(says(http(body, status)))
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == outcome
        assert await up.connector.inquire(question()) == finding
        assert up.alerts.told == []


STRANGE: list[tuple[dict[str, Any], str]] = [
    (result("success", transactionId="1783"), "echo_differs"),
    (result("error", transactionId="1783"), "echo_differs"),
    (result("not_completed", transactionId="1783"), "echo_differs"),
    (result("success", purse="4111111111111112"), "echo_differs"),
    (result("success", purse="511111******1111"), "echo_differs"),
    (result("success", purse="411111"), "echo_differs"),
    (result("success", sum="lots"), "echo_differs"),
    (result("success", sum="300.001"), "echo_differs"),
    (result("success", sum=[300]), "echo_differs"),
    (result("error", sum="999"), "echo_differs"),
    (result("not_completed", sum="999"), "echo_differs"),
    (result("reversed"), "unlisted_status"),
    (result("SUCCESS"), "unlisted_status"),
    (result(""), "unlisted_status"),
]


@pytest.mark.parametrize("body, alert", STRANGE, ids=lambda value: str(value)[:60])
async def test_a_result_that_does_not_fit_is_doubt(serve: Serve, body: dict[str, Any], alert: str) -> None:
    """Another id, another destination, another sum on what is not paid, an unreadable sum, a status nobody listed: doubt, and told."""
    server = await serve(says(http(body)))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order()), Unknown)
        assert up.alerts.told == [("up", alert, None)]


@pytest.mark.parametrize("status", ["success", "error"])
@pytest.mark.parametrize("http_status", [200, 302, 404, 429, 502])
async def test_an_end_that_names_no_payout_is_doubt(serve: Serve, status: str, http_status: int) -> None:
    """Every page shows the payout's number: two words that anything on the way may say end no payout, neither paid nor refused."""
    server = await serve(says(http({"result": {"status": status, "message": "upstream"}}, http_status)))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order()), Unknown)
        assert isinstance(await up.connector.inquire(question(reference="114233")), Unknown)
        assert up.alerts.told == [("up", "echo_differs", None)] * 2
    server = await serve(says(http({"result": {"status": status, "transactionId": "1782"}})))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.inquire(question()), Settled | Rejected)


async def test_a_question_is_answered_about_the_same_payout(serve: Serve) -> None:
    """Once we have the provider's number, an answer about another number is no answer."""
    server = await serve(says(http(result("error"))))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.inquire(question(reference="114233")), Rejected)
        assert isinstance(await up.connector.inquire(question(reference="5")), Unknown)
        assert up.alerts.told == [("up", "echo_differs", None)]


# --- error envelopes ---------------------------------------------------------------------------------------------

ELSEWHERE, HERE, DOUBT = (100, 101, 102, 103, 104, 106, 122, 1000, -32602), (105, 1051, 1052, 1053), (201, -32603)
SEEN_TO = {100: "account_refused", 101: "account_refused", -32602: "request_refused", -32000: "key_refused"}
FAILED_LATER = (104, 105, 122, 1051, 1052, 1053)


def test_every_documented_code_is_in_the_table() -> None:
    """The table has each code of the page once, and its rows are those that these tests know."""
    assert sorted(TABLE) == sorted(int(code) for code in Code) == sorted((*ELSEWHERE, *HERE, *DOUBT, -32000))
    assert len(ROWS) == len(TABLE)


@pytest.mark.parametrize("code", sorted(TABLE))
async def test_an_error_to_an_order(serve: Serve, code: int) -> None:
    """A listed refusal of the one order with this id proves that nothing moved; 201 and -32603 prove nothing."""
    server = await serve(says(http(error(code))))
    async with upstream(server.url) as up:
        outcome = await up.connector.submit(order())
        if code in ELSEWHERE:
            assert outcome == Rejected(TABLE[code].reason, elsewhere=True)
        elif code in HERE:
            assert outcome == Rejected(TABLE[code].reason)
        elif code == -32000:
            assert outcome == Absent(TABLE[code].reason)
        else:
            assert outcome == Unknown(f"error {code}")
        assert up.alerts.told == ([("up", SEEN_TO[code], code)] if code in SEEN_TO else [])


@pytest.mark.parametrize("code", sorted(TABLE))
@pytest.mark.parametrize("taken", [True, False])
async def test_an_error_to_a_question(serve: Serve, code: int, taken: bool) -> None:
    """An error says that a payout failed only where the provider is known to have taken it, and only by six codes."""
    server = await serve(says(http(error(code))))
    async with upstream(server.url) as up:
        finding = await up.connector.inquire(question(reference="114233" if taken else None))
        if taken and code in FAILED_LATER:
            assert finding == Rejected(TABLE[code].reason, elsewhere=TABLE[code].known is Proves.REFUSED_HERE)
        elif not taken and code == -32602:
            assert finding == NotFound("error -32602")
        else:
            assert finding == Unknown(f"error {code}")
        told = [("up", SEEN_TO[code], code)] if code in SEEN_TO and code != -32602 else []
        assert up.alerts.told == told


@pytest.mark.parametrize("code", [0, 1, 99, 107, 123, 777, 1054, -1, -32001, -32601, 999999999])
@pytest.mark.parametrize("ask", [True, False])
async def test_an_unlisted_code_is_doubt_and_an_alert(serve: Serve, code: int, ask: bool) -> None:
    """A code of either sign that nobody listed proves nothing, and a person is told its number."""
    server = await serve(says(http(error(code))))
    async with upstream(server.url) as up:
        said = await up.connector.inquire(question(reference="1")) if ask else await up.connector.submit(order())
        assert said == Unknown(f"error {code}, which is not listed")
        assert up.alerts.told == [("up", "unlisted_code", code)]


@pytest.mark.parametrize(
    "body, outcome",
    [
        (result("success"), Settled("114233", PAID)),
        (result("not_completed"), Accepted("114233")),
        (result("error"), Rejected("refused by the provider", provider_reference="114233")),
    ],
    ids=str,
)
async def test_a_refusal_of_an_id_that_is_known_is_not_believed(serve: Serve, body: dict[str, Any], outcome: Any) -> None:
    """A gateway repeated our order, and the second copy was refused: what the provider has of the id counts, and a person is told."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        return await says(http(error(103) if number == 1 else body))(number, writer)

    server = await serve(answer)
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == outcome
        assert up.alerts.told == [("up", "refused_and_known", 103)]
    assert [call_of(request).method for request in server.requests] == ["massPayment", "massPaymentStatus"]


@pytest.mark.parametrize("then", [http(error(-32602)), http(error(777)), http(error(103), 404)])
async def test_a_refusal_stands_where_nothing_is_known(serve: Serve, then: bytes) -> None:
    """The provider answers that it has nothing to show under the id: the first and only order was refused by a listed code."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        return await says(http(error(103)) if number == 1 else then)(number, writer)

    server = await serve(answer)
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == Rejected(TABLE[103].reason, elsewhere=True)
        assert up.alerts.told == []
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "then",
    [http(error(-32603)), http(error(-32000)), http(error(201)), http(error(-32602), 502), http(b"<html>", 502), b"",
     http(result("success", transactionId="x")), http(result("new"))],
)  # fmt: skip
async def test_a_refusal_that_cannot_be_confirmed_is_doubt(serve: Serve, then: bytes) -> None:
    """Nobody tells whether the provider knows the id: the copy that was refused may be a gateway's, and the first one paid."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        return await says(http(error(103)) if number == 1 else then, then=number == 1 or bool(then))(number, writer)

    server = await serve(answer)
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == Unknown("refused with 103, and nobody told whether the id is known")
    assert [call_of(request).method for request in server.requests] == ["massPayment"] + ["massPaymentStatus"] * 2


async def test_a_refusal_is_asked_about_twice(serve: Serve) -> None:
    """The first question meets a gateway's error, the second is answered: that is enough."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        said = {1: http(error(103)), 2: http(b"<html>", 502), 3: http(error(-32602))}
        return await says(said[number])(number, writer)

    server = await serve(answer)
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == Rejected(TABLE[103].reason, elsewhere=True)


@pytest.mark.parametrize("code", [3200, 32000, -3200])
async def test_misprints_of_the_key_error_are_read(serve: Serve, code: int) -> None:
    """3200, 32000 and -3200 are -32000 (Q1)."""
    server = await serve(says(http(error(code))))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order()), Absent)


@pytest.mark.parametrize("status", [301, 302, 307, 500, 502, 503])
@pytest.mark.parametrize("code", [103, 122, 1051, -32000, -32602])
async def test_a_refusal_by_a_gateway_proves_nothing(serve: Serve, status: int, code: int) -> None:
    """An error envelope on a redirect or a 5xx may stand for an order that went through."""
    server = await serve(says(http(error(code), status)))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order()), Unknown)
        assert isinstance(await up.connector.inquire(question(reference="1")), Unknown)


@pytest.mark.parametrize(
    "raw",
    [
        http(b""),
        http(b"<html>Bad Gateway</html>", 502),
        http(b"<html>OK</html>"),
        http(b'{"result": {"status": "success"'),
        http(b'{"result": {"status": "success", "sum": "300"}, "error": {"code": 103}}'),
        http(b'{"result": {"status": "success"}, "result": {"status": "error"}}'),
        http(b"[]"),
        http(b"null"),
        http({"result": None}),
        http({"result": "success"}),
        http({"result": []}),
        http({"error": {"message": "no"}}),
        http({"error": {"code": "x"}}),
        http({"error": 103}),
        http(b"\x1f\x8b\x08\x00garbage"),
        http(b"[" * 100_000),
        http(b'{"result":{"status":"error","sum":' + b"9" * 5000 + b"}}"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
    ids=lambda raw: repr(raw[-30:]),
)
async def test_garbage_is_doubt(serve: Serve, raw: bytes) -> None:
    """Whatever else comes back, however broken, an order that reached the server is in doubt, and it was sent once."""
    server = await serve(says(raw, then=False))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order()), Unknown)
        assert len(server.requests) == 1
        assert isinstance(await up.connector.inquire(question(reference="1")), Unknown)


async def test_only_the_list_of_banks_may_be_long(serve: Serve) -> None:
    """A thousand orders are under way at once: of an answer about one of them little is read, else a provider fills our memory."""
    long = "x" * 100_000
    server = await serve(says(http(result("success", message=long))))
    async with upstream(server.url) as up:
        assert await up.connector.submit(order()) == Unknown("the answer is too long")
        assert await up.connector.inquire(question()) == Unknown("the answer is too long")
        assert await up.connector.balance(20) == Unknown("the answer is too long")
    server = await serve(says(http({"result": [{"member_id": "1", "name": "b"}, {"member_id": "2", "name": long}]})))
    async with upstream(server.url) as up:
        found = await up.connector.banks(20)
        assert not isinstance(found, Unknown) and [bank.bank_id for bank in found] == ["1", "2"]


async def test_nobody_there_is_proof_for_an_order_and_nothing_for_a_question() -> None:
    """A refused connection: the order was not sent; what became of an earlier one is not known."""
    async with upstream("http://127.0.0.1:1/api") as up:
        assert await up.connector.submit(order()) == NotSent("the connection is refused")
        assert await up.connector.inquire(question()) == Unknown("the connection is refused")


async def test_after_a_refused_key_the_connector_rests(serve: Serve) -> None:
    """No order goes out for a minute after our key was refused; the first one after it does."""
    clock = FakeClock()
    bodies = [http(error(-32000)), http(result("success"))]

    async def answer(number: int, writer: asyncio.StreamWriter) -> bool:
        return await says(bodies[number - 1])(number, writer)

    server = await serve(answer)
    async with upstream(server.url, clock=clock) as up:
        assert isinstance(await up.connector.submit(order()), Absent)
        await clock.advance(KEY_REST_S - 1)
        assert isinstance(await up.connector.submit(order()), NotSent)
        assert len(server.requests) == 1
        await clock.advance(1)
        assert isinstance(await up.connector.submit(order()), Settled)


@pytest.mark.parametrize("to", [Destination(Rail.QIWI, "79001234567"), Destination(Rail.ACCOUNT, "4" * 20, "044525225")])
async def test_what_it_does_not_carry_is_not_sent(serve: Serve, to: Destination) -> None:
    """An order for a rail that the settings do not name goes nowhere."""
    server = await serve(says(http(result("success"))))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.submit(order(to=to)), NotSent)
    assert server.requests == []


# --- balance, banks, callbacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, funds",
    [
        ({"email": LOGIN, "accounts": {"rub": {"balance": "1060.76", "availableBalance": "1000.70"}}}, 1000_70),
        ({"email": LOGIN, "balance": "247.03", "balance_payout": "245.03"}, 245_03),
        ({"email": LOGIN, "balance": "-1.00", "balance_payout": "-0.50"}, -50),
    ],
)
async def test_the_balance_is_what_can_be_paid_out(serve: Serve, body: dict[str, Any], funds: int) -> None:
    """Without a probe getPartner is asked, in any of its generations."""
    server = await serve(says(http({"result": body})))
    async with upstream(server.url) as up:
        assert await up.connector.balance(5) == (Money(funds, "RUB"),)
    assert call_of(server.requests[0]).method == "getPartner"


async def test_the_balance_for_a_probe_is_asked_for_its_destination(serve: Serve) -> None:
    """With a probe massPaymentAvailableAmount is asked, and its JSON number is read by its digits."""
    server = await serve(says(http(b'{"result": {"availableAmount": 1057.36, "currency": "RUB"}}')))
    probe = BalanceProbe(payment_type="card", purse=Secret(lambda: "4111111111111111"))
    async with upstream(server.url, balance_probe=probe) as up:
        assert await up.connector.balance(5) == (Money(1057_36, "RUB"),)
    call = call_of(server.requests[0])
    assert call.method == "massPaymentAvailableAmount"
    assert (call.params["purse"], call.params["sum"], call.params["paymentType"]) == ("4111111111111111", "1.00", "card")


@pytest.mark.parametrize(
    "body",
    [error(-32000), error(-32603), {"result": {}}, {"result": {"balance_payout": "a lot"}}, {"result": {"balance_payout": "1.005"}}, b""],
    ids=str,
)
async def test_a_balance_that_cannot_be_read_is_unknown(serve: Serve, body: Any) -> None:
    """No balance is made up."""
    server = await serve(says(http(body)))
    async with upstream(server.url) as up:
        assert isinstance(await up.connector.balance(5), Unknown)


async def test_a_balance_in_another_currency_is_unknown(serve: Serve) -> None:
    """This connector pays roubles; dollars are not added to them."""
    server = await serve(says(http({"result": {"availableAmount": 5, "currency": "USD"}})))
    probe = BalanceProbe(payment_type="card", purse=Secret(lambda: "4111111111111111"))
    async with upstream(server.url, balance_probe=probe) as up:
        assert isinstance(await up.connector.balance(5), Unknown)


async def test_the_banks_are_the_providers_list(serve: Serve) -> None:
    """getSbpBankList comes through whole, also where it is longer than an ordinary answer may be."""
    many = [{"member_id": f"1000000{n:05}", "name": "Банк " * 20, "name_en": "Bank"} for n in range(900)]
    server = await serve(says(http({"result": many})))
    async with upstream(server.url) as up:
        banks = await up.connector.banks(5)
    assert isinstance(banks, tuple) and len(banks) == 900
    assert banks[7] == Bank("100000000007", ("Банк " * 20).strip(), "Bank")


async def test_nobody_calls_back() -> None:
    """UnitPay has no callbacks for payouts, so none is believed."""
    async with upstream("http://127.0.0.1:1/api") as up:
        assert await up.connector.read_callback(WireRequest("POST", "/", b"", {}, b'{"status":"success"}'), 1) is None
        assert up.connector.capabilities.callbacks is False


# --- settings ----------------------------------------------------------------------------------------------------


async def test_capabilities_say_what_the_page_promises() -> None:
    """Repeats are harmless for ever, not-found never proves anything; limits and fees are the settings'."""
    limits, fees = {Rail.CARD: Bounds(100, 60_000_00)}, {Rail.CARD: Tariff(350, 30_00)}
    async with upstream("http://127.0.0.1:1/api", rails=(Rail.CARD, Rail.SBP), limits=limits, fees=fees) as up:
        able = up.connector.capabilities
    assert able.rails == {Rail.CARD, Rail.SBP} and able.currencies == {"RUB"}
    assert (able.deduplicates_for_s, able.not_found_final_after_s) == (math.inf, None)
    assert (able.status_by_our_id, able.two_step, able.balance, able.bank_list, able.sandbox) == (True, False, True, True, False)
    assert able.limits == {(Rail.CARD, "RUB"): Limit(100, 60_000_00)}
    assert able.fees == {(Rail.CARD, "RUB"): FeeRule(350, 30_00)}


@pytest.mark.parametrize(
    "changed, why",
    [
        ({"url": "http://unitpay.ru/api"}, "https"),
        ({"url": "ftp://127.0.0.1/api"}, "https"),
        ({"url": "https://me:s3cr3t@unitpay.ru/api"}, "without a name"),
        ({"url": "https://unitpay.ru/api?secretKey=s3cr3t"}, "question mark"),
        ({"url": "https:///api"}, "without a name"),
        ({"url": "https://[::1/api"}, "not an address"),
        ({"rails": (Rail.CARD, Rail.QIWI)}, "qiwi"),
        ({"login": ""}, "login"),
        ({"fees": {Rail.CARD: Tariff(20_000)}}, "fee"),
    ],
)
async def test_settings_that_cannot_be_right_are_refused(changed: dict[str, Any], why: str) -> None:
    """A key and card numbers go nowhere in the clear, and nothing is offered that UnitPay does not do; the words tell no secret."""
    with pytest.raises(ValueError, match=why) as refused:
        async with upstream(**({"url": "https://unitpay.ru/api"} | changed)):
            pass
    assert "s3cr3t" not in str(refused.value)


def test_settings_do_not_show_their_secrets() -> None:
    """Neither the key, nor the probe's card, nor the proxy's password is in what settings look like."""
    settings = UnitPaySettings(
        login=LOGIN, secret_key=Secret(lambda: KEY), http=Http(proxy_login=Secret(lambda: KEY)),
        balance_probe=BalanceProbe(payment_type="card", purse=Secret(lambda: KEY, "the variable PURSE")),
    )  # fmt: skip
    assert KEY not in repr(settings) and "the variable PURSE" in repr(settings)
    assert settings.secret_key.reveal() == KEY


async def test_it_starts_only_with_its_secrets() -> None:
    """A key that cannot be had is found when the connector starts, not when the first payout is due."""

    def missing() -> str:
        raise LookupError("the key is not there")

    async with upstream("http://127.0.0.1:1/api", balance_probe=BalanceProbe(payment_type="card", purse=Secret(missing))) as up:
        with pytest.raises(LookupError):
            await up.connector.start(_nobody)


async def _nobody(callback: object) -> None:
    raise AssertionError("nobody calls back")


async def test_nothing_of_an_order_is_in_what_goes_wrong(serve: Serve) -> None:
    """Key, card and sum are in the request alone: no outcome repeats any of it, whatever the provider echoes."""
    echo = http({"error": {"message": f"{KEY} 4111111111111111", "code": 777}})
    server = await serve(says(echo))
    async with upstream(server.url) as up:
        said = repr([await up.connector.submit(order()), await up.connector.inquire(question()), up.alerts.told])
        said += repr(up.connector.capabilities) + str(up.connector)
    assert KEY not in said and "4111111111111111" not in said
