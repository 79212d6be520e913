"""Money: the grammar that reads amounts, and arithmetic that never mixes currencies; `Fraction` is the oracle."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.money import (
    DIGITS,
    MAX_MINOR,
    BadAmount,
    BadCurrency,
    Money,
    read_amount,
    read_currency,
    read_positive_amount,
)

minors = st.integers(-MAX_MINOR, MAX_MINOR)
currencies = st.sampled_from(["RUB", "JPY", "KWD", "USDT", "TST", "CLF"])


@pytest.mark.parametrize(
    "text, currency, minor",
    [
        ("10", "RUB", 1000),
        ("10.00", "RUB", 1000),
        ("10.0", "RUB", 1000),
        ("10.5", "RUB", 1050),
        ("10.50000000", "RUB", 1050),
        ("100.5", "RUB", 10050),
        ("97", "RUB", 9700),
        ("0.01", "RUB", 1),
        ("0", "RUB", 0),
        ("00010.10", "RUB", 1010),
        ("9999999999999.99", "RUB", 999_999_999_999_999),
        ("10", "JPY", 10),
        ("10.00", "JPY", 10),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("50", "TST", 5000),
        ("0.000001", "USDT", 1),
        ("12.3456780", "USDT", 12_345_678),
        ("1000000000", "USDT", MAX_MINOR),
    ],
)
def test_amounts_that_are_read(text: str, currency: str, minor: int) -> None:
    """An amount is read exactly, whatever zeros its sender prints."""
    assert read_amount(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-10.00",
        "-0",
        "+5",
        ".5",
        "5.",
        ".",
        "1e3",
        "1E3",
        "1e999999",
        "1e-9",
        "NaN",
        "sNaN",
        "Infinity",
        "inf",
        "0x10",
        "1_000",
        "1,000",
        "10,50",
        "1 000",
        "1\u00a0000",
        "\u200f10",
        " 5",
        "5 ",
        "5\n",
        " 5\n",
        "5\x00",
        "1.0.0",
        "10.505",
        "0.001",
        "10.00000001",
        "1.123456789",
        "1.000000000",
        "12345678901234",
        "９",
        "１２",
        "١٢٣",
        "1²",
        "½",
        "\ud800",
        "true",
        "null",
        "9" * 5000,
        "0" * 14,
        "10.00; DROP TABLE payouts",
        "=1+1",
        "{{7*7}}",
    ],
)
def test_amounts_that_are_not(text: str) -> None:
    """Whatever is not a plain ASCII amount that fits roubles exactly is refused, and the refusal does not repeat it."""
    with pytest.raises(BadAmount) as refused:
        read_amount(text, "RUB")
    assert len(text) < 3 or text not in str(refused.value)


@pytest.mark.parametrize(
    "text, currency", [("1.5", "JPY"), ("0.0000001", "USDT"), ("1000000000.000001", "USDT"), ("9999999999999", "USDT")]
)
def test_other_currencies_have_other_digits(text: str, currency: str) -> None:
    """Digits a currency does not have, and amounts beyond 10**15 of its minor units, are refused."""
    with pytest.raises(BadAmount):
        read_amount(text, currency)


@pytest.mark.parametrize("text, allowed", [("10", True), ("10.1", True), ("10.10", True), ("10.100", False)])
def test_a_door_may_be_narrower(text: str, allowed: bool) -> None:
    """With `max_decimals` the digits written are counted, zeros too."""
    if allowed:
        assert read_amount(text, "RUB", max_decimals=2).minor in (1000, 1010)
    else:
        with pytest.raises(BadAmount, match="more than 2 digits"):
            read_amount(text, "RUB", max_decimals=2)


@pytest.mark.parametrize("text", ["0", "0.00", "0000", "0.00000000"])
def test_zero_is_an_amount_but_not_a_payout(text: str) -> None:
    """Zero reads as zero, and the positive reader refuses it."""
    assert read_amount(text, "RUB") == Money.zero("RUB")
    with pytest.raises(BadAmount, match="is zero"):
        read_positive_amount(text, "RUB")


def test_the_smallest_payout() -> None:
    """One minor unit is a payout."""
    assert read_positive_amount("0.01", "RUB") == Money(1, "RUB")


def _oracle(text: str, digits: int) -> int | None:
    """The grammar again, with exact rationals and no shared code."""
    whole, dot, decimals = text.partition(".")
    ascii_digits = set("0123456789")
    if not (1 <= len(whole) <= 13 and set(whole) <= ascii_digits):
        return None
    if dot and not (1 <= len(decimals) <= 8 and set(decimals) <= ascii_digits):
        return None
    value = Fraction(int(whole)) + (Fraction(int(decimals), 10 ** len(decimals)) if dot else 0)
    minor = value * 10**digits
    return int(minor) if minor.denominator == 1 and minor <= MAX_MINOR else None


@settings(deadline=None)
@given(
    st.from_regex(r"[0-9]{0,15}\.?[0-9]{0,10}", fullmatch=True) | st.text("0123456789.,+-eE _\n٣３", max_size=20),
    currencies,
)
def test_reading_agrees_with_exact_rationals(text: str, currency: str) -> None:
    """The reader and an oracle of exact rationals accept the same texts and read the same numbers."""
    expected = _oracle(text, DIGITS[currency])
    if expected is None:
        with pytest.raises(BadAmount):
            read_amount(text, currency)
    else:
        assert read_amount(text, currency).minor == expected


@settings(deadline=None)
@given(minors, currencies)
def test_text_says_exactly_the_amount(minor: int, currency: str) -> None:
    """The text of any amount is its exact value with the currency's digits, and reads back when it is not negative."""
    text = Money(minor, currency).text()
    assert Fraction(text) == Fraction(minor, 10 ** DIGITS[currency])
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text)
    assert len(text.partition(".")[2]) == DIGITS[currency]
    if 0 <= minor < 10**13:
        assert read_amount(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "money, text",
    [
        (Money(1050, "RUB"), "10.50"),
        (Money(-1, "RUB"), "-0.01"),
        (Money(0, "RUB"), "0.00"),
        (Money(7, "JPY"), "7"),
        (Money(-7, "JPY"), "-7"),
        (Money(1_500_000, "USDT"), "1.500000"),
    ],
)
def test_text(money: Money, text: str) -> None:
    """Text has all of the currency's digits, a dot, and nothing else; str adds the currency."""
    assert money.text() == text
    assert str(money) == f"{text} {money.currency}"


@settings(deadline=None)
@given(st.integers(-(10**14), 10**14), st.integers(-(10**14), 10**14))
def test_arithmetic_is_that_of_integers(a: int, b: int) -> None:
    """Sums, differences and comparisons are those of the minor units."""
    left, right = Money(a, "RUB"), Money(b, "RUB")
    assert (left + right).minor == a + b
    assert (left - right).minor == a - b
    assert (-left).minor == -a
    assert (left < right, left <= right, left == right) == (a < b, a <= b, a == b)
    assert (left > right, left >= right) == (a > b, a >= b)


@pytest.mark.parametrize("does", [operator.add, operator.sub, operator.lt, operator.le, operator.gt, operator.ge])
def test_currencies_never_meet(does: Callable[[Money, Money], object]) -> None:
    """Two currencies in one sum or comparison are a mistake of ours; they are merely unequal."""
    with pytest.raises(AssertionError):
        does(Money(1, "RUB"), Money(1, "USD"))
    assert Money(1, "RUB") != Money(1, "USD")


@pytest.mark.parametrize("minor", [1.0, True, "1", None, MAX_MINOR + 1, -MAX_MINOR - 1, float("nan")])
def test_money_is_an_int_within_bounds(minor: int) -> None:
    """Nothing but an int of at most 10**15 either way becomes money, not even a bool."""
    with pytest.raises(AssertionError):
        Money(minor, "RUB")


def test_a_sum_may_not_leave_the_bounds() -> None:
    """A sum beyond the bounds is a broken assumption, not a wrapped or stored number."""
    with pytest.raises(AssertionError):
        Money(MAX_MINOR, "RUB") + Money(1, "RUB")


@pytest.mark.parametrize("text", ["RUB", "USD", "EUR", "JPY", "KZT", "USDT", "TST"])
def test_currencies_we_know(text: str) -> None:
    """ISO 4217's money, the token and the test currency are read as they stand."""
    assert read_currency(text) == text
    assert Money.zero(text).minor == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rub",
        "Rub",
        "RUR",
        "643",
        "RUВ",
        "RUB ",
        " RUB",
        "RUB\n",
        "RU",
        "RUBB",
        "XXX",
        "XTS",
        "XAU",
        "ＲＵＢ",
        "usdt",
        "\x00",
    ],
)
def test_currencies_we_do_not(text: str) -> None:
    """Lower case, withdrawn and numeric codes, look-alike letters and ISO's entries that are not money are refused."""
    with pytest.raises(BadCurrency):
        read_currency(text)
    with pytest.raises(BadCurrency):
        read_amount("10", text)
    with pytest.raises(AssertionError):
        Money(1, text)


def test_refusals_have_stable_names() -> None:
    """Doors translate these refusals by name, and say why in words."""
    assert (BadAmount("is zero").name, BadCurrency().name) == ("bad_amount", "bad_currency")
    assert str(BadAmount("is zero")) == "The amount is zero."
    assert str(BadCurrency()) == "The currency is not known."
