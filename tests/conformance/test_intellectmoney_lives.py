"""IntellectMoney sections 6 to 8 on a running server: execute, the states a payout shows, ids, repeats, what refusals say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.intellectmoney_shop import NEW_CARD, NEW_PHONE, TO_CARD, Shop
from tests.conformance.running import Running
from tests.conformance.wire import at_once, until

EXECUTE = ["ExecuteOperation", "executeOperation"]
ASK = ["GetOperationState", "getOperationState"]


def shown(shop: Shop, guid: str, word: str) -> None:
    """Wait until the state is this one."""
    until(lambda: shop.state(guid), lambda state: state == word)


@pytest.mark.parametrize("method", EXECUTE + ASK)
def test_required(served: Running, method: str) -> None:
    """Execute and state need UserToken and PayoutOperationId."""
    shop = Shop(served)
    guid = shop.created()
    assert shop.call(method).word == shop.call(method, PayoutOperationId=guid, UserToken="").word == "BAD_REQUEST"
    assert list(shop.call(method, PayoutOperationId=guid).body["Result"]) == [
        "State",
        "PayoutOperationId",
        "PayoutOperationState",
    ]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "braces": lambda guid: f"{{{guid}}}",
    "upper-braces": lambda guid: f"{{{guid.upper()}}}",
    "no-hyphens": lambda guid: guid.replace("-", ""),
    "upper-no-hyphens": lambda guid: guid.replace("-", "").upper(),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_guids(served: Running, case: str) -> None:
    """A GUID is compared without case and taken with braces or without hyphens; it comes back in lower case with hyphens."""
    shop = Shop(served)
    guid = shop.created()
    for method in ASK + EXECUTE:
        assert shop.call(method, PayoutOperationId=SPELLINGS[case](guid)).guid == guid


@pytest.mark.parametrize("method", EXECUTE + ASK)
def test_unknown_and_foreign_ids(served: Running, method: str) -> None:
    """An unknown id and somebody else's are code 2 with the same Desc."""
    shop, other = Shop(served), Shop(served)
    replies = [shop.call(method, PayoutOperationId=guid) for guid in (str(uuid4()), other.created())]
    assert [reply.word for reply in replies] == ["UNKNOWN_OPERATION"] * 2
    assert replies[0].desc == replies[1].desc
    assert shop.untouched()


@pytest.mark.parametrize("method", EXECUTE)
def test_executed_twice(served: Running, method: str) -> None:
    """A second execute returns the present state with code 0, however often and however many at once; there is one payment."""
    shop = Shop(served)
    guid = shop.created()
    replies = at_once([lambda: shop.call(method, PayoutOperationId=guid)] * 8)
    assert {reply.code for reply in replies} == {0}
    shown(shop, guid, "Completed")
    assert shop.state(guid, method) == "Completed"
    assert served.balances(shop.merchant)["paid:sandbox"] == "50.00"
    [row] = served.rows("SELECT count(*) FROM attempts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert row[0] == 1


# --- states -------------------------------------------------------------------------------------------------------


def test_created(served: Running) -> None:
    """Created is made and not sent: no money moves, and it waits to be executed."""
    shop = Shop(served)
    guid = shop.created()
    assert shop.state(guid) == shop.state(guid, "getOperationState") == "Created"
    assert set(served.balances(shop.merchant)) == {"available", "funding"}


def test_sent_to_bank(served: Running) -> None:
    """SentToBank is with the bank, which has confirmed that it has the order; it ends when the bank has paid."""
    shop = Shop(served)
    guid = shop.executed(Amount="50.11")
    shown(shop, guid, "SentToBank")
    assert shop.state(guid, "ExecuteOperation") == "SentToBank"
    shown(shop, guid, "Completed")


def test_completed(served: Running) -> None:
    """Completed is paid."""
    shop = Shop(served)
    shown(shop, shop.executed(), "Completed")
    assert served.balances(shop.merchant)["paid:sandbox"] == "50.00"


@pytest.mark.parametrize("amount", ["50.22", "50.66"])
def test_failed(served: Running, amount: str) -> None:
    """Failed is refused by the provider: not paid, and all of the money is back."""
    shop = Shop(served)
    shown(shop, shop.executed(Amount=amount), "Failed")
    assert served.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


def test_not_enough_money(served: Running) -> None:
    """NotEnoughMoney is not final: nothing is held, and the same id is executed after a top-up."""
    shop = Shop(served, funds="10.00")
    guid = shop.created()
    assert shop.state(guid, "executeOperation") == shop.state(guid) == "NotEnoughMoney"
    assert served.balances(shop.merchant) == {"available": "10.00", "funding": "-10.00"}
    served.top_up(shop.merchant, "90.00")
    assert shop.state(guid) == "NotEnoughMoney"
    assert shop.call("executeOperation", PayoutOperationId=guid).state in ("InProcess", "SentToBank", "Completed")
    shown(shop, guid, "Completed")


def test_canceled(served: Running) -> None:
    """Canceled is cancelled, elsewhere, before it was sent; an execute leaves it so."""
    shop = Shop(served)
    guid = shop.created()
    served.cancel(shop.merchant, guid)
    assert shop.state(guid) == shop.state(guid, "ExecuteOperation") == "Canceled"


def test_error(served: Running) -> None:
    """Error is a payout of which nothing was ever sent: here its sealed details cannot be opened any more."""
    shop = Shop(served)
    guid = shop.created()
    served.rows("UPDATE payouts SET sealed = '\\x00' WHERE payout_id::text = $1", guid)
    assert shop.call("ExecuteOperation", PayoutOperationId=guid).code == 0
    shown(shop, guid, "Error")
    assert set(served.balances(shop.merchant)) == {"available", "funding"}


def age(served: Running, guid: str) -> None:
    """Let the payout have been made 24 hours earlier than it was."""
    for table in ("expiries", "payouts"):
        served.rows(
            f"UPDATE {table} SET expires_at = expires_at - interval '24 hours' WHERE payout_id::text = $1", guid
        )


def test_deleted(served: Running) -> None:
    """An operation that stays Created for 24 hours expires as Deleted, and is not executed any more."""
    shop = Shop(served)
    executed_late, left_alone, young = shop.created(), shop.created(), shop.created()
    [row] = served.rows("SELECT expires_at - created_at AS life FROM payouts WHERE payout_id::text = $1", young)
    assert abs(row["life"].total_seconds() - 24 * 3600) < 60  # made by one clock, over by another
    age(served, executed_late)
    assert shop.state(executed_late, "ExecuteOperation") == "Deleted"
    age(served, left_alone)
    shown(shop, left_alone, "Deleted")
    assert (shop.state(executed_late), shop.state(young)) == ("Deleted", "Created")
    assert set(served.balances(shop.merchant)) == {"available", "funding"}


# --- the word for what is under way -------------------------------------------------------------------------------

WORDS: dict[str, tuple[str, str | None, str]] = {
    "old-execute": ("ExecuteOperation", None, "InProgress"),
    "old-state": ("GetOperationState", None, "InProcess"),
    "new-execute": ("executeOperation", None, "InProcess"),
    "new-state": ("getOperationState", None, "InProcess"),
    "old-execute-forced": ("ExecuteOperation", "InProcess", "InProcess"),
    "old-state-forced": ("GetOperationState", "InProgress", "InProgress"),
    "new-execute-forced": ("executeOperation", "InProgress", "InProgress"),
    "new-state-forced": ("getOperationState", "InProgress", "InProgress"),
}


@pytest.mark.parametrize("case", WORDS)
def test_words_under_way(served: Running, case: str) -> None:
    """While a payout is under way the old ExecuteOperation says InProgress and all others InProcess, unless a setting forces one word."""
    method, forced, word = WORDS[case]
    shop = Shop(served, state_word=forced)
    guid = shop.created(Amount="50.44")  # its answer is lost, and for three seconds the bank knows nothing
    if "xecute" not in method:
        shop.call("ExecuteOperation", PayoutOperationId=guid)
    assert shop.state(guid, method) == word


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "BAD_REQUEST": ("createOperation", {**NEW_PHONE, "Amount": "x"}, {}),
    "TOKEN_EXPIRED": ("createOperation", {**NEW_PHONE, "UserToken": "x"}, {}),
    "WRONG_CREDENTIALS": ("getUserToken", {"Login": "x", "Password": "x"}, {}),
    "UNKNOWN_METHOD": ("payEverybody", {}, {}),
    "UNKNOWN_OPERATION": ("executeOperation", {"PayoutOperationId": str(uuid4())}, {}),
    "PCI_DSS_REQUIRED": ("createOperation", NEW_CARD, {"pci_dss": False}),
    "PAYOUTS_OFF": ("createOperation", NEW_PHONE, {"payouts": "off"}),
    "PAYOUTS_DENIED": ("createOperation", NEW_PHONE, {"payouts": "denied"}),
    "BAD_ACCOUNT": ("createOperation", {**NEW_PHONE, "Account": "8951000007"}, {}),
    "BAD_BANK_ID": ("createOperation", {**NEW_PHONE, "BankId": "100000009999"}, {}),
    "BAD_CURRENCY": ("CreateBankCardRussiaOperation", {**TO_CARD, "Currency": "XYZ"}, {}),
    "NO_ROUTE": ("createOperation", {**NEW_PHONE, "Currency": "JPY"}, {}),
}


@pytest.mark.parametrize("word", REFUSED)
def test_short_codes(served: Running, word: str) -> None:
    """A refusal is code 2 and its reason is in Desc alone, headed by a stable short code in square brackets; nothing sent is repeated."""
    method, params, settings = REFUSED[word]
    shop = Shop(served, **settings)
    reply = shop.call(method, params)
    assert re.match(rf"\[{word}\] \S", reply.desc)
    assert set(reply.body["OperationState"]) == {"Code", "Desc"} and reply.body["OperationState"]["Code"] == 2
    assert not [value for value in params.values() if len(value) > 9 and value in reply.desc]
    assert shop.untouched()
