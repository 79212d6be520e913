"""What is known of one attempt, as a join on a small lattice; and how a payout stands by it. The model of `test_evidence.py`.

Lives here: `Known`, the knowledge; `join`, which adds one piece of evidence to it; `Owed`, a payout as its attempts say. None of
it shares code with the rule of evidence, and none of it asks in which order anything was heard: knowledge only grows, and joining
is union. The one exception is the one that decision 4 names: of several different proofs that nothing moved (refused, refused here,
never arrived) the first one heard decides what comes next, so a proof has one place, which is taken once.

Knowledge that contradicts itself is the top of the lattice: the payout is frozen, and nothing more is learned of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

AMOUNT, FEE = 1000, 30
ROUTES = ("sandbox", "other")

LOST, TAKEN, PAID, REFUSED, ELSEWHERE, ABSENT, WRONG = "lost", "taken", "paid", "refused", "elsewhere", "absent", "wrong"
PROOFS = (REFUSED, ELSEWHERE, ABSENT)
"""Proofs that nothing moved."""

BACK = {"back all": ("a", AMOUNT), "back some": ("b", 400), "back the rest": ("c", 600), "back too much": ("d", AMOUNT + 1)}
"""Money that came back: the provider's event and how much."""

WRONG_MINOR = 7
"""What a wrong confirmation says was paid."""

HEARABLE = (LOST, TAKEN, PAID, *PROOFS, WRONG, *BACK)


@dataclass(frozen=True)
class Known:
    """What is known of one attempt. `proof`: the first proof heard that nothing moved; `back`: events of returned money."""

    lost: bool = False
    taken: bool = False
    paid: bool = False
    wrong: bool = False
    proof: str | None = None
    back: frozenset[str] = frozenset()

    @property
    def moved(self) -> bool:
        """Whether money left: a return says so, too."""
        return self.paid or bool(self.back)

    @property
    def back_minor(self) -> int:
        return sum(BACK[event][1] for event in self.back)

    @property
    def contradicts(self) -> bool:
        against = (self.moved and self.proof is not None) or (self.taken and self.proof == ABSENT)
        return self.wrong or against or self.back_minor > AMOUNT

    @property
    def stands(self) -> str:
        """The attempt's state, while nothing contradicts."""
        if self.moved:
            return "settled"
        if self.proof is not None:
            return "not_sent" if self.proof == ABSENT else "rejected"
        return "accepted" if self.taken else "unknown" if self.lost else "open"


def join(known: Known, heard: str) -> Known:
    """The knowledge after one more piece of evidence."""
    if heard in PROOFS:
        return known if known.proof is not None else replace(known, proof=heard)
    if heard in BACK:
        return replace(known, back=known.back | {heard})
    return replace(
        known, lost=known.lost or heard == LOST, taken=known.taken or heard == TAKEN, paid=known.paid or heard == PAID,
        wrong=known.wrong or heard == WRONG,
    )  # fmt: skip


@dataclass
class Tried:
    """One attempt: where it went, and what is known of it."""

    connector: str | None = None
    known: Known = field(default_factory=Known)

    @property
    def stands(self) -> str:
        return self.known.stands if self.connector is not None else "due"


@dataclass
class Owed:
    """One payout of 10.00 with a fee of 0.30, whose merchant had exactly that. It is executed; `tried` has its first attempt, due."""

    tried: list[Tried] = field(default_factory=lambda: [Tried()])
    frozen: bool = False
    cancelled: bool = False
    suspense: dict[str, int] = field(default_factory=dict)

    # --- what happens ---

    def claim(self) -> bool:
        """A worker claims it; whether it was opened."""
        if self.state != "queued" or self.frozen:
            return False
        self.tried[-1].connector = self._free()[0]
        return True

    def cancel(self) -> bool:
        """Its merchant cancels it; whether it was not too late."""
        if self.cancelled:
            return True
        if self.state != "queued" or self.frozen:
            return False
        self.cancelled = True
        return True

    def hear(self, number: int, heard: str) -> None:
        """One piece of evidence about an attempt that was opened."""
        tried = self.tried[number - 1]
        if self.frozen or (heard in BACK and any(heard in one.known.back for one in self.tried)):
            return
        before, after = tried.known, join(tried.known, heard)
        if after.contradicts:
            self.frozen = True
            if before.proof is not None and heard in (PAID, WRONG):  # money that the books know nothing of
                minor = AMOUNT if heard == PAID else WRONG_MINOR
                self.suspense[tried.connector or ""] = minor
            return
        tried.known = after
        goes_on = before.proof is None and after.proof is not None and tried is self.tried[-1]
        if goes_on and (after.proof == ABSENT or (after.proof == ELSEWHERE and self._free())):
            self.tried.append(Tried())

    def _free(self) -> list[str]:
        refused = [one.connector for one in self.tried if one.stands == "rejected"]
        return [name for name in ROUTES if name not in refused]

    # --- how it stands ---

    @property
    def attempts(self) -> list[str]:
        stands = [one.stands for one in self.tried]
        return [*stands[:-1], "not_sent"] if self.cancelled else stands

    @property
    def back_minor(self) -> int:
        return sum(one.known.back_minor for one in self.tried)

    @property
    def state(self) -> str:
        if self.cancelled:
            return "cancelled"
        words = {"due": "queued", "open": "in_flight", "accepted": "in_flight", "unknown": "in_doubt", "rejected": "failed"}
        stands = self.tried[-1].stands
        return words.get(stands, "returned" if self.back_minor else "paid")

    @property
    def balances(self) -> dict[str, int]:
        """Every account that is not empty."""
        last, state = self.tried[-1].connector, self.state
        sums = {"funding": -AMOUNT - FEE}
        if state in ("queued", "in_flight", "in_doubt"):
            lies_in = "held" if state == "queued" else f"{state}:{last}"
            sums["held"] = FEE
            sums[lies_in] = sums.get(lies_in, 0) + AMOUNT
        elif state in ("paid", "returned"):
            sums |= {"fees": FEE, f"paid:{last}": AMOUNT - self.back_minor, "available": self.back_minor}
        else:
            sums["available"] = AMOUNT + FEE
        for connector, minor in self.suspense.items():
            sums[f"paid:{connector}"] = sums.get(f"paid:{connector}", 0) + minor
            sums[f"suspense:{connector}"] = -minor
        return {account: minor for account, minor in sums.items() if minor}
