"""IntellectMoney sections 6 and 9 on a running server: what a payout may be made of, card by card, phone by phone, sum by sum."""

from __future__ import annotations

import pytest

from disburse.domain.routing import Route
from tests.conformance.conftest import Log
from tests.conformance.intellectmoney_shop import (
    CARD,
    CARD_OF_20,
    MEMBER,
    NEW_CARD,
    NEW_PHONE,
    PHONE,
    TO_CARD,
    TO_WALLET,
    Shop,
    path_of,
)
from tests.conformance.running import Running
from tests.conformance.unitpay_shop import Shop as UnitPayShop
from tests.conformance.unitpay_shop import code
from tests.conformance.wire import pairs

METHODS = {
    "card": ("CreateBankCardRussiaOperation", TO_CARD),
    "qivi": ("CreateQiviWalletOperation", TO_WALLET),
    "qiwi": ("CreateQiwiWalletOperation", TO_WALLET),
    "new-card": ("createOperation", NEW_CARD),
    "new-phone": ("createOperation", NEW_PHONE),
}


@pytest.mark.parametrize("case", METHODS)
def test_created(served: Running, case: str) -> None:
    """Every create method answers PayoutOperationData: State, the payout's GUID in lower case, `Created`; nothing is paid or held."""
    shop = Shop(served)
    method, order = METHODS[case]
    reply = shop.call(method, order)
    assert list(reply.body["Result"]) == ["State", "PayoutOperationId", "PayoutOperationState"]
    assert (reply.state, reply.guid) == ("Created", reply.guid.lower())
    assert served.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


REQUIRED = [(case, name) for case, (_, order) in METHODS.items() for name in ("UserToken", *order)]


@pytest.mark.parametrize("case, name", REQUIRED, ids=[f"{case}-{name}" for case, name in REQUIRED])
def test_required(served: Running, case: str, name: str) -> None:
    """Whatever the order needs is required, and its lack is named."""
    shop = Shop(served)
    method, order = METHODS[case]
    reply = shop.call(method, {**order, name: ""})
    assert reply.word == "BAD_REQUEST" and (name in reply.desc or (case in ("qivi", "qiwi") and name == "Account"))
    assert shop.untouched()


def test_created_twice(served: Running) -> None:
    """A create may be repeated freely: each makes an operation of its own and none moves money."""
    shop = Shop(served)
    assert shop.created() != shop.created()
    assert shop.payouts() == 2 and set(served.balances(shop.merchant)) == {"available", "funding"}


LIVE = Route("live", frozenset({"card", "qiwi", "sbp"}), frozenset({"RUB"}))
SANDBOX = Route("sandbox", frozenset({"card", "sbp"}), frozenset({"RUB", "TST"}), sandbox=True)

PANS = {
    "real": (CARD, None),
    "12-digits": ("411111111112", None),
    "20-digits": (CARD_OF_20, None),
    "spaces-and-hyphens": ("4111 1111-1111 1111", None),
    "11-digits": ("41111111111", "BAD_REQUEST"),
    "21-digits": ("411111111111111111111", "BAD_REQUEST"),
    "letters": ("4111111111111IIII", "BAD_REQUEST"),
    "other-digits": ("٤١١١١١١١١١١١١١١١", "BAD_REQUEST"),
}


WAIVED = {"12-digits", "20-digits"}


@pytest.mark.parametrize("method", ["CreateBankCardRussiaOperation", "createOperation"])
@pytest.mark.parametrize("case", PANS)
def test_pans(served: Running, case: str, method: str) -> None:
    """A Pan is 12 to 20 digits, spaces and hyphens stripped, no more is asked where a sandbox alone can carry it: the example works."""
    shop = Shop(served)
    pan, word = PANS[case]
    order = {**(TO_CARD if method.startswith("Create") else NEW_CARD), "Pan": pan}
    reply = shop.call(method, order)
    if word is not None:
        assert reply.word == word and shop.untouched()
    else:
        assert reply.state == "Created"
        goes_to_a_sandbox(shop, reply.guid, waived=case in WAIVED)


def goes_to_a_sandbox(shop: Shop, guid: str, *, waived: bool) -> None:
    """It is executed; one whose check was waived may go to a sandbox alone, for ever."""
    assert shop.call("ExecuteOperation", PayoutOperationId=guid).code == 0
    [row] = shop.served.rows("SELECT sandbox_only FROM payouts WHERE payout_id::text = $1", guid)
    assert row["sandbox_only"] is waived


@pytest.mark.parametrize("routes", [(LIVE,), (LIVE, SANDBOX)], ids=["live", "live-and-sandbox"])
def test_luhn_where_a_live_route_is(served: Running, routes: tuple[Route, ...]) -> None:
    """Where a live route could carry a card, its check digit and 13 to 19 digits are asked for."""
    shop = Shop(served)
    with served.routes(*routes):
        for pan in (CARD_OF_20, "411111111112", "4111111111111112"):
            assert shop.call("CreateBankCardRussiaOperation", {**TO_CARD, "Pan": pan}).word == "BAD_PAN"
        assert shop.call("CreateBankCardRussiaOperation", TO_CARD).state == "Created"


def test_other_doors_always_check(served: Running) -> None:
    """The waiver is this door's: UnitPay's refuses the same cards on the same sandbox."""
    shop = UnitPayShop(served)
    for pan in (CARD_OF_20, "411111111112", "4111111111111112"):
        assert code(shop.pay(purse=pan)) == 1052


AMOUNTS = {"whole": "50", "one": "50.5", "two": "50.50", "small": "0.01", "thirteen-characters": "0000000050.00"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", AMOUNTS)
def test_amounts(served: Running, case: str, method: str) -> None:
    """0 to 2 decimals after a dot, at most 13 characters, on old paths and new ones alike."""
    shop = Shop(served)
    name, order = METHODS[method]
    guid = shop.call(name, {**order, "Amount": AMOUNTS[case]}).guid
    [row] = served.rows("SELECT amount_minor FROM payouts WHERE payout_id::text = $1", guid)
    assert row["amount_minor"] == round(float(AMOUNTS[case]) * 100)


BAD_AMOUNTS = ["50,00", "50 000", " 50", "50 ", "-50", "+50", "5e1", "1e999999", "50.005", "50.000", "0", "0.00", ".5", "50.", "00000000050.00",
               "fifty", "٥٠", "0x32", "NaN"]  # fmt: skip


@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=range(len(BAD_AMOUNTS)))
def test_bad_amounts(served: Running, amount: str) -> None:
    """Commas, spaces, signs, exponents, a third decimal and more than 13 characters are refused on old paths and new ones."""
    shop = Shop(served)
    for method, order in (METHODS["card"], METHODS["new-phone"]):
        assert shop.call(method, {**order, "Amount": amount}).word in ("BAD_REQUEST", "BAD_AMOUNT")
    assert shop.untouched()


CURRENCIES = {
    "643": "BAD_REQUEST",
    "rub": "BAD_REQUEST",
    "RUR": "BAD_CURRENCY",
    "RU": "BAD_REQUEST",
    "XYZ": "BAD_CURRENCY",
    "USD": None,
    "RUB": None,
}


@pytest.mark.parametrize("currency", CURRENCIES)
def test_currencies(served: Running, currency: str) -> None:
    """A currency is the three letters of its ISO code; numeric codes are not taken."""
    reply = Shop(served).call("createOperation", {**NEW_PHONE, "Currency": currency})
    assert reply.state == "Created" if CURRENCIES[currency] is None else reply.word == CURRENCIES[currency]


def test_test_money(served: Running) -> None:
    """TST goes to a sandbox or nowhere."""
    shop = Shop(served, currency="TST")
    with served.routes(LIVE):
        assert shop.call("createOperation", {**NEW_PHONE, "Currency": "TST"}).word == "NO_ROUTE"
    with served.routes(Route("live-tst", LIVE.rails, frozenset({"TST"}))):
        assert shop.call("createOperation", {**NEW_PHONE, "Currency": "TST"}).word == "NO_ROUTE"
    guid = shop.created({**NEW_PHONE, "Currency": "TST"})
    [row] = served.rows("SELECT sandbox_only FROM payouts WHERE payout_id::text = $1", guid)
    assert row["sandbox_only"] is True


RECIPIENTS = {
    "left-out": ("", None),
    "two": ("Ия", None),
    "fifty": ("И" * 50, None),
    "one": ("И", "BAD"),
    "fifty-one": ("И" * 51, "BAD"),
    "control": ("И\x00я", "BAD"),
}


@pytest.mark.parametrize("method", ["card", "qivi", "new-phone"])
@pytest.mark.parametrize("case", RECIPIENTS)
def test_recipient_names(served: Running, case: str, method: str) -> None:
    """RecipientName may be left out; it has 2 to 50 characters."""
    shop = Shop(served)
    name, bad = RECIPIENTS[case]
    path, order = METHODS[method]
    reply = shop.call(path, {**order, "RecipientName": name})
    assert reply.state == "Created" if bad is None else reply.word in ("BAD_REQUEST", "BAD_RECIPIENT_NAME")


PREFERENCES = {
    "unknown": {"PreferenceType": "OutWallet"},
    "card-with-account": {**NEW_CARD, "Account": PHONE},
    "card-with-bank": {**NEW_CARD, "BankId": MEMBER},
    "phone-with-card": {**NEW_PHONE, "Pan": CARD},
    "card-without-pan": {**NEW_PHONE, "PreferenceType": "OutBankCard"},
    "phone-without-account": {**NEW_CARD, "PreferenceType": "OutSbp"},
}


@pytest.mark.parametrize("case", PREFERENCES)
def test_preference_types(served: Running, case: str) -> None:
    """PreferenceType is OutBankCard, with a Pan alone, or OutSbp, with Account and BankId alone."""
    shop = Shop(served)
    assert (
        shop.call(
            "createOperation", {**NEW_PHONE, **PREFERENCES[case]} if case == "unknown" else PREFERENCES[case]
        ).word
        == "BAD_REQUEST"
    )
    assert shop.untouched()


PHONES = {
    PHONE: None,
    f"+{PHONE}": None,
    "7 (951) 000-00-71": None,
    "9510000071": "BAD_ACCOUNT",
    "89510000071": "BAD_ACCOUNT",
    "7000000000": "BAD_ACCOUNT",
}


@pytest.mark.parametrize("phone", PHONES)
def test_phones(served: Running, phone: str) -> None:
    """An SBP payee is a phone of 11 digits that begins with 7; ten digits no route can place are code 2."""
    reply = Shop(served).call("createOperation", {**NEW_PHONE, "Account": phone})
    assert reply.state == "Created" if PHONES[phone] is None else reply.word == PHONES[phone]


@pytest.mark.parametrize("bank", ["100000009999", "1", "x" * 12])
def test_banks(served: Running, bank: str) -> None:
    """BankId is an SBP member's number."""
    assert Shop(served).call("createOperation", {**NEW_PHONE, "BankId": bank}).word in ("BAD_BANK_ID", "BAD_REQUEST")


WALLETS = {
    "70000000000": (True, True),
    "7000000000": (True, False),
    "9000000000": (True, False),
    "8000000000": (False, False),
    "123456789012345": (False, False),
}


@pytest.mark.parametrize("wallet", WALLETS)
def test_wallets(served: Running, wallet: str) -> None:
    """A wallet has 11 digits that begin with 7; ten that begin with 7 or 9, as the table's sample, only where a sandbox places them."""
    shop = Shop(served)
    sandbox, live = WALLETS[wallet]
    for fits, routes in ((sandbox, None), (live, (LIVE,))):
        for method in ("CreateQiviWalletOperation", "CreateQiwiWalletOperation"):
            if routes is None:
                reply = shop.call(method, {**TO_WALLET, "Account": wallet})
            else:
                with served.routes(*routes):
                    reply = shop.call(method, {**TO_WALLET, "Account": wallet})
            assert reply.state == "Created" if fits else reply.word == "BAD_ACCOUNT"


def test_wallets_without_a_route(served: Running) -> None:
    """The wallet's method stays; where the operator has no route for it, it is code 2."""
    shop = Shop(served)
    with served.routes(SANDBOX):
        assert shop.call("CreateQiwiWalletOperation", TO_WALLET).word == "NO_ROUTE"
    assert shop.untouched()


@pytest.mark.parametrize("method", ["CreateQiviWalletOperation", "CreateQiwiWalletOperation"])
def test_a_card_on_the_wallets_path(served: Running, log: Log, method: str) -> None:
    """A Pan and no Account on the wallet's path is a card: the level is checked, it is logged, and both at once are refused."""
    shop = Shop(served)
    reply = shop.call(method, {**TO_CARD, "Pan": CARD_OF_20})
    assert reply.state == "Created"
    [row] = served.rows("SELECT rail FROM payouts WHERE payout_id::text = $1", reply.guid)
    [line] = log.lines("card_on_the_wallets_path")
    assert (row["rail"], line["merchant"]) == ("card", shop.merchant.merchant_id)
    assert CARD not in log.text
    assert shop.call(method, {**TO_CARD, **TO_WALLET}).word == "BAD_REQUEST"
    assert Shop(served, pci_dss=False).call(method, TO_CARD).word == "PCI_DSS_REQUIRED"


def test_optional_headers(served: Running) -> None:
    """Accept and Content-Type are optional on the new paths."""
    shop = Shop(served)
    body = pairs({"UserToken": shop.token, **NEW_PHONE}.items())
    assert shop.post(path_of("createOperation"), body).state == "Created"


def test_what_is_stored(served: Running) -> None:
    """The rail, the payee and the amount of an order are what was sent, and no reference of the client's: this API has none."""
    shop = Shop(served)
    for order in (TO_CARD, NEW_PHONE):
        shop.created(order)
    found = served.rows(
        "SELECT rail, display, amount_minor, currency, reference FROM payouts WHERE merchant_id = $1 ORDER BY number",
        shop.merchant.merchant_id,
    )
    assert [tuple(row) for row in found] == [
        ("card", "411111******1111", 5000, "RUB", None),
        ("sbp", "+7951*****71", 5000, "RUB", None),
    ]
