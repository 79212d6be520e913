"""UnitPay sections 3 and 4 on a running server: what a payout's parameters may be, and what is answered about it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.running import Running
from tests.conformance.unitpay_shop import (
    CALLS,
    CARD,
    MEMBER,
    PHONE,
    TO_ADDRESS,
    TO_CARD,
    TO_PHONE,
    TO_PURSE,
    TRON,
    Shop,
    blamed,
    code,
    result,
)
from tests.conformance.wire import pairs, request, until

# --- parameters ---------------------------------------------------------------------------------------------------

REQUIRED = {
    "method": "method",
    "login": "login",
    "secretKey": "secretKey",
    "purse": "purse",
    "transactionId": "transactionId",
    "sum": "sum",
    "paymentType": "paymentType",
    "memberId": "memberId",
}


@pytest.mark.parametrize("case", REQUIRED)
def test_required(served: Running, case: str) -> None:
    """A required parameter that is missing or blank is -32602 naming it; memberId is required for SBP."""
    shop = Shop(served)
    for value in (None, "", "%20"):
        whole = {"method": "massPayment", **shop.params({**TO_PHONE})}
        del whole[case]
        query = pairs((n if n == "method" else f"params[{n}]", v) for n, v in whole.items())
        if value is not None:
            query += f"&{case}={value}"
        assert blamed(shop.send(request("GET", f"/api?{query}"))) == case
    assert shop.payouts() == 0


@pytest.mark.parametrize("method", ["MassPayment", "masspayment", "mass_payment", "massPayments"])
def test_method_as_written(served: Running, method: str) -> None:
    """The method's name counts as it is written, case and all."""
    assert blamed(Shop(served).ask(method, TO_CARD)) == "method"


PURSES = {
    "card": (TO_CARD, CARD, "411111******1111"),
    "card-in-groups": (TO_CARD, "4111 1111 1111 1111", "411111******1111"),
    "phone": (TO_PHONE, PHONE, "+7951*****71"),
    "phone-with-plus": (TO_PHONE, f"+{PHONE}", "+7951*****71"),
    "phone-as-people-write": (TO_PHONE, "+7 (951) 000-00-71", "+7951*****71"),
    "wallet": (TO_PURSE, "R123456789012", "R123*******12"),
    "address": (TO_ADDRESS, TRON, TRON[:4] + "*" * 26 + TRON[-4:]),
}


@pytest.mark.parametrize("case", PURSES)
def test_purses(served: Running, case: str) -> None:
    """A purse is a card (spaces allowed), a phone (plus, spaces, brackets and hyphens stripped), a wallet or an address."""
    shop = Shop(served)
    call, purse, shown = PURSES[case]
    assert shop.paid(call, purse=purse)["status"] == "success"
    [row] = served.rows("SELECT display FROM payouts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert row["display"] == shown


BAD_PURSES = {
    "phone-of-10-digits": (TO_PHONE, "9510000071", 1053),
    "phone-with-8": (TO_PHONE, "89510000071", 1053),
    "phone-of-12-digits": (TO_PHONE, "795100000711", 1053),
    "letters-in-a-card": (TO_CARD, "4111 1111 1111 111O", 1052),
    "card-fails-luhn": (TO_CARD, "4111111111111112", 1052),
    "card-of-20-digits": (TO_CARD, "41111111111111111115", 1052),
    "wallet-without-letter": (TO_PURSE, "123456789012", 1051),
    "address-fails-checksum": (TO_ADDRESS, TRON[:-1] + "u", 1051),
}


@pytest.mark.parametrize("case", BAD_PURSES)
def test_bad_purses(served: Running, case: str) -> None:
    """A purse that fails its check is refused by its kind's code, on a sandbox too."""
    shop = Shop(served)
    call, purse, expected = BAD_PURSES[case]
    assert code(shop.pay(call, purse=purse)) == expected
    assert shop.payouts() == 0


REFERENCES = {
    "number": "1782",
    "uuid": "7f3c2f4e-5f0a-4d3e-9f57-0b7f0f6f7a10",
    "prefixed": "payout-1782",
    "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "cyrillic": "выплата 1782/7",
    "long": "x" * 200,
}


@pytest.mark.parametrize("case", REFERENCES)
def test_transaction_ids(served: Running, case: str) -> None:
    """transactionId is the caller's own text; it comes back as it was sent."""
    shop = Shop(served)
    assert shop.paid(transactionId=REFERENCES[case])["transactionId"] == REFERENCES[case]
    assert result(shop.status(REFERENCES[case]))["transactionId"] == REFERENCES[case]


@pytest.mark.parametrize("left, right", [("7", "007"), ("a", "A"), ("1e3", "1000")])
def test_transaction_ids_are_texts(served: Running, left: str, right: str) -> None:
    """An id is text, not a number: what is written differently is another payout."""
    shop = Shop(served)
    assert shop.paid(transactionId=left)["payoutId"] != shop.paid(transactionId=right)["payoutId"]
    assert result(shop.status(right))["transactionId"] == right


@pytest.mark.parametrize("kind", ["card", "webmoney", "usdt", "sbp"])
def test_payment_types(served: Running, kind: str) -> None:
    """The seed's four kinds are paid."""
    assert Shop(served).paid(CALLS[kind], transactionId=kind)["status"] == "success"


SUMS = {
    "whole": ("10", 1000),
    "two-decimals": ("10.00", 1000),
    "python-float": ("10.0", 1000),
    "one-decimal": ("10.5", 1050),
    "sdk-float": ("100.5", 10050),
    "php-arithmetic": ("97", 9700),
    "documented-100": ("100", 10000),
    "documented-22": ("10.22", 1022),
    "eight-decimals": ("10.50000000", 1050),
    "trimmed": (" 10.05\t", 1005),
    "leading-zeros": ("007.25", 725),
    "smallest": ("1.01", 101),
}


@pytest.mark.parametrize("case", SUMS)
def test_sums(served: Running, case: str) -> None:
    """A sum is read as programs write numbers, in roubles, and echoed in the caller's own text, trimmed."""
    shop = Shop(served)
    text, minor = SUMS[case]
    assert shop.paid(TO_PURSE, sum=text)["sum"] == text.strip()
    [row] = served.rows("SELECT amount_minor, currency FROM payouts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert tuple(row) == (minor, "RUB")


BAD_SUMS = [
    "-10.00", "0", "0.00", "-0", "10,50", "10,5", "10.505", "10.001", "+10", "1e3", "1e999999", "0x10", "10.", ".5", "1 000", "1_000",
    "٣", "10.00.00", "NaN", "inf", "12345678901234", "10.500000000",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_SUMS, ids=range(len(BAD_SUMS)))
def test_bad_sums(served: Running, text: str) -> None:
    """A comma, three significant decimals, zero, less than zero and whatever else is not the grammar are -32602 naming sum."""
    shop = Shop(served)
    assert blamed(shop.pay(sum=text)) == "sum"
    assert shop.payouts() == 0


def test_minimum(served: Running) -> None:
    """A sum must be above one rouble: 102."""
    shop = Shop(served)
    assert [code(shop.pay(TO_PURSE, sum=text)) for text in ("0.01", "0.99", "1", "1.00")] == [102] * 4
    assert shop.payouts() == 0


def test_member_id(served: Running) -> None:
    """memberId is a bank of getSbpBankList, by its 12 digits; any other is -32602 naming it."""
    shop = Shop(served)
    for member in ("1", "100000009999", "10000000000a", "1000000000041"):
        assert blamed(shop.pay(TO_PHONE, memberId=member)) == "memberId"
    assert re.fullmatch("[0-9]{12}", MEMBER)
    assert shop.paid(TO_PHONE)["status"] == "success"


def test_default_bank(served: Running) -> None:
    """An account's default bank fills in for a memberId that is not sent."""
    shop = Shop(served)
    assert blamed(shop.pay(TO_PHONE, memberId=None)) == "memberId"
    served.set(shop.merchant, sbp_bank=MEMBER)
    assert shop.paid(TO_PHONE, memberId=None)["status"] == "success"


@pytest.mark.parametrize("project", ["135", "", "any text"])
def test_project_id(served: Running, project: str) -> None:
    """projectId may be sent, of any type, and makes no difference."""
    assert Shop(served).paid(projectId=project)["status"] == "success"


COMMENTS = {
    "allowed": ("Выплата 1782, июль.", "Выплата 1782, июль."),
    "dropped": ("Бонус <b>№ 5</b> - 100%!", "Бонус b 5b  100"),
    "nothing-left": ("---", None),
}


@pytest.mark.parametrize("case", COMMENTS)
def test_comments(served: Running, case: str) -> None:
    """Of a comment letters, digits, dots, commas and spaces are kept; the rest is dropped, and nothing is refused."""
    shop = Shop(served)
    sent, kept = COMMENTS[case]
    assert "comment" not in shop.paid(comment=sent)
    [row] = served.rows("SELECT comment FROM payouts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert row["comment"] == kept


# --- answers ------------------------------------------------------------------------------------------------------

FIELDS = {
    "message": r".+",
    "status": r"success",
    "payoutId": r"[0-9]{1,16}",
    "partnerBalance": r"99989\.65",
    "createDate": r"20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
    "completeDate": r"20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
    "sum": r"10\.00",
    "payoutCommission": r"0\.35",
    "partnerCommission": r"0\.00",
    "transactionId": r"1782",
}


@pytest.mark.parametrize("field", FIELDS)
def test_answer_field(served: Running, field: str) -> None:
    """Every field of a paid payout's answer is a string of its form, in massPayment and massPaymentStatus alike."""
    shop = Shop(served)
    made = shop.paid()
    assert type(made[field]) is str and re.fullmatch(FIELDS[field], made[field])
    assert result(shop.status())[field] == made[field]
    assert set(made) == set(FIELDS)


def test_dates_are_moscow_time(served: Running) -> None:
    """Dates are UTC+3 without a zone: the moment of the call and of the end."""
    before = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    made = Shop(served).paid()
    created, completed = (
        datetime.fromisoformat(made[name]) - timedelta(hours=3) for name in ("createDate", "completeDate")
    )
    assert before <= created <= completed <= datetime.now(UTC).replace(tzinfo=None)


def test_payout_id_as_a_number(served: Running) -> None:
    """payoutId is a string, and a number for an account that switched to it."""
    shop = Shop(served)
    as_text = shop.paid()["payoutId"]
    served.set(shop.merchant, payout_id_as_number=True)
    assert shop.paid()["payoutId"] == int(as_text) and type(shop.paid()["payoutId"]) is int


def test_success(served: Running) -> None:
    """`success` is paid, and final: the money is gone from the balance, the fee with it."""
    shop = Shop(served)
    assert shop.paid()["status"] == result(shop.status())["status"] == "success"
    assert served.balances(shop.merchant) == {
        "available": "99989.65", "fees": "0.35", "funding": "-100000.00", "paid:sandbox": "10.00",
    }  # fmt: skip


def test_not_completed(served: Running) -> None:
    """`not_completed` is accepted and not yet confirmed, has no completeDate, and ends when the bank confirms: polling shows it."""
    shop = Shop(served, answer_wait_ms=300)
    made = shop.paid(sum="10.11")
    assert made["status"] == "not_completed" and set(made) == set(FIELDS) - {"completeDate"}
    done = until(lambda: result(shop.status()), lambda one: one["status"] != "not_completed")
    assert (done["status"], done["payoutId"]) == ("success", made["payoutId"])
    assert "completeDate" in done


def test_error(served: Running) -> None:
    """A payout that a bank refuses is `result` with `error`, its reason in the message, and its money is on the balance again."""
    shop = Shop(served)
    made = shop.paid(sum="10.22")
    assert (made["status"], made["partnerBalance"], made["payoutCommission"]) == ("error", "100000.00", "0.00")
    asked = result(shop.status())
    assert (asked["status"], asked["payoutId"]) == ("error", made["payoutId"])
    assert "получатель не может принять" in asked["message"]
    assert served.balances(shop.merchant) == {"available": "100000.00", "funding": "-100000.00"}


def test_started_at_once(served: Running) -> None:
    """A payout is started at once: nothing but massPayment was called and the bank has it."""
    shop = Shop(served)
    shop.paid(sum="10.22")
    kinds = served.rows("SELECT state FROM attempts WHERE merchant_id = $1", shop.merchant.merchant_id)
    assert [row["state"] for row in kinds] == ["rejected"]


# --- massPaymentStatus --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["login", "secretKey", "transactionId"])
def test_status_requires(served: Running, name: str) -> None:
    """massPaymentStatus needs login, secretKey and transactionId."""
    shop = Shop(served)
    shop.paid()
    assert blamed(shop.ask("massPaymentStatus", {"transactionId": "1782", name: None})) == name


def test_status_of_an_unknown_id(served: Running) -> None:
    """An id that no payout has is -32602 naming transactionId, and so is one of another account."""
    shop, other = Shop(served), Shop(served)
    other.paid()
    assert blamed(shop.status("never seen")) == "transactionId"
    assert blamed(shop.status()) == "transactionId"


LANGUAGES = {
    "ru": ("проведена", "Неверные параметры", "Номер карты"),
    "en": ("is made", "Bad request", "card number"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_language(served: Running, language: str) -> None:
    """Messages are Russian unless the account's setting says English."""
    settings: dict[str, Any] = {"language": language} if language == "en" else {}
    shop = Shop(served, **settings)
    paid, bad, card = LANGUAGES[language]
    assert paid in shop.paid()["message"]
    assert bad in shop.pay(transactionId=None)["error"]["message"]
    assert card in shop.pay(transactionId="2", purse="4111111111111112")["error"]["message"]
