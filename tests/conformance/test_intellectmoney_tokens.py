"""IntellectMoney sections 4 and 5 on a running server: getUserToken, a token's life, access levels, what is required of whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from disburse.operations.secrets import digest
from tests.conformance.intellectmoney_shop import (
    ACCEPT_JSON,
    NEW_CARD,
    NEW_PHONE,
    TO_CARD,
    TO_WALLET,
    Shop,
    path_of,
    sign,
)
from tests.conformance.running import Running, running
from tests.conformance.wire import FORM, JSON, pairs

CARRIERS: dict[str, tuple[str | None, Callable[[dict[str, str]], str]]] = {
    "form": (FORM, lambda p: pairs(p.items())),
    "json": (JSON, json.dumps),
    "query": (None, lambda p: pairs(p.items())),
}


@pytest.mark.parametrize("case", CARRIERS)
def test_a_token_is_given(served: Running, case: str) -> None:
    """The cabinet's Login and Password, as form, JSON or query, get a token: a string of at least 128 random bits that works."""
    shop = Shop(served)
    kind, written = CARRIERS[case]
    body = written({"Login": shop.merchant.login, "Password": "p@ss word"})
    if kind is None:
        reply = shop.post(path_of("getUserToken"), "", ACCEPT_JSON, query=body)
    else:
        reply = shop.post(path_of("getUserToken"), body, ACCEPT_JSON, f"Content-Type: {kind}")
    token = reply.result["UserToken"]
    assert type(token) is str and 32 <= len(token) <= 128
    assert shop.call("createOperation", {**NEW_PHONE, "UserToken": token}).state == "Created"


def test_several_tokens_live(served: Running) -> None:
    """Every call gives another token and all of them are alive at once."""
    shop = Shop(served)
    login = {"Login": shop.merchant.login, "Password": "p@ss word"}
    tokens = {shop.call("getUserToken", login).result["UserToken"] for _ in range(3)} | {shop.token}
    assert len(tokens) == 4
    assert all(shop.call("createOperation", {**NEW_PHONE, "UserToken": token}).state == "Created" for token in tokens)


WRONG = {
    "password": {"Password": "wrong"},
    "case-of-password": {"Password": "P@SS WORD"},
    "login": {"Login": "nobody@example.com"},
    "both": {"Login": "nobody@example.com", "Password": "wrong"},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_credentials(served: Running, case: str) -> None:
    """Wrong credentials are OperationState 2 with a null Result, in one text for all, not a State 2 under a 0."""
    shop = Shop(served)
    login = {"Login": shop.merchant.login, "Password": "p@ss word"}
    replies = [shop.call("getUserToken", {**login, **WRONG[one]}) for one in (case, "password")]
    assert [reply.word for reply in replies] == ["WRONG_CREDENTIALS"] * 2
    assert replies[0].desc == replies[1].desc


@pytest.mark.parametrize("name", ["Login", "Password"])
def test_required(served: Running, name: str) -> None:
    """Login and Password are both needed."""
    shop = Shop(served)
    login = {"Login": shop.merchant.login, "Password": "p@ss word", name: ""}
    assert shop.call("getUserToken", login).word == "BAD_REQUEST"


@pytest.mark.parametrize(
    "method", ["CreateBankCardRussiaOperation", "createOperation", "ExecuteOperation", "getOperationState"]
)
def test_a_token_ends(served: Running, method: str) -> None:
    """A token whose time is over is refused by every method, with a code that says so, and one nobody gave out looks the same."""
    shop = Shop(served, minutes=-1)
    assert shop.call(method).word == shop.call(method, UserToken="nobody's").word == "TOKEN_EXPIRED"
    assert shop.untouched()


def minutes_left(served: Running, token: str) -> float:
    [row] = served.rows("SELECT expires_at FROM tokens WHERE token_digest = $1", digest(token))
    left: float = (row[0] - datetime.now(UTC)).total_seconds() / 60
    return left


def test_half_an_hour_sliding(served: Running) -> None:
    """A new token lives for 30 minutes, and one that is used has 30 minutes again."""
    shop = Shop(served, minutes=5)
    login = {"Login": shop.merchant.login, "Password": "p@ss word"}
    assert 29 < minutes_left(served, shop.call("getUserToken", login).result["UserToken"]) <= 30
    assert minutes_left(served, shop.token) < 5
    assert shop.call("createOperation", NEW_PHONE).state == "Created"
    assert 29 < minutes_left(served, shop.token) <= 30


def test_the_half_hour_is_a_setting(server: Callable[[str], str], template: str, tmp_path: Path) -> None:
    """How long a token lives is a setting of the installation."""
    with running(server, template, tmp_path, token_life_s=600.0) as served:
        shop = Shop(served)
        token = shop.call("getUserToken", {"Login": shop.merchant.login, "Password": "p@ss word"}).result["UserToken"]
        assert 9 < minutes_left(served, token) <= 10


# --- levels -------------------------------------------------------------------------------------------------------

LEVELS = {
    "card-old": ("CreateBankCardRussiaOperation", TO_CARD, False),
    "card-on-the-wallets-path": ("CreateQiviWalletOperation", TO_CARD, False),
    "card-new": ("createOperation", NEW_CARD, False),
    "wallet": ("CreateQiwiWalletOperation", TO_WALLET, True),
    "phone": ("createOperation", NEW_PHONE, True),
}


@pytest.mark.parametrize("case", LEVELS)
def test_levels(served: Running, case: str) -> None:
    """Below PCI DSS everything is served but creation to a card, which is code 2 with a Desc saying so; at PCI DSS all is."""
    method, order, basic = LEVELS[case]
    shop = Shop(served, pci_dss=False)
    reply = shop.call(method, order)
    if basic:
        assert shop.call("ExecuteOperation", PayoutOperationId=reply.guid).code == 0
        assert shop.call("GetOperationState", PayoutOperationId=reply.guid).code == 0
    else:
        assert reply.word == "PCI_DSS_REQUIRED" and "PCI DSS" in reply.desc and shop.untouched()
    assert Shop(served, pci_dss=True).call(method, order).state == "Created"


ORDERS = {
    "createOperation": (NEW_PHONE, ("OutSbp", "", NEW_PHONE["Account"], NEW_PHONE["BankId"], "50", "RUB", "", "")),
    "executeOperation": ({"PayoutOperationId": "?"}, ("?",)),
    "getOperationState": ({"PayoutOperationId": "?"}, ("?",)),
}


@pytest.mark.parametrize("method", ORDERS)
def test_bearer_and_sign_where_required(served: Running, method: str) -> None:
    """With require_sign both headers are needed on every payout method, and right ones let in."""
    shop = Shop(served)
    guid = shop.created()
    served.set(shop.merchant, require_sign=True)
    params, segments = ORDERS[method]
    params = {name: guid if value == "?" else value for name, value in params.items()}
    bearer = f"Authorization: Bearer {shop.bearer}"
    signed = f"Sign: {sign(shop.token, *(guid if one == '?' else one for one in segments))}"
    assert shop.call(method, params).word == "BEARER_REQUIRED"
    assert shop.call(method, params, signed).word == "BEARER_REQUIRED"
    assert shop.call(method, params, bearer).word == "SIGN_REQUIRED"
    assert shop.call(method, params, bearer, "Sign: 00").word == "WRONG_SIGN"
    assert shop.call(method, params, f"{bearer}x", signed).word == "WRONG_BEARER"
    assert shop.call(method, params, bearer, signed).code == 0


@pytest.mark.parametrize("method", ORDERS)
def test_neither_where_not_required(served: Running, method: str) -> None:
    """A client of the seed's days sends neither header and is served; a Sign that is there must be right all the same."""
    shop = Shop(served)
    params = ORDERS[method][0] | ({} if method == "createOperation" else {"PayoutOperationId": shop.created()})
    assert shop.call(method, params).code == 0
    assert shop.call(method, params, f"Authorization: Bearer {shop.bearer}").code == 0
    assert shop.call(method, params, "Sign: 00").word == "WRONG_SIGN"


def test_headers_of_a_get_user_token(served: Running) -> None:
    """Where it is required, getUserToken needs both headers too."""
    shop = Shop(served, require_sign=True)
    login = {"Login": shop.merchant.login, "Password": "p@ss word"}
    signed = f"Sign: {sign('', shop.merchant.login, 'p@ss word', '')}"
    assert shop.call("getUserToken", login).word == "BEARER_REQUIRED"
    assert "UserToken" in shop.call("getUserToken", login, f"Authorization: Bearer {shop.bearer}", signed).result
