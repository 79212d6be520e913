"""Settings of an IntellectMoney connector: what does not fit together is told whole, and no secret is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from disburse.connectors.intellectmoney_settings import BadIntellectMoneySettings, IntellectMoneySettings, check, reveal
from disburse.connectors.kind import Secret
from disburse.domain.destinations import Rail

GOOD: dict[str, Any] = {"login": "user@example.com", "password": "LEAKED", "bearer": "LEAKED", "sign_secret_key": "LEAKED"}


def made(**more: Any) -> IntellectMoneySettings:
    return msgspec.convert({**GOOD, **more}, IntellectMoneySettings, dec_hook=_secret)


def _secret(wanted: type, value: Any) -> Any:
    assert wanted is Secret
    return Secret(lambda: value)


@pytest.mark.parametrize("more", [
    {}, {"generation": "old"}, {"generation": "old", "bearer": None, "sign_secret_key": None},
    {"base_url": "http://127.0.0.1:8080"}, {"base_url": "http://[::1]:8080/"}, {"rails": ["sbp"]},
    {"currencies": ["RUB", "TST"], "sandbox": True}, {"execute_again_after_s": None}, {"execute_again_after_s": 0},
    {"eshop_id": 456}, {"carrier": "form"}, {"token_s": 60},
])  # fmt: skip
def test_settings_that_fit(more: dict[str, Any]) -> None:
    """These make a connector."""
    check(made(**more))


@pytest.mark.parametrize("more, fault", [
    ({"base_url": "api.intellectmoney.ru"}, "base_url is no URL such as"),
    ({"base_url": "http://api.intellectmoney.ru"}, "base_url is https"),
    ({"base_url": "https://user:LEAKED@api.intellectmoney.ru"}, "base_url carries no login"),
    ({"base_url": "https://api.intellectmoney.ru:0"}, "base_url is no URL such as"),
    ({"base_url": "https://api.intellectmoney.ru:x"}, "base_url is no URL"),
    ({"base_url": "https://[x"}, "base_url is no URL"),
    ({"base_url": "https://api.intellectmoney.ru?LEAKED"}, "base_url is no URL such as"),
    ({"bearer": None}, "bearer is missing: the new generation needs it"),
    ({"sign_secret_key": None, "generation": "old"}, "bearer and sign_secret_key go together"),
    ({"rails": ["qiwi"]}, "rail qiwi is none of the new generation (card, sbp)"),
    ({"rails": ["sbp"], "generation": "old"}, "rail sbp is none of the old generation (card, qiwi)"),
    ({"rails": []}, "without a rail and a currency nothing can be paid"),
    ({"currencies": []}, "without a rail and a currency nothing can be paid"),
    ({"currencies": ["RUR"]}, "currency RUR is not known"),
    ({"currencies": ["JPY"]}, "currency JPY has not two decimals"),
    ({"currencies": ["TST"]}, "TST is test money"),
    ({"token_s": 301}, "token_s is more than 0 and at most 300"),
    ({"token_s": 0}, "token_s is more than 0"),
    ({"execute_again_after_s": -1}, "execute_again_after_s is a number of seconds"),
    ({"eshop_id": 10**10}, "eshop_id is a number of at most ten digits"),
])  # fmt: skip
def test_settings_that_do_not_fit(more: dict[str, Any], fault: str) -> None:
    """Each is refused with its fault, which holds no secret."""
    with pytest.raises(BadIntellectMoneySettings) as refused:
        check(made(**more))
    assert any(one.startswith(fault) for one in refused.value.faults), refused.value.faults
    assert "LEAKED" not in str(refused.value)


def test_all_faults_are_told() -> None:
    """One refusal tells everything that is wrong."""
    with pytest.raises(BadIntellectMoneySettings) as refused:
        check(made(bearer=None, currencies=["JPY"], token_s=0, base_url="http://example.com"))
    assert len(refused.value.faults) == 4


@pytest.mark.parametrize("more, faults", [
    ({"login": ""}, ("login is empty",)),
    ({"password": "", "sign_secret_key": ""}, ("password is empty", "sign_secret_key is empty")),
    ({"bearer": "LEAKED\n"}, ("bearer holds a character that cannot be printed: a line's end, perhaps",)),
])  # fmt: skip
def test_secrets_that_can_be_none(more: dict[str, Any], faults: tuple[str, ...]) -> None:
    """An empty or unprintable secret passes the checks that reveal nothing, and is refused by name when it is read."""
    check(made(**more))
    with pytest.raises(BadIntellectMoneySettings) as refused:
        reveal(made(**more))
    assert refused.value.faults == faults and "LEAKED" not in str(refused.value)


def test_what_is_revealed_shows_nothing() -> None:
    """Secrets in clear are there to be used, not to be seen."""
    found = reveal(made())
    assert (found.login, found.password) == ("user@example.com", "LEAKED") and found.access is not None
    assert "LEAKED" not in repr(found) and "user@example.com" not in repr(found)
    assert reveal(made(generation="old", bearer=None, sign_secret_key=None)).access is None


@pytest.mark.parametrize("more", [{"pasword": "x"}, {"generation": "newest"}, {"carrier": "xml"}, {"eshop_id": "x"}])
def test_unknown_keys_and_words(more: dict[str, Any]) -> None:
    """A key or word that is not known is refused by the struct itself."""
    with pytest.raises(msgspec.ValidationError):
        made(**more)


def test_no_secret_is_shown() -> None:
    """The settings' repr shows no login, password, bearer or key."""
    shown = repr(made())
    assert "LEAKED" not in shown and "user@example.com" not in shown and "generation='new'" in shown


@pytest.mark.parametrize("generation, rails, able", [
    ("new", None, {Rail.CARD, Rail.SBP}), ("old", None, {Rail.CARD, Rail.QIWI}), ("new", ["sbp"], {Rail.SBP}),
])  # fmt: skip
def test_rails(generation: str, rails: list[str] | None, able: set[Rail]) -> None:
    """A generation's rails, narrowed by what the account may do."""
    assert made(generation=generation, rails=rails).able_rails() == able
