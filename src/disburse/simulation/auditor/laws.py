"""The law as the auditor knows it, written from the design's own tables: who may follow whom, where money may go and lie.

Lives here: tables alone, as plain words. They say again what the product's code says, on purpose: a mistake there is not one here.
"""

from __future__ import annotations

from typing import Final

FINAL: Final = frozenset({"paid", "failed", "cancelled", "expired", "returned"})
WAITS_FOR_ITS_MERCHANT: Final = frozenset({"created", "unfunded"})
DEAD: Final = frozenset({"rejected", "not_sent"})
ASKED_ABOUT: Final = frozenset({"open", "accepted", "unknown"})

_EXECUTED = frozenset({"queued", "scheduled", "awaiting_approval", "unfunded", "cancelled", "expired"})
STEPS: Final[dict[str, frozenset[str]]] = {
    "nothing": frozenset({"created", "queued", "scheduled", "awaiting_approval", "unfunded"}),
    "created": _EXECUTED,
    "unfunded": _EXECUTED,
    "awaiting_approval": frozenset({"queued", "scheduled", "cancelled", "expired"}),
    "scheduled": frozenset({"queued", "cancelled"}),
    "queued": frozenset({"in_flight", "cancelled", "failed", "paid"}),
    "in_flight": frozenset({"paid", "failed", "queued", "in_doubt", "returned"}),
    "in_doubt": frozenset({"in_flight", "paid", "failed", "queued", "returned"}),
    "paid": frozenset({"returned"}),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
    "returned": frozenset({"returned"}),
}
"""From a state to those that may be told next. "returned" of a payout under way: the return was heard of before the payment."""

STAYS: Final = frozenset({"payout.accepted", "payout.frozen", "payout.thawed", "payout.executed_again"})
"""Kinds of events that tell of a payout and leave its state."""

AFTER_THE_END: Final = frozenset({"payout.returned", "payout.frozen", "payout.thawed"})
"""Kinds of events that a payout may have after a final state."""

ATTEMPT_STEPS: Final[dict[str, frozenset[str]]] = {
    "due": frozenset({"open", "not_sent"}),
    "open": frozenset({"accepted", "unknown", "settled", "rejected", "not_sent"}),
    "accepted": frozenset({"settled", "rejected"}),
    "unknown": frozenset({"accepted", "settled", "rejected", "not_sent"}),
    "settled": frozenset(),
    "rejected": frozenset(),
    "not_sent": frozenset(),
}
"""From one commit to the next. Several messages in one commit may take several steps; the sums of those are listed too."""

LIVE_ATTEMPT: Final[dict[str, frozenset[str]]] = {
    "created": frozenset(), "unfunded": frozenset(), "awaiting_approval": frozenset({"due"}), "scheduled": frozenset({"due"}),
    "queued": frozenset({"due"}), "in_flight": frozenset({"open", "accepted"}), "in_doubt": frozenset({"unknown"}),
    "paid": frozenset({"settled"}), "returned": frozenset({"settled"}),
    "failed": frozenset(), "cancelled": frozenset(), "expired": frozenset(),
}  # fmt: skip
"""What the one live attempt of a payout in this state is; none where nothing stands."""

MAY_LACK_ATTEMPT: Final = frozenset({"awaiting_approval", "scheduled"})

PROOFS: Final[dict[str, frozenset[str]]] = {
    "accepted": frozenset({"Accepted"}),
    "unknown": frozenset({"Unknown", "NotFound", "NotExecuted"}),
    "settled": frozenset({"Settled", "Returned", "VouchedPaid"}),
    "rejected": frozenset({"Rejected", "VouchedNotMoved"}),
    "not_sent": frozenset({"NotSent", "Absent", "NotFound"}),
}
"""What must have been stored about an attempt that was sent before it may be in this state."""

WHO_MAY_SAY: Final[dict[str, frozenset[str]]] = {
    "NotSent": frozenset({"answer"}),  # only the call itself knows that nothing was written
    "Rejected": frozenset({"answer", "inquiry", "callback"}),
    "Absent": frozenset({"answer", "inquiry", "callback"}),
    "Settled": frozenset({"answer", "inquiry", "callback"}),
    "Returned": frozenset({"answer", "inquiry", "callback"}),
    "Accepted": frozenset({"answer", "inquiry", "callback"}),
    "VouchedPaid": frozenset({"person"}),
    "VouchedNotMoved": frozenset({"person"}),
}
"""Kinds of messages that may carry a verdict; one that is not named may come by any. A lapsed lease proves nothing."""

OWN: Final = frozenset({"available", "held", "in_flight", "in_doubt"})
"""Kinds of accounts whose money is the merchant's. What is in the others has left it."""

SET_ASIDE: Final = ("held", "in_flight", "in_doubt")
MAY_BE_NEGATIVE: Final = frozenset({"funding", "suspense"})
MOST_MINOR: Final = 10**15

ROUTES: Final = frozenset({
    ("top_up", "funding", "available"), ("withdrawal", "available", "funding"),
    ("hold", "available", "held"), ("claim", "held", "in_flight"),
    ("doubt", "in_flight", "in_doubt"), ("heard", "in_doubt", "in_flight"),
    ("paid", "in_flight", "paid"), ("paid", "in_doubt", "paid"), ("fee", "held", "fees"),
    ("try_again", "in_flight", "held"), ("try_again", "in_doubt", "held"),
    ("release", "held", "available"), ("release", "in_flight", "available"), ("release", "in_doubt", "available"),
    ("returned", "paid", "available"), ("returned", "suspense", "available"),
    ("contradiction", "suspense", "paid"), ("reversal", "paid", "suspense"), ("reversal", "available", "funding"),
    ("covered", "held", "suspense"), ("covered", "in_flight", "suspense"), ("covered", "in_doubt", "suspense"),
})  # fmt: skip
"""Why money may go from one kind of account to another."""

FINAL_WORDS: Final[dict[str, dict[str, frozenset[str]]]] = {
    "unitpay": {"success": frozenset({"paid", "returned"}), "error": frozenset({"failed", "cancelled", "expired"})},
    "intellectmoney": {
        "Completed": frozenset({"paid", "returned"}), "Failed": frozenset({"failed"}), "Error": frozenset({"failed"}),
        "Canceled": frozenset({"cancelled"}), "Deleted": frozenset({"expired"}),
    },
    "own": {state: frozenset({state}) for state in ("failed", "cancelled", "expired", "returned")}
    | {"paid": frozenset({"paid", "returned"})},
}  # fmt: skip
"""Words that tell a client that a payout is at its end, by surface, and the states that they are true of."""
