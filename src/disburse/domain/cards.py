"""Card schemes: whose card a number is, told by its first six digits.

Lives here: the ranges. May not live here: which bank issued a card (an operator's file, `disburse.data`), whether a
number is right (`domain/checks.py`). Ranges overlap in the world (Maestro's 6 is wide), so the narrower stands first.
"""

from __future__ import annotations

import re
from typing import Final

VISA: Final = "VISA"
MASTERCARD: Final = "MASTERCARD"
MAESTRO: Final = "MAESTRO"
MIR: Final = "MIR"
UNIONPAY: Final = "UNIONPAY"
JCB: Final = "JCB"
AMEX: Final = "AMEX"
DINERS: Final = "DINERS CLUB"
DISCOVER: Final = "DISCOVER"

# (first six digits from, to, both included, scheme); the first row that holds the number decides
_RANGES: Final = (
    (220000, 220499, MIR),
    (222100, 272099, MASTERCARD),
    (300000, 305999, DINERS),
    (309500, 309599, DINERS),
    (340000, 349999, AMEX),
    (352800, 358999, JCB),
    (360000, 369999, DINERS),
    (370000, 379999, AMEX),
    (380000, 399999, DINERS),
    (400000, 499999, VISA),
    (500000, 509999, MAESTRO),
    (510000, 559999, MASTERCARD),
    (560000, 589999, MAESTRO),
    (601100, 601199, DISCOVER),
    (620000, 629999, UNIONPAY),
    (644000, 659999, DISCOVER),
    (600000, 699999, MAESTRO),
    (810000, 817199, UNIONPAY),
)

_SIX_DIGITS: Final = re.compile(r"[0-9]{6}")


def scheme(bin6: str) -> str | None:
    """The scheme whose range holds these six ASCII digits; None when no range does, or when it is not six digits."""
    if _SIX_DIGITS.fullmatch(bin6) is None:
        return None
    number = int(bin6)
    return next((name for first, last, name in _RANGES if first <= number <= last), None)
