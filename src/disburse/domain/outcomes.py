"""What a call to a provider established. Lives here: the outcomes and findings; the rule that applies them is in `domain/evidence.py`.

A *call* (submit) ends in an outcome: one of the first five, or `Absent` when the provider turned the whole call away for a
cause that is not the payout's. A *finding* (the answer to an inquiry, or a callback) may be one of the first
three as well, or say that the provider does not know the id (`NotFound`, which proves nothing), that a two-step provider has
the order made and not executed (`NotExecuted`, which proves nothing either), that it never will be carried out (`Absent`, a
proof), or that money came back (`Returned`). Anything a connector cannot classify is `Unknown`. Persons speak through
`VouchedPaid` and `VouchedNotMoved`, always two of them (`operations/approvals.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from disburse.domain.money import Money


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the order and will carry it out or refuse it later."""

    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The provider paid. `amount` is what it says it paid, None when it does not say."""

    provider_reference: str | None = None
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider refuses for good and moved nothing. `elsewhere`: the cause is the provider's own, another route may do."""

    reason: str
    elsewhere: bool = False
    provider_reference: str | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Proven: not one byte of a request that could move money was written."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else. The money may have moved."""

    why: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider does not know the id now. No proof: the order may still be under way to it."""

    why: str = "not found"


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """A two-step provider has the order made and not executed. No proof: a request to execute it may still be under way."""

    why: str = "not executed"


@dataclass(frozen=True, slots=True)
class Absent:
    """Proven: the provider never carried this id out and never will.

    As the outcome of a call: it turned the call away (our key is wrong, say) and the payout is not to blame, so it is due again.
    """

    why: str = "absent"


@dataclass(frozen=True, slots=True)
class Returned:
    """Paid money came back. `event_id` is the provider's id of this return: the same one counts once."""

    event_id: str
    amount: Money | None = None


@dataclass(frozen=True, slots=True)
class VouchedPaid:
    """Two persons vouch, on evidence, that this attempt paid the payee. `request`: the id of what one asked and the other agreed to."""

    request: str


@dataclass(frozen=True, slots=True)
class VouchedNotMoved:
    """Two persons vouch, on evidence, that no attempt of the payout left money with the payee."""

    request: str


Outcome = Accepted | Settled | Rejected | NotSent | Absent | Unknown
Finding = Accepted | Settled | Rejected | Unknown | NotFound | NotExecuted | Absent | Returned
Vouched = VouchedPaid | VouchedNotMoved
Verdict = Outcome | Finding | Vouched
