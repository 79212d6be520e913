"""How a registry lives, and what its plan says. Pure. Lives here: the table of states and steps, digests of rows, the plan and its drift.

A registry is a file of payouts. Planning judges each row and writes all of it down; applying does exactly that, or says what is not as it was
(decision 14). What a row's text means is `domain/registry.py`'s; what a payout does is `domain/payout.py`'s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from disburse.domain.refusals import Refusal


class RegistryState(StrEnum):
    UPLOADED = "uploaded"  # its rows come in
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    CANCELLED = "cancelled"


class RegistryStep(StrEnum):
    PLAN = "plan"
    ASK_APPROVAL = "ask_approval"
    APPROVE = "approve"
    EXECUTE = "execute"
    COMPLETE = "complete"
    COMPLETE_WITH_ERRORS = "complete_with_errors"
    CANCEL = "cancel"


_S, _T = RegistryState, RegistryStep
MOVES: Final[dict[RegistryState, dict[RegistryStep, RegistryState]]] = {
    _S.UPLOADED: {_T.PLAN: _S.PLANNED, _T.CANCEL: _S.CANCELLED},
    _S.PLANNED: {_T.ASK_APPROVAL: _S.AWAITING_APPROVAL, _T.EXECUTE: _S.EXECUTING, _T.CANCEL: _S.CANCELLED},
    _S.AWAITING_APPROVAL: {_T.APPROVE: _S.APPROVED, _T.CANCEL: _S.CANCELLED},
    _S.APPROVED: {_T.EXECUTE: _S.EXECUTING, _T.CANCEL: _S.CANCELLED},
    _S.EXECUTING: {_T.COMPLETE: _S.COMPLETED, _T.COMPLETE_WITH_ERRORS: _S.COMPLETED_WITH_ERRORS},
    _S.COMPLETED: {},
    _S.COMPLETED_WITH_ERRORS: {},
    _S.CANCELLED: {},
}

FINAL: Final = frozenset({_S.COMPLETED, _S.COMPLETED_WITH_ERRORS, _S.CANCELLED})


class WrongRegistryState(Refusal):
    """The registry is not in a state that allows this."""

    def __init__(self, state: RegistryState, step: RegistryStep) -> None:
        self.state, self.step = state, step
        super().__init__(f"A registry that is {state} cannot {step.replace('_', ' ')}.")


def advance(state: RegistryState, step: RegistryStep) -> RegistryState:
    """The state after a step. Raises WrongRegistryState when the table has no such move."""
    try:
        return MOVES[state][step]
    except KeyError:
        raise WrongRegistryState(state, step) from None


def reference_of_row(file_digest: bytes, number: int, own: str | None = None) -> str:
    """The reference of a row that names none. `own`: the registry's own name, where the same content is meant to be paid again."""
    return f"reg-{own or file_digest.hex()[:32]}-{number}"


# --- rows that are paid although they are asked about ----------------------------------------------------------------------


class BadRowNumbers(Refusal):
    """Rows are named by their numbers, such as 17,23-40, or by the word all."""


class LetPass:
    """Rows that whoever plans a file wants to be paid although the duplicate guard asks about them: some numbers, or all."""

    def __init__(self, text: str = "") -> None:
        """Read numbers and ranges parted by commas, or "all". Raises BadRowNumbers."""
        self.all = text.strip() == "all"
        self._ranges: list[tuple[int, int]] = []
        for part in [] if self.all else [one.strip() for one in text.split(",") if one.strip()]:
            first, _, last = part.partition("-")
            ends = [first, last or first]
            if not all(end.isascii() and end.isdecimal() and len(end) <= 9 for end in ends) or (part.endswith("-") and part):
                raise BadRowNumbers()
            self._ranges.append((int(first), int(ends[1])))
        if len(self._ranges) > MOST_RANGES or any(first > last for first, last in self._ranges):
            raise BadRowNumbers()
        self._ranges.sort()

    def __contains__(self, number: int) -> bool:
        return self.all or any(first <= number <= last for first, last in self._ranges)

    def __str__(self) -> str:
        return "all" if self.all else ",".join(f"{first}-{last}" if last > first else str(first) for first, last in self._ranges)


MOST_RANGES: Final = 1_000
NOBODY: Final = LetPass()


# --- digests -------------------------------------------------------------------------------------------------------------
# What is hashed is text that the database can write as well: `storage/registries.py` computes the same to see that no row has changed.


def chunk_digest(rows: Sequence[str]) -> bytes:
    """SHA-256 over the rows of a chunk, in order; each as `row_text` writes it."""
    return hashlib.sha256("\n".join(rows).encode()).digest()


def row_text(
    number: int, payout_id: bytes, rail: str, currency: str, amount: int, fee: int, fingerprint: bytes, base: str, verdict: str
) -> str:
    """All that a row that may be paid would do."""
    return f"{number}|{verdict}|{payout_id.hex()}|{rail}|{currency}|{amount}|{fee}|{fingerprint.hex()}|{base}"


def bad_row_text(number: int) -> str:
    """A row that is never paid."""
    return f"{number}|bad"


def rows_digest(chunks: Sequence[bytes]) -> bytes:
    """SHA-256 over the digests of all chunks, in order."""
    return hashlib.sha256(b"".join(chunks)).digest()


# --- the plan ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Total:
    """Good rows on one rail in one currency. Sums in minor units."""

    rail: str
    currency: str
    rows: int
    amount_minor: int
    fee_minor: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, and under which rules. `rules`: named texts; whatever could change what a row costs, or whether it may be paid.

    `content`: digest of the good rows alone, which tells the same wages in another file. All digests are SHA-256 in hexadecimal.
    `pay`: rows that a person wants to be paid although they were asked about (`LetPass`), "" for none.
    """

    registry: str
    merchant: int
    file_name: str
    file_digest: str
    file_bytes: int
    again: bool
    rows: int
    good: int
    bad: int
    held: int
    totals: tuple[Total, ...]
    rules: Mapping[str, str]
    content: str
    rows_digest: str
    pay: str = ""

    def to_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "format": 1, "registry": self.registry, "merchant": self.merchant,
            "file": {"name": self.file_name, "sha256": self.file_digest, "bytes": self.file_bytes}, "again": self.again,
            "rows": {"all": self.rows, "good": self.good, "bad": self.bad, "held": self.held},
            "totals": [[one.rail, one.currency, one.rows, one.amount_minor, one.fee_minor] for one in self.totals],
            "rules": dict(self.rules), "content": self.content, "rows_digest": self.rows_digest,
            **({"pay": self.pay} if self.pay else {}),
        }  # fmt: skip

    def to_text(self) -> str:
        """Canonical JSON: what the digest is over."""
        return json.dumps(self.to_values(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in hexadecimal: what people agree to."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()


def same(one: bytes | None, other: bytes | None) -> bool:
    """Whether both are there and one."""
    return one is not None and other is not None and hmac.compare_digest(one, other)


def digest_of_text(text: str) -> bytes:
    """The digest of a stored plan."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as it was when the plan was made. `what`: plan, rows, file, or the rule's name."""

    what: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: it was {self.was}, it is {self.now}"


class Drifted(Refusal):
    """The plan was made under other circumstances; nothing was done."""

    def __init__(self, drift: Sequence[Drift]) -> None:
        self.drift = tuple(drift)
        super().__init__("Nothing was done, since this is not what was planned. " + "; ".join(str(one) for one in drift) + ".")


def drift_of_rules(planned: Mapping[str, str], now: Mapping[str, str]) -> list[Drift]:
    """Every rule that says something else now, or is new, or is gone."""
    names = sorted({*planned, *now})
    return [
        Drift(name, planned.get(name, "not there"), now.get(name, "not there")) for name in names if planned.get(name) != now.get(name)
    ]
