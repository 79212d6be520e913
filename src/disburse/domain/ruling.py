"""What the rule of evidence is given and what it yields. Lives here: the shapes alone; the rule is in `evidence.py` and, for
what two persons vouch for, in `vouched.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from disburse.domain.attempt import AttemptState
from disburse.domain.ledger import Books, Posting
from disburse.domain.payout import PayoutState


@dataclass(frozen=True, slots=True)
class Live:
    """The one attempt of a payout that moved money or may have. `connector` is None while it is due."""

    number: int
    state: AttemptState
    connector: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """A payout and the attempt that the evidence speaks of, as they stand."""

    books: Books
    state: PayoutState
    frozen: bool
    attempt: int
    attempt_state: AttemptState
    connector: str
    doubt_turns: int
    returned_minor: int
    another_route: bool
    """Whether a connector that was not tried yet could carry it."""
    not_found_for_s: float | None = None
    """Seconds from the first stored not-found about this attempt to the question now answered; None: there is none to count."""
    not_found_final_after_s: float | None = None
    """Two not-founds so far apart prove absence, by the provider's contract; None: they never do."""
    live: Live | None = None
    """The payout's live attempt, this one or another. Read for what persons vouch for alone."""
    suspended: Sequence[Posting] = ()
    """Contradictions of the payout that stand in suspense: booked and not turned round."""
    contradictions: int = 0
    """How many contradictions were ever booked for this attempt."""
    may_be_sent: bool = False
    """Whether somebody may still send the live attempt: it is open and its owner's lease has not run out."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What changes. `state` and `attempt_state` are as they shall be; `freeze` names the contradiction.

    `thaw`: the payout is frozen no more. `ends_live`: how the live attempt ends, where the evidence speaks of another one.
    """

    state: PayoutState
    attempt_state: AttemptState
    postings: list[Posting] = field(default_factory=list)
    new_attempt: bool = False
    freeze: str | None = None
    reason: str | None = None
    doubt_turns: int = 0
    returned_minor: int = 0
    thaw: bool = False
    ends_live: AttemptState | None = None


def unchanged(case: Case) -> Ruling:
    """Nothing changes."""
    return Ruling(case.state, case.attempt_state, doubt_turns=case.doubt_turns, returned_minor=case.returned_minor)
