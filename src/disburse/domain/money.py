"""Money: whole minor units of one currency, and the only grammar that reads an amount from text.

Lives here: `Money`, the digits of each currency, the readers of amounts and currencies and their refusals.
May not live here: fees (`domain/fees.py`), floats, `Decimal`, rounding of any kind. An amount that does not fit its
currency's digits exactly is refused, never rounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import iso4217

from disburse.domain.refusals import Refusal

MAX_MINOR: Final = 10**15
"""No amount, balance or sum of ours goes beyond this many minor units, either way (reliability.md, L6)."""

_OUR_OWN: Final = {
    "USDT": 6,  # a token, not in ISO 4217; both TRC20 and ERC20 contracts count six digits
    "TST": 2,  # IntellectMoney's test money (intellectmoney.md section 9)
}

DIGITS: Final[dict[str, int]] = {
    **{currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None},
    **_OUR_OWN,
}
"""Digits after the dot, by currency. ISO's entries without minor units (gold, test codes) are not money here."""

_SCALE: Final = {currency: 10**digits for currency, digits in DIGITS.items()}
_AMOUNT: Final = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,8}))?")


class BadAmount(Refusal):
    """The amount cannot be read. `why` reads after the words "the amount"; it never repeats what was sent."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"The amount {why}.")


class BadCurrency(Refusal):
    """The currency is not one we know. `why` reads after the words "the currency"."""

    def __init__(self, why: str = "is not known") -> None:
        self.why = why
        super().__init__(f"The currency {why}.")


def minor_text(minor: int, currency: str) -> str:
    """So many minor units as `Money.text` writes them, and of any size: what an account has seen in years has no bound."""
    digits = DIGITS[currency]
    if digits == 0:
        return str(minor)
    whole, rest = divmod(abs(minor), _SCALE[currency])
    return f"{'-' if minor < 0 else ''}{whole}.{rest:0{digits}d}"


@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units of a currency, negative ones too. Different currencies never meet in one sum or comparison.

    Raises AssertionError when built from anything but an int within `MAX_MINOR` and a known currency: that is our
    mistake, since whatever the world sends went through `read_amount`.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int or not -MAX_MINOR <= self.minor <= MAX_MINOR:
            raise AssertionError("money is an int of minor units, at most 10**15 either way")
        if self.currency not in DIGITS:
            raise AssertionError("money needs a currency we know")

    @classmethod
    def zero(cls, currency: str) -> Money:
        """Nothing, in this currency."""
        return cls(0, currency)

    def text(self) -> str:
        """The amount with all of its currency's digits and a dot: "10.50" roubles, "10" yen, "-0.01"."""
        return minor_text(self.minor, self.currency)

    def __str__(self) -> str:
        return f"{self.text()} {self.currency}"

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(self.minor - other.minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.minor <= other.minor

    def __gt__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.minor > other.minor

    def __ge__(self, other: Money) -> bool:
        self._same_currency(other)
        return self.minor >= other.minor

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise AssertionError(f"money of two currencies met: {self.currency} and {other.currency}")


def read_currency(text: str) -> str:
    """The currency named by three ASCII capitals (ISO 4217, or TST) or USDT; exactly as written, nothing is folded.

    Raises BadCurrency: lower case, numeric codes, withdrawn codes (RUR) and look-alike letters are all unknown.
    """
    if text not in DIGITS:
        raise BadCurrency
    return text


def read_amount(text: str, currency: str, *, max_decimals: int | None = None) -> Money:
    """Read an amount: 1 to 13 ASCII digits and, after a dot, 1 to 8 more (design.md section 4). Zero is an amount here.

    Digits beyond the currency's must be zeros. `max_decimals` lets a door be narrower: at most so many digits may be
    written after the dot, zeros or not. Raises BadAmount, and BadCurrency when the currency is not known.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise BadAmount("is not a plain number such as 10 or 10.50")
    scale = _SCALE.get(currency)
    if scale is None:
        raise BadCurrency
    whole, decimals = match.groups()
    minor = int(whole) * scale
    if decimals is not None:
        if max_decimals is not None and len(decimals) > max_decimals:
            raise BadAmount(f"has more than {max_decimals} digits after the dot")
        digits = DIGITS[currency]
        if decimals[digits:].strip("0"):
            raise BadAmount(f"has more digits after the dot than the {digits} of {currency}")
        minor += int(decimals[:digits].ljust(digits, "0") or "0")
    if minor > MAX_MINOR:
        raise BadAmount("is too large")
    return Money(minor, currency)


def read_positive_amount(text: str, currency: str, *, max_decimals: int | None = None) -> Money:
    """`read_amount` that refuses zero: nobody is paid nothing. Raises BadAmount, BadCurrency."""
    amount = read_amount(text, currency, max_decimals=max_decimals)
    if amount.minor == 0:
        raise BadAmount("is zero")
    return amount
