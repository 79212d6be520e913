"""What people are told at once, in the log: a payout that only they can move. May not live here: who decides that it is so."""

from __future__ import annotations

from uuid import UUID

import structlog

from disburse.domain.identifiers import read_end_to_end_id
from disburse.operations.evidence import Applied, Heard

_log = structlog.get_logger("disburse.desk")


def tell_frozen(message: Heard, applied: Applied) -> None:
    """People have to look at this payout, and nothing moves it before they did."""
    parts, payout, connector = read_end_to_end_id(message.end_to_end_id), applied.payout, message.connector
    if payout is not None:
        _log.error(
            "a payout is frozen: what is known contradicts itself", alert="payout_frozen", merchant=payout.merchant_id,
            payout=str(payout.payout_id), attempt=parts[2] if parts else None, connector=connector,
            reason=applied.effect.removeprefix("frozen:"),
        )  # fmt: skip


def tell_poison(what: str, payout: UUID, fault: Exception) -> None:
    """No list with this payout in it can be done: it is left alone for a while."""
    _log.error("a payout cannot be worked on", operation=what, payout=str(payout), exc_info=fault)
