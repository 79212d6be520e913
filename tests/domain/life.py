"""A payout's life without a database: states, attempts and books, moved by the domain's own rules alone.

Lives here: the small honest fake that the tests of evidence and ledger walk through. It does what the operations do with the
same rules (`operations/payouts.py`, `attempts.py`, `evidence.py`), and checks after every move what must always hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from disburse.domain import ledger
from disburse.domain.attempt import ATTEMPT_MOVES, LIVE, AttemptState
from disburse.domain.evidence import Case, Live, Ruling, rule
from disburse.domain.ledger import Account, Books, Posting, Reason
from disburse.domain.money import Money
from disburse.domain.outcomes import Rejected, Returned, Verdict
from disburse.domain.payout import FINAL, HOLDING, PayoutState, Step, advance
from disburse.domain.vouched import attempt_of

PAYOUT = UUID("019aa5f5-2f00-7abc-8000-000000000001")
TOP_UP = UUID("019aa5f5-2f00-7abc-8000-000000000002")
AMOUNT = 10_000
FEE = 150
MERCHANT = 42


def money(minor: int, currency: str = "RUB") -> Money:
    """So many kopecks, unless it says otherwise."""
    return Money(minor, currency)


@dataclass
class Tried:
    """One attempt: where it went and how it stands."""

    state: AttemptState = AttemptState.DUE
    connector: str | None = None
    doubt_turns: int = 0
    refused: bool = False
    lapsed: bool = False


@dataclass
class Life:
    """One payout of 100 roubles and its merchant, who has just enough money for it. `routes`: connectors, first to last."""

    routes: Sequence[str] = ("first", "second")
    fee_minor: int = FEE
    state: PayoutState = PayoutState.CREATED
    frozen: str | None = None
    returned_minor: int = 0
    attempts: list[Tried] = field(default_factory=list)
    balances: dict[Account, int] = field(default_factory=dict)
    phases: set[tuple[UUID, str]] = field(default_factory=set)
    returns: set[str] = field(default_factory=set)
    contradictions: list[Posting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.books = Books(PAYOUT, MERCHANT, "RUB", AMOUNT, self.fee_minor)
        self._post([ledger.top_up(MERCHANT, "RUB", AMOUNT + self.fee_minor, TOP_UP)])
        self.check()

    # --- what happens to it ------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Hold the money and make it due."""
        self._move(Step.QUEUE, self.books.hold())
        self.attempts.append(Tried())
        self.check()

    def cancel(self) -> None:
        """Cancel it while it is queued. Raises WrongState when it is too late."""
        self._move(Step.CANCEL, self.books.release())
        self.attempts[-1].state = AttemptState.NOT_SENT
        self.check()

    def claim(self) -> None:
        """Open the due attempt on the first route that has not refused it; without one it fails."""
        refused = [tried.connector for tried in self.attempts if tried.refused]
        connector = next((name for name in self.routes if name not in refused), None)
        attempt = self.attempts[-1]
        if connector is None:
            self._move(Step.NO_ROUTE, self.books.release())
            attempt.state = AttemptState.NOT_SENT
        else:
            self._move(Step.CLAIM, self.books.claim(connector, len(self.attempts)))
            attempt.state, attempt.connector = AttemptState.OPEN, connector
        self.check()

    def lapse(self) -> None:
        """The lease of an open attempt runs out: nobody can send it any more."""
        self.attempts[-1].lapsed = True

    def hear(self, number: int, heard: Verdict) -> Ruling | None:
        """Apply a message about attempt `number`; None when it is no news.

        A return counts once by the provider's event id: rows see to that, the rule is told of each event once.
        """
        if isinstance(heard, Returned):
            if heard.event_id in self.returns:
                return None
            self.returns.add(heard.event_id)
        attempt = self.attempts[number - 1]
        ruling = rule(self._case(number), heard)
        if ruling.attempt_state is not attempt.state:
            assert ruling.attempt_state in ATTEMPT_MOVES[attempt.state], f"{attempt.state} to {ruling.attempt_state}"
        was_final = self.state in FINAL
        assert not was_final or ruling.state in (self.state, PayoutState.RETURNED), "an end was rewritten"
        self._post(ruling.postings)
        self.state, self.returned_minor = ruling.state, ruling.returned_minor
        self.frozen = ruling.freeze or (None if ruling.thaw else self.frozen)
        if ruling.ends_live is not None:
            live = next(tried for tried in self.attempts if tried.state in LIVE)
            assert live is not attempt and ruling.ends_live in ATTEMPT_MOVES[live.state]
            live.state = ruling.ends_live
        attempt.refused = attempt.refused or (
            isinstance(heard, Rejected) and ruling.attempt_state is AttemptState.REJECTED
        )
        attempt.state, attempt.doubt_turns = ruling.attempt_state, ruling.doubt_turns
        if ruling.new_attempt:
            self.attempts.append(Tried())
        self.check()
        return ruling

    # --- what must always hold ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """The invariants of design.md section 4 and reliability.md section 1, after every move."""
        for account, balance in self.balances.items():
            assert balance >= 0 or ledger.may_be_negative(account), f"{account} is {balance}"
        assert sum(self.balances.values()) == 0
        assert self.set_aside() == (AMOUNT + self.fee_minor if self.state in HOLDING else 0)
        live = [tried for tried in self.attempts if tried.state in LIVE]
        assert len(live) <= 1
        doubts = [tried for tried in self.attempts if tried.state is AttemptState.UNKNOWN]
        assert bool(doubts) == (self.state is PayoutState.IN_DOUBT)
        assert self.sum_of("in_doubt:") == (AMOUNT if doubts else 0)
        assert self.returned_minor <= AMOUNT

    def set_aside(self) -> int:
        """What lies in held, in_flight and in_doubt together."""
        return self.balances.get(ledger.HELD, 0) + self.sum_of("in_flight:") + self.sum_of("in_doubt:")

    def sum_of(self, prefix: str) -> int:
        """What lies in the accounts of all connectors whose names begin so."""
        return sum(balance for account, balance in self.balances.items() if account.startswith(prefix))

    def standing(self) -> tuple[object, ...]:
        """How it stands: payout, attempts and books; how often we doubted on the way is no part of that."""
        books = {account: balance for account, balance in self.balances.items() if balance}
        return self.state, self.frozen, [tried.state for tried in self.attempts], self.returned_minor, books

    # --- how it moves ------------------------------------------------------------------------------------------------

    def _case(self, number: int) -> Case:
        attempt = self.attempts[number - 1]
        assert attempt.connector is not None, "nobody speaks of an attempt that went nowhere"
        tried = {one.connector for one in self.attempts if one.refused} | {attempt.connector}
        live = next((n for n, one in enumerate(self.attempts, 1) if one.state in LIVE), None)
        one = self.attempts[live - 1] if live is not None else None
        return Case(
            books=self.books,
            state=self.state,
            frozen=self.frozen is not None,
            attempt=number,
            attempt_state=attempt.state,
            connector=attempt.connector,
            doubt_turns=attempt.doubt_turns,
            returned_minor=self.returned_minor,
            another_route=any(name not in tried for name in self.routes),
            live=Live(live, one.state, one.connector) if live is not None and one is not None else None,
            suspended=self.suspended(),
            contradictions=sum(attempt_of(posting) == number for posting in self.contradictions),
            may_be_sent=one is not None and one.state is AttemptState.OPEN and not one.lapsed,
        )

    def suspended(self) -> list[Posting]:
        """Contradictions that stand: booked and not turned round."""
        return [one for one in self.contradictions if (one.origin_id, f"reverse-{one.phase}") not in self.phases]

    def _move(self, step: Step, postings: list[Posting]) -> None:
        self.state = advance(self.state, step)
        self._post(postings)

    def _post(self, postings: list[Posting]) -> None:
        for posting in postings:
            key = (posting.origin_id, posting.phase)
            assert key not in self.phases, f"{posting.phase} is posted twice"
            self.phases.add(key)
            if posting.reason is Reason.CONTRADICTION:
                self.contradictions.append(posting)
        for (_, _, account), change in ledger.changes(postings).items():
            self.balances[account] = self.balances.get(account, 0) + change


def opened(routes: Sequence[str] = ("first", "second"), fee_minor: int = FEE) -> Life:
    """A payout whose first attempt is open: its intent is written, and the order may be on its way."""
    life = Life(routes, fee_minor)
    life.execute()
    life.claim()
    return life
