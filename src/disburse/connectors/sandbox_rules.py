"""What the sandbox bank does with an amount: the table of design.md section 6, as data.

Lives here: one `Rule` a row, and the look-up. Pure. Who carries the rules out is `sandbox_bank.py`; how an answer is lost or
spoilt is the business of the two doors, `sandbox.py` (in process) and `sandbox_http.py` (on the wire).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from disburse.connectors.sandbox_book import Did
from disburse.domain.money import DIGITS, Money

NOT_FOUND_FINAL_S: Final = 5.0
"""A second not-found so long after the first is final."""

CURRENCIES: Final = frozenset({"RUB", "TST", "USD", "EUR", "USDT"})


class Manner(StrEnum):
    """What happens to an answer on its way."""

    PLAIN = "plain"
    LOST = "lost"
    FAULT = "fault"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Rule:
    """What the bank does at once, what it does `after_s` seconds later, and how it answers and calls back.

    `hidden`: inquiries do not find the order until the later deed. `told_first`: the first callback overtakes the answer.
    """

    first: Did
    then: Did | None = None
    after_s: float = 0.0
    manner: Manner = Manner.PLAIN
    callbacks: int = 0
    told_first: bool = False
    hidden: bool = False
    reason: str = ""
    elsewhere: bool = False


PAYS: Final = Rule(Did.PAID)

RULES: Final[dict[int, Rule]] = {
    11: Rule(Did.ACCEPTED, then=Did.PAID, after_s=3.0, callbacks=1),
    22: Rule(Did.REFUSED, reason="destination cannot receive"),
    33: Rule(Did.PAID, manner=Manner.LOST),
    44: Rule(
        Did.ACCEPTED, then=Did.REFUSED, after_s=3.0, manner=Manner.LOST, hidden=True, reason="refused by the bank"
    ),
    55: Rule(Did.ACCEPTED, then=Did.PAID, callbacks=2, told_first=True),
    66: Rule(Did.REFUSED, reason="provider balance short", elsewhere=True),
    77: Rule(Did.PAID, manner=Manner.FAULT),
    88: Rule(Did.PAID, manner=Manner.UNREADABLE),
    99: Rule(Did.PAID, then=Did.RETURNED, after_s=5.0, callbacks=1),
}
"""By the two digits after the dot; every other amount is paid at once."""

DELAYS: Final = tuple(sorted({rule.after_s for rule in RULES.values() if rule.then is not None}))


def rule_for(amount: Money) -> Rule:
    """The rule for an amount: its first two digits after the dot decide, whatever follows them in currencies with more."""
    digits = DIGITS[amount.currency]
    hundredths = amount.minor // 10 ** (digits - 2) if digits >= 2 else amount.minor * 10 ** (2 - digits)
    return RULES.get(hundredths % 100, PAYS)
