"""Hostile input at the UnitPay door: an error envelope within a second, no payout, no hold, and nothing of the request anywhere.

The tables follow the corpora of the reliability page, sections 4.3 and 4.8, for the fields that this protocol has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from urllib.parse import quote

import pytest
import structlog.testing

from disburse.api.unitpay_order import Order
from disburse.api.unitpay_words import Refused
from disburse.domain.destinations import read_card
from disburse.domain.money import read_amount
from disburse.protocols.unitpay import Code
from disburse.protocols.wire import FORM, JSON, WireRequest
from tests.api.house import House
from tests.api.unitpay_client import CARD, CARD_CALL, FREE_CALL, MEMBER, PHONE, SBP_CALL, Client, code, read

ANSWER_WITHIN_S = 1.0

SUMS = [
    "1e999999", "1e3", "1E1", "１２", "१२३", "1_000", "1 000", "1\u00a0000", "\u00a010", "+5", "-5", "-10.00", "-0", "0", "0.00",
    "0.00000000", ".5", "5.", "10.505", "10.000000001", "10,50", "1,000.00", "0x10", "0b1", "1/2", "NaN", "sNaN", "Infinity",
    "-Infinity", "inf", "true", "null", "10.00.00", "10.", "..", "10.00\u202e", "\u206610.00", "10\u200b", "10000000000000",
    "9" * 64, "9" * 65, "9" * 5000, "1" + "0" * 100_000, "10.00 RUB", "₽10", "{}", "[]", "10;DROP TABLE payouts", "²", "١٠",
]  # fmt: skip

CARDS = [
    "4111111111111112", "41111111111", "411111111111", "411111111111111", "41111111111111111111", "4" * 21, "4" * 64, "4" * 65,
    "４１１１１１１１１１１１１１１１", "٤١١١١١١١١١١١١١١١", "0000000000000000", "0111111111111111", "4111.1111.1111.1111",
    "4111\u00a01111\u00a01111\u00a01111", "4111_1111_1111_1111", "4111111111111111\u200b", "4111111111111111;4242424242424242",
    "+4111111111111111", "4111111111111111=2512", "card", "4.111111111111111e15", "0x4111111111111111",
]  # fmt: skip

PHONES = [
    "89510000071", "9510000071", "79510000071 ext 5", "79510000071,123", "7951000007", "795100000711", "7" * 16, "70510000071",
    "7٩510000071", "７９５１００００００７１", "+7+9510000071", "tel:79510000071", "7951000007a", "79510000071\u200b",
    "00000000000", "380501234567", "00079510000071",
]  # fmt: skip

MEMBERS = [
    "1000000000040", "10000000000", "100000009999", "100000000004 1", "１００００００００００４", "SBPMEMBER", "sbpmember",
    "1" * 33, "1" * 5000, "10000000000a", "0x174876e804", "1e11", "null", "../100000000004", "100000000004\u200b",
]  # fmt: skip

PURSES = [
    "Z12345678901",
    "Z1234567890123",
    "ß123456789012",
    "Ｚ123456789012",
    "Z１２３４５６７８９０１２",
    "z 123456789012x",
    "ı123456789012",
]
ADDRESSES = [
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6T",
    "0xdAC17F958D2ee523a2206206994597C13D831eC8",
    "0x123",
    "T" * 34,
    "bc1qxyz",
    "0x" + "g" * 40,
]
IDS = [
    "",
    " ",
    "a\x00b",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "a\u200bb",
    "a\ufeffb",
    "\ue000",
    "x" * 201,
    "x" * 100_000,
    "a\u2028b",
    "a\x7f",
]
KINDS = [
    "Card",
    "card\u200b",
    "саrd",
    "card,sbp",
    "card;",
    "account",
    "__proto__",
    "constructor",
    "x" * 33,
    "CARD",
    "visa",
]


def fields() -> Iterable[tuple[str, dict[str, str]]]:
    """Every hostile value of every field, in a call that is otherwise right."""
    for value in SUMS:
        yield "sum", FREE_CALL | {"sum": value}
    for value in CARDS:
        yield "card", CARD_CALL | {"purse": value}
    for value in PHONES:
        yield "phone", SBP_CALL | {"purse": value}
    for value in MEMBERS:
        yield "member", SBP_CALL | {"memberId": value}
    for value in PURSES:
        yield "webmoney", FREE_CALL | {"purse": value}
    for value in ADDRESSES:
        yield "usdt", CARD_CALL | {"paymentType": "usdt", "purse": value}
    for value in IDS:
        yield "transactionId", CARD_CALL | {"transactionId": value}
    for value in KINDS:
        yield "paymentType", CARD_CALL | {"paymentType": value}
    yield "test", CARD_CALL | {"test": "yes"}
    yield "comment", CARD_CALL | {"comment": "x" * 1001}
    yield "projectId", CARD_CALL | {"projectId": "1" * 33}
    yield "login", CARD_CALL | {"login": "x" * 255}
    yield "login", CARD_CALL | {"login": "nobody\u0430@example.com"}
    yield "secretKey", CARD_CALL | {"secretKey": "x" * 257}
    yield "secretKey", CARD_CALL | {"secretKey": "' OR 1=1 --"}


@pytest.fixture
def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[Client], None]:
    """Fails when anything secret was printed or logged."""
    caplog.set_level(logging.DEBUG)

    def check(shop: Client) -> None:
        printed = caplog.text + "".join(capfd.readouterr())
        for secret in (
            CARD,
            CARD[:12],
            PHONE,
            shop.made.unitpay_secret_key,
            shop.made.unitpay_test_key,
            shop.made.password,
        ):
            assert secret not in printed

    return check


async def refused(shop: Client, request: WireRequest, what: object) -> None:
    """An error envelope, in time, without a word of the request."""
    began = time.monotonic()
    answer = await shop.door.answer(request)
    assert time.monotonic() - began < ANSWER_WITHIN_S, what
    assert code(read(answer)) in (-32602, -32000, 100, 101, 102, 103, 122, 1051, 1052, 1053), what
    text = answer.body.decode()
    for secret in (CARD, PHONE, shop.made.unitpay_secret_key, "Traceback", "asyncpg", "disburse"):
        assert secret not in text, what


async def nothing_happened(house: House, shop: Client) -> None:
    assert await house.payouts(shop.merchant) == []
    assert await house.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


@pytest.mark.parametrize("verb", ["GET", "POST"])
async def test_hostile_values(house: House, shop: Client, silent: Callable[[Client], None], verb: str) -> None:
    """No hostile value of any field makes a payout or a hold, slows us down, or comes back."""
    with structlog.testing.capture_logs() as logs:
        for name, call in fields():
            await refused(
                shop, shop.request("massPayment", call, verb="GET" if verb == "GET" else "POST"), (name, call)
            )
    assert logs == []
    await nothing_happened(house, shop)
    silent(shop)


@pytest.mark.parametrize("method", ["massPaymentStatus", "massPaymentAvailableAmount", "getBinInfo"])
async def test_hostile_questions(house: House, shop: Client, silent: Callable[[Client], None], method: str) -> None:
    """Questions stand the same values: an answer of one kind or the other, in time, and nothing is changed."""
    for name, call in fields():
        began = time.monotonic()
        read(await shop.door.answer(shop.request(method, call | {"bin": call["sum"]})))
        assert time.monotonic() - began < ANSWER_WITHIN_S, (name, call)
    await nothing_happened(house, shop)
    silent(shop)


def queries(good: bytes) -> Iterable[bytes]:
    """Queries and forms that are not what they should be, each around a call that would be paid."""
    yield b""
    yield b"method=massPayment"
    yield good.replace(b"method=massPayment", b"method=")
    yield good + b"&sum=11.00"
    yield good + b"&params[sum]=11.00"
    yield good + b"&params%5Bsum%5D=11.00"
    yield good + b"&method=getPartner"
    yield good + b"&params[sum][]=10.00"
    yield good + b"&params[sum][a]=10.00"
    yield good + b"&sum[]=10.00"
    yield good + b"&purse[0]=4242424242424242"
    yield good + b"&params=1"
    yield good + b"&params[=1"
    yield good + b"&params[]=1"
    yield good + b"&" + b"params" + b"[a]" * 10_000 + b"=1"
    yield good + b"&comment=%"
    yield good + b"&comment=%4"
    yield good + b"&comment=%zz"
    yield good + b"&comment=%%35B"
    yield good + b"&comment=%00"
    yield good + b"&comment=a%0d%0aSet-Cookie:%20a=b"
    yield good + b"&comment=%1b[31mred"
    yield good + b"&comment=%c0%af"  # overlong UTF-8
    yield good + b"&comment=%ff"
    yield good + b"&comment=%ed%a0%80"  # half a character
    yield good + b"&comment=" + "привет".encode("cp1251")
    yield good + b"&%ff=1"
    yield good + b"".join(b"&a%d=1" % number for number in range(10_000))
    yield good + b"&a=1" * 10_000
    yield b"&" * 100_000
    yield b"=" * 100_000
    yield b"%5B" * 50_000
    yield good.replace(b"&", b";")
    yield good.replace(b"&", b"%26")
    yield quote(good.decode(), safe="").encode()


async def test_hostile_queries(house: House, shop: Client, silent: Callable[[Client], None]) -> None:
    """No hostile query or form makes a payout, wherever it stands."""
    for query in queries(shop.request("massPayment", CARD_CALL).query):
        await refused(shop, WireRequest("GET", "/api", query, {}, b""), query[-80:])
        await refused(shop, WireRequest("POST", "/api", b"", {"content-type": FORM}, query), query[-80:])
    await nothing_happened(house, shop)
    silent(shop)


async def test_query_and_body_are_one_call(house: House, shop: Client) -> None:
    """A name that stands in query and body with two values is refused; with one value it is one."""
    query = shop.request("massPayment", CARD_CALL).query
    for body in (b"sum=11.00", b"method=getPartner", b"params[purse]=4242424242424242"):
        await refused(shop, WireRequest("POST", "/api", query, {"content-type": FORM}, body), body)
    await nothing_happened(house, shop)
    request = WireRequest(
        "POST", "/api", query, {"content-type": FORM}, b"params%5Bsum%5D=10.00&purse=" + CARD.encode()
    )
    assert read(await shop.door.answer(request))["result"]["status"] == "not_completed"


def documents(shop: Client) -> Iterable[tuple[str, bytes]]:
    """JSON bodies that are not what they should be."""
    start = f'{{"method":"massPayment","login":"{shop.merchant.login}","secretKey":"{shop.made.unitpay_secret_key}",'
    rest = f'"transactionId":"1782","purse":"{CARD}","paymentType":"card"'
    for amount in (
        '"1e9"',
        "1e9",
        "NaN",
        "Infinity",
        "-1",
        "1e999",
        "[10]",
        '{"a":10}',
        "true",
        "null",
        "9" * 5000,
        '"\\ud800"',
        '"10\\u0000"',
        "1.005",
    ):
        yield JSON, f'{start}{rest},"sum":{amount}}}'.encode()
    yield JSON, f'{start}{rest},"sum":1,"sum":9}}'.encode()
    yield JSON, f'{start}{rest},"sum":10,"params":{{"sum":9}}}}'.encode()
    yield JSON, f'{start}{rest},"sum":10,"params":[]}}'.encode()
    yield JSON, f'{start}{rest},"sum":10,"params":{{"sum":{{}}}}}}'.encode()
    yield JSON, f'{start}{rest},"sum":10'.encode()
    yield JSON, f'[{start}{rest},"sum":10}}]'.encode()
    yield JSON, b"[" * 100_000
    yield JSON, b'{"a":' * 100_000
    yield JSON, b'"x"'
    yield JSON, f'{start}{rest},"sum":10}}'.encode("utf-16")
    yield JSON, f'{start}{rest},"sum":10,"comment":"'.encode() + b'\xff"}'
    whole = f'{start}{rest},"sum":10}}'.encode()
    for kind in (
        "text/plain",
        "multipart/form-data; boundary=x",
        f"{JSON}, {FORM}",
        f"{JSON}; charset=cp1251",
        "application/xml",
        FORM,
    ):
        yield kind, whole


async def test_hostile_bodies(house: House, shop: Client, silent: Callable[[Client], None]) -> None:
    """No hostile body makes a payout: repeated keys, deep nesting, other encodings, other types."""
    for kind, body in documents(shop):
        await refused(shop, WireRequest("POST", "/api", b"", {"content-type": kind}, body), (kind, body[-80:]))
    await nothing_happened(house, shop)
    silent(shop)


async def test_json_is_a_free_extra(shop: Client) -> None:
    """A call as a JSON object is read, numbers by their digits."""
    body = (
        f'{{"method":"massPayment","params":{{"login":"{shop.merchant.login}","secretKey":"{shop.made.unitpay_secret_key}",'
        f'"transactionId":1782,"purse":"{CARD}","paymentType":"card","sum":10.50}}}}'
    )
    answer = await shop.door.answer(WireRequest("POST", "/api", b"", {"content-type": JSON}, body.encode()))
    result = read(answer)["result"]
    assert (result["sum"], result["transactionId"]) == ("10.50", "1782")


NAUGHTY = [
    "=cmd|' /C calc'!A0", "{{7*7}}", "${jndi:ldap://x}", "%0d%0aX: y", "<script>alert(1)</script>", "'; DROP TABLE payouts; --", "😀👩‍👩‍👧",
    "Z̷̢̛͚a̸l̴g̵o̶", "../../etc/passwd", "ＮＦＫＣ", "\\u0000", '"', "\\", "日本語",
]  # fmt: skip


async def test_naughty_texts(house: House, shop: Client) -> None:
    """Strange but visible text is only text: an id comes back exactly as sent, a comment keeps its letters, digits, dots and commas."""
    accepted = [text for text in NAUGHTY if text.isprintable()]
    for text in accepted:
        assert (await shop.paid(FREE_CALL, transactionId=text, comment=text))["transactionId"] == text
        assert (await shop.status(text))["result"]["transactionId"] == text

    async def comments(tx: object) -> list[str]:
        return [row[0] for row in await tx.fetch("SELECT comment FROM payouts WHERE comment IS NOT NULL")]  # type: ignore[attr-defined]

    for comment in await house.database.run(comments):
        assert all(c.isalnum() or c in "., " for c in comment), comment
    assert len(await house.payouts(shop.merchant)) == len(accepted)


async def test_secrets_have_no_repr(house: House, shop: Client, silent: Callable[[Client], None]) -> None:
    """Nothing that the door makes of a call shows a card, a phone or a key when it is printed."""
    draft = house.desk.draft(
        shop.merchant, read_card(CARD, luhn=True), read_amount("10", "RUB"), surface="unitpay", reference="1",
        amount_text="10", execute=True, actor="test",
    )  # fmt: skip
    for thing in (draft, Order(read_card(CARD, luhn=True), read_amount("10", "RUB")), Refused(Code.CARD_UNREADABLE),
                  shop.request("massPayment", CARD_CALL), shop.made, shop.merchant):  # fmt: skip
        print(repr(thing), str(thing))
    assert MEMBER not in repr(shop.request("massPayment", SBP_CALL))
    silent(shop)
