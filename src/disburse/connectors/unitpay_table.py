"""What UnitPay's error codes prove about a payout: a table, not code. Source: unitpay.md sections 4 and 11.

Lives here: one row a code, and the table's version, which alerts carry. May not live here: how an answer is read
(`protocols/unitpay_upstream.py`), and what is done with a reading (`unitpay.py`). A code that is not listed is doubt and an
alert. Change a row only with a source, and the version with it.

How the columns read. `order`: the answer to a massPayment, which this connector sends once for each id, so a listed refusal
proves that nothing was made. `known`: the answer to a massPaymentStatus about an order that the provider is known to have
taken; about any other order no code proves anything. Codes that speak of the account or of the question prove nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VERSION: Final = "2026-11-21"


class Proves(StrEnum):
    """What an error code establishes."""

    REFUSED = "refused"
    """Nothing moved, and the cause lies in the payout: no other route is tried."""

    REFUSED_HERE = "refused_here"
    """Nothing moved, and the cause lies in this provider or in our account there: another route may do."""

    TURNED_AWAY = "turned_away"
    """Nothing moved and no payout is to blame: our key is wrong. The payout waits, and the connector rests."""

    NOTHING = "nothing"
    """Doubt."""


@dataclass(frozen=True, slots=True)
class Row:
    """One code. `reason` is what people are told of a refusal.

    `alert` names what a person should see to; `everywhere`: in the answer to any question, not to an order alone.
    """

    code: int
    order: Proves
    known: Proves
    reason: str
    alert: str | None = None
    everywhere: bool = False


P = Proves
ROWS: Final = (
    Row(100, P.REFUSED_HERE, P.NOTHING, "the provider has switched payouts off", "account_refused", everywhere=True),
    Row(101, P.REFUSED_HERE, P.NOTHING, "the provider does not let our account pay out", "account_refused", everywhere=True),
    Row(102, P.REFUSED_HERE, P.NOTHING, "the sum is below the provider's minimum"),
    Row(103, P.REFUSED_HERE, P.NOTHING, "the balance at the provider is short"),
    Row(104, P.REFUSED_HERE, P.REFUSED_HERE, "the provider does not serve the phone's country"),
    Row(105, P.REFUSED, P.REFUSED, "the provider cannot read the wallet"),
    Row(106, P.REFUSED_HERE, P.NOTHING, "the sum is above the provider's maximum"),
    Row(122, P.REFUSED_HERE, P.REFUSED_HERE, "the provider cannot pay to this destination"),
    Row(201, P.NOTHING, P.NOTHING, "the provider could not send the money"),
    Row(1000, P.REFUSED_HERE, P.NOTHING, "the sum is below the provider's minimum"),
    Row(1051, P.REFUSED, P.REFUSED, "the provider cannot read the wallet"),
    Row(1052, P.REFUSED, P.REFUSED, "the provider cannot read the card number"),
    Row(1053, P.REFUSED, P.REFUSED, "the provider cannot read the phone number"),
    Row(-32000, P.TURNED_AWAY, P.NOTHING, "the provider does not take our key", "key_refused", everywhere=True),
    Row(-32602, P.REFUSED_HERE, P.NOTHING, "the provider does not take the order's parameters", "request_refused"),
    Row(-32603, P.NOTHING, P.NOTHING, "the provider had an internal fault"),
)

TABLE: Final[Mapping[int, Row]] = {row.code: row for row in ROWS}

UNKNOWN_ID: Final = -32602
"""The code by which massPaymentStatus may say that it does not know an id. No page says so, and it proves nothing (section 4)."""

REFUSED_STATUS: Final = "refused by the provider"
"""The reason of a payout that came back with status error: the provider's own words are not for our books."""
