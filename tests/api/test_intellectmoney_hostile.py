"""Bad input at the IntellectMoney door: refused in the envelope, at once, nothing made, and nothing of it told to anybody."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import structlog
from structlog.typing import EventDict

from disburse.domain.routing import Route
from disburse.protocols.wire import FORM, JSON, WireRequest
from tests.api.house import SANDBOX, House
from tests.api.intellectmoney_shop import AS_JSON, TBANK, Shop, form, open_shop, path_of, post

CARD, PHONE, NAME = "5555555555554444", "79035554433", "Канарейкин К."
SECRETS = {"password": "pass-canary-1", "bearer_token": "bearer-canary-2", "sign_secret_key": "sign-canary-3"}
MONEY = {"Amount": "50.00", "Currency": "RUB"}
TO_PHONE = {"PreferenceType": "OutSbp", "Account": PHONE, "BankId": TBANK, "RecipientName": NAME, **MONEY}
TO_CARD = {"PreferenceType": "OutBankCard", "Pan": CARD, "RecipientName": NAME, **MONEY}
TO_WALLET = {"Account": PHONE, "RecipientName": NAME, **MONEY}
NEAR = "81fa5265-de0b-498d-be37-5d48f4aa3ba1"


@pytest.fixture
async def shop(house: House) -> Shop:
    """A shop of known secrets in a house whose routes carry everything."""
    house.desk.routes = (Route("live", SANDBOX.rails, SANDBOX.currencies), SANDBOX)
    return await open_shop(house, secrets=SECRETS)


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[EventDict]]:
    """All that is logged, by whatever library."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as told:
        yield told


class Watch:
    """Sends bad requests and holds each answer to the rules."""

    def __init__(self, shop: Shop, caplog: pytest.LogCaptureFixture, logs: list[EventDict]) -> None:
        self.shop, self._caplog, self._logs = shop, caplog, logs
        self.canaries = [shop.token, CARD, PHONE, NAME, "Канарейкин", *SECRETS.values()]

    def secret(self, text: str) -> None:
        """No canary is in a text, spelled as it is or escaped for a URL or JSON."""
        for canary in self.canaries:
            for spelled in (canary, quote(canary), json.dumps(canary)[1:-1]):
                assert spelled not in text

    async def refused(self, request: WireRequest, what: object = None) -> str:
        """The short code of the refusal."""
        began = time.perf_counter()
        reply = await self.shop.send(request)
        assert time.perf_counter() - began < 1, what
        assert (reply.status, reply.code) == (200, 2), (what, reply.raw)
        assert len(reply.desc) < 200 and "Traceback" not in reply.desc
        self.secret(reply.raw.decode())
        return reply.word

    async def nothing_happened(self) -> None:
        """No payout, no hold, no secret in any log."""
        assert await self.shop.untouched()
        self.secret(self._caplog.text + repr(self._logs))


@pytest.fixture
def watch(shop: Shop, caplog: pytest.LogCaptureFixture, logs: list[EventDict]) -> Watch:
    return Watch(shop, caplog, logs)


AMOUNTS = [
    "1e999999", "1e200000", "1e3", "\uff11\uff12", "१२३", "٥٠", "1_000", "+5", "-5", "-0", "0", "0.00", ".5", "5.", "NaN",
    "sNaN", "Infinity", "1,00", "1 000", "1\u00a0000", "\u200f50", "50.001", "50.000", "12345678901234", "123456789012.12",
    "9" * 5000, "0x10", " 50", "50 ", "50\n", "50\x00", "'50'", "", " ", "50;DROP TABLE payouts", "5\u066b0", "1/2", "½",
]  # fmt: skip
CURRENCIES = [
    "rub",
    "Rub",
    "RUR",
    "643",
    "810",
    "RU\u0412",
    "RUBRUB",
    "",
    " ",
    "XAU",
    "USDT",
    "₽",
    "RUB\x00",
    "R\u200bB",
    "***",
]
PANS = [
    "41111111111", "411111111111111111111", "5555555555554445", "５５５５５５５５５５５５４４４４", "٥٥٥٥٥٥٥٥٥٥٥٥٤٤٤٤",
    "5555\u00a05555\u00a05555\u00a04444", "5555.5555.5555.4444", "5555555555554444x", "0000000000000000", "", "-" * 16,
    "5555" + " " * 60 + "555555554444", "5" * 100_000, "5555555555554444\x00", "5555555555554444;5555555555554444",
]  # fmt: skip
PHONES = ["89035554433", "9035554433", "+8 903 555 44 33", "7903555443", "790355544330", "79035554433,1", "7" * 16, "", "телефон",
          "７９０３５５５４４３３", "70035554433"]  # fmt: skip
WALLETS = ["89035554433", "790355544330", "7903555443 ext", "7" * 16, "", "R123456789012"]
BANKS = [
    "100000999999",
    "10000000000",
    "1000000000041",
    "",
    "10000000000A",
    "１００００００００００４",
    "0" * 12,
]
NAMES = ["И", "И" * 51, "И\u202eИ", "И\u200bИ", "И\x1b[31mИ", "И\r\nИ: 1", "И\x00И", "\ud83d", "И\u2066И", "И\x7fИ"]
SHOPS = ["-1", "1e3", "99999999999", "shop", "1.0", "１"]
GUIDS = [
    "{" + NEAR, NEAR + "}", "urn:uuid:" + NEAR, NEAR.replace("8", "８", 1), NEAR[:-1], NEAR + "0", NEAR.replace("-", "", 1),
    "81fa-5265de0b-498d-be37-5d48f4aa3ba1", "{{" + NEAR + "}}", "", "0", "' OR '1'='1", "(" + NEAR + ")", NEAR.replace("f", "g", 1),
]  # fmt: skip


async def test_fields(watch: Watch) -> None:
    """One bad field is enough: no payout, and an answer that names the field's fault and not its value."""
    token = {"UserToken": watch.shop.token}
    corpora: list[tuple[str, dict[str, str], str, list[str]]] = [
        ("createOperation", TO_CARD, "Amount", AMOUNTS),
        ("createOperation", TO_CARD, "Currency", CURRENCIES),
        ("createOperation", TO_CARD, "Pan", PANS),
        ("CreateBankCardRussiaOperation", {"Pan": CARD, **MONEY}, "Pan", PANS),
        ("createOperation", TO_PHONE, "Account", PHONES),
        ("createOperation", TO_PHONE, "BankId", BANKS),
        ("createOperation", TO_PHONE, "RecipientName", NAMES),
        ("createOperation", TO_PHONE, "EshopId", SHOPS),
        ("createOperation", TO_PHONE, "PreferenceType", ["", "outsbp", "OutCash", "OutSbp\x00"]),
        ("CreateQiwiWalletOperation", TO_WALLET, "Account", WALLETS),
        ("ExecuteOperation", {}, "PayoutOperationId", GUIDS),
        ("GetOperationState", {}, "PayoutOperationId", GUIDS),
    ]
    for method, good, name, values in corpora:
        for value in values:
            what = (method, name, value[:40])
            body = urlencode(token | good | {name: value}, errors="surrogatepass").encode()
            await watch.refused(post(path_of(method), body=body, headers={"Content-Type": FORM, **AS_JSON}), what)
            as_json = json.dumps(token | good | {name: value}).encode()
            await watch.refused(post(path_of(method), body=as_json, headers={"Content-Type": JSON, **AS_JSON}), what)
    await watch.nothing_happened()


async def test_fields_that_are_missing_or_too_many(watch: Watch) -> None:
    """Every required field is asked for, and money has one destination."""
    token = {"UserToken": watch.shop.token}
    orders = [
        ("createOperation", {**TO_CARD}, {"RecipientName"}),
        ("createOperation", {**TO_PHONE}, {"RecipientName"}),
        ("CreateBankCardRussiaOperation", {"Pan": CARD, **MONEY}, set()),
        ("CreateQiviWalletOperation", TO_WALLET, {"RecipientName"}),
        ("ExecuteOperation", {"PayoutOperationId": NEAR}, set()),
        ("getUserToken", {"Login": "shop@example.com", "Password": SECRETS["password"]}, set()),
    ]
    for method, good, optional in orders:
        whole = good if method == "getUserToken" else token | good
        for name in set(whole) - optional:
            what = (method, name)
            assert (
                await watch.refused(form(method, {k: v for k, v in whole.items() if k != name}), what) == "BAD_REQUEST"
            )
    both = [
        ("createOperation", TO_CARD | {"Account": PHONE}),
        ("createOperation", TO_CARD | {"BankId": TBANK}),
        ("createOperation", TO_PHONE | {"Pan": CARD}),
        ("CreateBankCardRussiaOperation", {"Pan": CARD, **TO_WALLET}),
        ("CreateQiwiWalletOperation", {"Pan": CARD, **TO_WALLET}),
    ]
    for method, params in both:
        assert await watch.refused(form(method, token | params), method) == "BAD_REQUEST"
    await watch.nothing_happened()


async def test_two_values_for_one_name(watch: Watch) -> None:
    """Two different values for one name are refused, wherever they stand; the same value twice is one."""
    token = quote(watch.shop.token)
    order = urlencode(TO_PHONE)
    path = path_of("createOperation")
    headers = {"Content-Type": FORM, **AS_JSON}
    one = f"UserToken={token}&{order}"
    both: list[tuple[str, str]] = [
        ("", one + "&Amount=9"), ("", one + "&amount=9.00"), ("", one + "&%41mount=9"), ("", "AMOUNT=9&" + one),
        ("Amount=9", one), ("UserToken=another", one), ("Account=79990000000", one), ("", one + "&Amount="),
    ]  # fmt: skip
    for query, body in both:
        request = post(path, query=query.encode(), body=body.encode(), headers=headers)
        assert await watch.refused(request, (query, body[-20:])) == "BAD_REQUEST"
    members = json.dumps({"UserToken": watch.shop.token, **TO_PHONE})[1:-1]
    for extra in ('"Amount": 9', '"amount": "9"', '"Amo\\u0075nt": 9'):
        request = post(path, body=f"{{{members}, {extra}}}".encode(), headers={"Content-Type": JSON, **AS_JSON})
        assert await watch.refused(request, extra) == "BAD_REQUEST"
    await watch.nothing_happened()
    twice = post(path, query=one.encode(), body=(one + "&Amount=50.00").encode(), headers=headers)
    assert (await watch.shop.send(twice)).state == "Created"


def bodies(token: str) -> list[tuple[str, bytes]]:
    """Content types and bodies that no reader should take for an order."""
    order = {"UserToken": token, **TO_PHONE}
    pairs, members = urlencode(order).encode(), json.dumps(order)[1:-1]
    elements = "".join(f"<{name}>{value}</{name}>" for name, value in order.items())

    def of(literal: str) -> bytes:
        return members.replace('"50.00"', literal).join("{}").encode() if literal else b""

    entity = '<!DOCTYPE a [<!ENTITY x "50.00">]>'
    laughs = "<!DOCTYPE a [" + "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 20)) + "]>"
    return [
        (FORM, pairs + b"&x=%"), (FORM, pairs + b"&x=%c0%af"), (FORM, pairs + b"&x=%ff"), (FORM, pairs + b"&x=%00"),
        (FORM, pairs + b"&a=1" * 10_000), (FORM, pairs.replace(b"=", b"")), (FORM, b"\xff\xfe" + pairs),
        (FORM + "; charset=windows-1251", pairs), (f"{FORM}, {JSON}", pairs), ("text/plain", pairs),
        ("multipart/form-data; boundary=x", b"--x\r\n" + pairs + b"\r\n--x--"), (JSON, pairs), (FORM, f"{{{members}}}".encode()),
        (JSON, f"[{{{members}}}]".encode()), (JSON, b"[" * 100_000), (JSON, f'{{{members}, "a": {"[" * 99}'.encode()),
        (JSON, f"{{{members}".encode()), (JSON, f"{{{members}}}".encode("utf-16")), (JSON, b"null"), (JSON, b'"x"'),
        (JSON, of("NaN")), (JSON, of("Infinity")), (JSON, of("1e999999")), (JSON, of("1e3")), (JSON, of("-50")), (JSON, of("true")),
        (JSON, of("[50]")), (JSON, of('{"$gt": 0}')), (JSON, of("9" * 5000)), (JSON, of("null")), (JSON, of("50.001")),
        (JSON, of('"\\ud800"')), (JSON, of('"50\\u0000"')),
        ("application/xml", f"{entity}<a>{elements.replace('50.00', '&x;')}</a>".encode()),
        ("application/xml", f"{laughs}<a>{elements.replace('50.00', '&x19;')}</a>".encode()),
        ("application/xml", f'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a>{elements}</a>'.encode()),
        ("application/xml", f"<a>{elements}".encode()), ("application/xml", f"<a><b>{elements}</b></a>".encode()),
        ("application/xml", f"<a>{elements}<Amount>9</Amount></a>".encode()),
        ("application/xml", f"<a>{elements}</a>".encode("utf-16")), ("application/xml", b"<a>" * 50_000),
        ("application/xml", f"<a>{elements}{'<b/>' * 1000}</a>".encode()), ("text/xml", f"<a>{elements}{'x' * 70_000}</a>".encode()),
    ]  # fmt: skip


async def test_bodies(watch: Watch) -> None:
    """Bytes that are not plainly an order are refused, whatever they call themselves."""
    for kind, body in bodies(watch.shop.token):
        request = post(path_of("createOperation"), body=body, headers={"Content-Type": kind, **AS_JSON})
        await watch.refused(request, (kind, body[:60]))
    await watch.nothing_happened()


async def test_credentials_are_not_told(watch: Watch) -> None:
    """A wrong proof is refused without a word about the right one, or about the one that came."""
    order = {"UserToken": watch.shop.token, **TO_CARD}
    for headers in (
        {"Authorization": "Bearer bearer-canary-2x"}, {"Sign": "sign-canary-3"}, {"Sign": "0" * 64}, {"Sign": "я" * 64},
        {"Authorization": "Bearer " + "я" * 500}, {"Sign": "0" * 100_000},
    ):  # fmt: skip
        assert await watch.refused(form("createOperation", order, AS_JSON | headers)) in ("WRONG_BEARER", "WRONG_SIGN")
    for login, password in [
        ("shop@example.com", "pass-canary-1x"),
        ("a" * 257, "x"),
        ("x", "a" * 257),
        ("a\x00b", "x"),
        ("\ud800", "x"),
    ]:
        body = urlencode({"Login": login, "Password": password}, errors="surrogatepass").encode()
        word = await watch.refused(post(path_of("getUserToken"), body=body, headers={"Content-Type": FORM, **AS_JSON}))
        assert word in ("WRONG_CREDENTIALS", "BAD_REQUEST")
    await watch.nothing_happened()


async def test_values_in_the_wrong_place(watch: Watch) -> None:
    """A card or a token that is sent as a name, a method or a format is not repeated either."""
    token = watch.shop.token
    for request in (
        form("createOperation", {"UserToken": token, CARD: "1", token: "2", NAME: "3"}),
        post(f"/personal/payout/{CARD}", query=urlencode({"UserToken": token}).encode()),
        post(path_of("createOperation"), body=b"x", headers={"Content-Type": f"{CARD}/{token}", **AS_JSON}),
        post(path_of("createOperation"), body=json.dumps({CARD: {}, token: []}).encode()),
        post(path_of("createOperation"), body=f'{{"{token}": 1, "{token}": 2}}'.encode()),
    ):
        await watch.refused(request)
    await watch.nothing_happened()


NAMES_THAT_ARE_TAKEN = [
    "=cmd|' /C calc'!A0", "{{7*7}}", "${jndi:ldap://x/a}", "<script>alert(1)</script>", "%0d%0aSet-Cookie: a=1", "Robert'); DROP",
    "И\u0301\u0302\u0303\u0304\u0305", "😀 Иван", "  Иван   Иванов  ",
]  # fmt: skip


async def test_names_that_are_taken(watch: Watch) -> None:
    """Printable text is a name, however odd: it is sealed with the destination, and stands nowhere else."""
    shop = watch.shop
    for name in NAMES_THAT_ARE_TAKEN:
        params = TO_PHONE | {"RecipientName": name}
        assert (await shop.call("createOperation", **params)).state == "Created", name
        payout = (await shop.house.payouts(shop.merchant))[-1]
        assert shop.house.desk.open_destination(payout).name == " ".join(name.split())


async def test_nothing_secret_is_stored_in_clear(watch: Watch) -> None:
    """After whole lives over every rail no table holds a card, phone, name, token or key that can be read."""
    shop = watch.shop
    given = await shop.send(form("getUserToken", {"Login": "shop@example.com", "Password": SECRETS["password"]}))
    watch.canaries.append(given.body["Result"]["UserToken"])
    for method, params in [
        ("createOperation", TO_PHONE), ("createOperation", TO_CARD), ("CreateBankCardRussiaOperation", {"Pan": CARD, **MONEY}),
        ("CreateQiviWalletOperation", {"Pan": CARD, **MONEY}), ("CreateQiwiWalletOperation", TO_WALLET),
    ]:  # fmt: skip
        headers = AS_JSON | {"Authorization": f"Bearer {SECRETS['bearer_token']}"}
        guid = (await shop.send(form(method, {"UserToken": shop.token, **params}, headers))).guid
        assert (await shop.call("ExecuteOperation", PayoutOperationId=guid)).code == 0
    assert len(await shop.house.settle()) == 5

    async def everything(tx: Any) -> str:
        tables = await tx.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'disburse'")
        rows = [await tx.fetch(f'SELECT t::text FROM "{table[0]}" t') for table in tables]
        return "\n".join(row[0] for found in rows for row in found)

    stored = await shop.house.database.run(everything)
    assert "shop@example.com" in stored and "555555******4444" in stored
    watch.secret(stored)
    for canary in watch.canaries:
        assert canary.encode().hex() not in stored


async def test_odd_headers(watch: Watch) -> None:
    """An Accept header may hold anything; parameters that nobody knows are passed over."""
    shop = watch.shop
    for accept in ("", "json" * 10_000, "\x00", "текст/xml", ";;;,,,"):
        reply = await shop.send(
            form("GetOperationState", {"UserToken": shop.token, "PayoutOperationId": NEAR}, {"Accept": accept})
        )
        assert reply.word == "UNKNOWN_OPERATION"
    extra = {
        "__proto__": "1",
        "params[sum][]": "9",
        "CVV": "123",
        "amount[]": "9",
        "Аmount": "9",
    }  # the last begins in Cyrillic
    assert (await shop.call("createOperation", **TO_PHONE, **extra)).state == "Created"
    [payout] = await shop.house.payouts(shop.merchant)
    assert payout.amount_minor == 50_00
