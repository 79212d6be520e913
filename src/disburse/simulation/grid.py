"""The grid: where in a payout's life a fault fell. Lives here: naming the gaps, and the cells that must not stay empty.

The gaps are those of a payout's durable steps: D1 accepted, D1e executed, D4 claimed and intended, D4r the provider's operation
remembered, N1 the order on its way (N1c: its making, for two-step providers), N3 the question on its way, D6 evidence kept that moves nothing, D7 what was
heard recorded with all that it moves (D5 is the same commit), Q a question taken,
C the client's own exchange with us, N4 a provider calling back, D8 an event on its way to a merchant's receiver. Everything that writes is named by what it writes.
"""

from __future__ import annotations

from typing import Final

from disburse.protocols.wire import WireRequest

AT_STORE: Final = ("before", "after", "lost", "unknown", "deadlock", "die_before", "die_after")
ON_THE_WAY: Final = ("refused", "unreachable", "lost", "silent", "reset", "spoilt", "late", "die_before", "die_after", "partition")
_MARKS: Final = (
    ("payouts_w AS", "D1"),
    ("top_ups_w AS", "T1"),
    ("opened_w AS", "D4"),
    ("SET provider_reference", "D4r"),
)


def gap_of_statement(sql: str) -> str | None:
    """The durable step that a writing statement is, or None for what is no step of a payout's life."""
    for mark, gap in _MARKS:
        if mark in sql:
            return gap
    if "heard_w AS" in sql:
        return "D7"
    if "evidence_w AS" in sql or "strays_w AS" in sql:
        return "D6"
    if "moves_w AS" in sql:
        return "D1e"
    if "set_questions" in sql or "ask_at = d" in sql:
        return "Q"
    return None


def gap_of_call(host: str, request: WireRequest) -> str:
    """The exchange that a request is."""
    if host.startswith("hooks"):
        return "D8"
    if host.startswith("server"):
        return "N4" if request.path.startswith("/callbacks/") else "C"
    text = request.path.lower() + request.query.decode("ascii", "replace").lower()
    if "masspaymentstatus" in text or "getoperationstate" in text or (request.method == "GET" and "/payouts/" in text):
        return "N3"
    if "getusertoken" in text or "getpartner" in text or "availableamount" in text:
        return "N0"
    if "create" in text:
        return "N1c"
    return "N1"


def cells() -> list[tuple[str, str]]:
    """Every cell that exists in the code."""
    both = [(gap, fault) for gap in ("D1", "D4", "D7") for fault in AT_STORE]
    some = [(gap, fault) for gap in ("D1e", "D4r", "D6", "Q") for fault in AT_STORE if fault not in ("lost", "unknown")]
    ways = [(gap, fault) for gap in ("N1", "N1c", "N3") for fault in ON_THE_WAY]
    clients = [("C", fault) for fault in ON_THE_WAY if not fault.startswith("die") and fault != "partition"]
    return both + some + ways + clients
