"""How an attempt lives: one try to pay a payout through one connector.

`due` is made at execute, without a connector. `open` is the intent: connector, end-to-end id, request digest, owner, epoch
and lease are committed before the first byte leaves. At most one attempt of a payout may be live, ever: the unique index
`one_live_attempt` says so, and `LIVE` below is the same sentence for Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AttemptState(StrEnum):
    DUE = "due"
    OPEN = "open"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"


A = AttemptState
ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    A.DUE: frozenset({A.OPEN, A.NOT_SENT}),
    A.OPEN: frozenset({A.ACCEPTED, A.UNKNOWN, A.SETTLED, A.REJECTED, A.NOT_SENT}),
    A.ACCEPTED: frozenset({A.SETTLED, A.REJECTED}),
    A.UNKNOWN: frozenset({A.ACCEPTED, A.SETTLED, A.REJECTED, A.NOT_SENT}),
    A.SETTLED: frozenset(),
    A.REJECTED: frozenset(),
    A.NOT_SENT: frozenset(),
}

MOVED_NOTHING = frozenset({A.REJECTED, A.NOT_SENT})
LIVE = frozenset(AttemptState) - MOVED_NOTHING
ASKABLE = frozenset({A.OPEN, A.ACCEPTED, A.UNKNOWN})
"""Attempts whose end we do not know: the inquirer asks about them until somebody knows."""


@dataclass(slots=True)
class Attempt:
    """One attempt as it stands."""

    number: int
    state: AttemptState
    due_at: datetime
    connector: str | None
    end_to_end_id: str | None
    owner: str | None
    epoch: int
    lease_until: datetime | None
    opened_at: datetime | None
    provider_reference: str | None
    doubt_turns: int
    doubt_since: datetime | None
    asked: int
    ask_at: datetime | None
    ended_at: datetime | None
    reason: str | None
