"""What providers and persons say of a payout, as a state machine and in every order there is (E9), on real PostgreSQL.

The model (`evidence.py`) is a join: what is known of an attempt, however it was heard. The machine hears answers, inquiries,
callbacks and lapsed leases of any attempt at any time, again and in batches, cancels, claims the next attempt, and lets two persons
decide. How to let it walk for hours is told in `ground.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from disburse.domain.money import Money
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    NotExecuted,
    NotFound,
    NotSent,
    Rejected,
    Returned,
    Settled,
    Unknown,
    Verdict,
)
from disburse.domain.refusals import Refusal
from disburse.domain.vouched import NothingToResolve, StillOpen
from disburse.operations import attempts, evidence, merchants
from disburse.operations.approvals import Answered, Asked
from disburse.operations.attempts import Claim
from disburse.operations.resolutions import WhichAttempt
from tests.machines.evidence import (
    ABSENT,
    AMOUNT,
    BACK,
    ELSEWHERE,
    FEE,
    HEARABLE,
    LOST,
    PAID,
    PROOFS,
    REFUSED,
    TAKEN,
    WRONG,
    WRONG_MINOR,
    Known,
    Owed,
    Tried,
    join,
)
from tests.machines.ground import Ground, bounds
from tests.operations.persons import NOT_MOVED
from tests.operations.persons import PAID as VOUCHED_PAID
from tests.operations.shop import Shop


def rubles(minor: int) -> Money:
    return Money(minor, "RUB")


SPOKEN: dict[str, list[Verdict]] = {  # in which words a piece of evidence comes
    LOST: [Unknown("time-out"), Unknown("HTTP 502"), NotFound(), NotExecuted()],
    TAKEN: [Accepted("p"), Accepted()],
    PAID: [Settled("p"), Settled("p", rubles(AMOUNT)), Settled()],
    REFUSED: [Rejected("no"), Rejected("no", provider_reference="p")],
    ELSEWHERE: [Rejected("limit", elsewhere=True), Rejected("balance", elsewhere=True)],
    ABSENT: [Absent(), NotSent("the connection is refused")],
    WRONG: [Settled("p", rubles(WRONG_MINOR))],
    **{heard: [Returned(event, rubles(minor))] for heard, (event, minor) in BACK.items()},
}
SPOKEN["back all"].append(Returned(BACK["back all"][0]))
WORDS = [(heard, verdict) for heard in HEARABLE for verdict in SPOKEN[heard]]
LIKELY = [one for one in WORDS if one[0] in (LOST, TAKEN, ABSENT, ELSEWHERE)] + WORDS
KINDS = st.sampled_from(["answer", "inquiry", "callback"])
HEARD = st.tuples(st.integers(0, 3), st.sampled_from(LIKELY), KINDS, st.sampled_from(["", "once more"]))


class Evidence(RuleBasedStateMachine):
    """One payout at a time, of a merchant who has just enough money for it."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground

    @initialize(hopeful=st.booleans())
    def begin(self, hopeful: bool) -> None:
        self.shop = self.ground.shop(hopeful=hopeful)
        self._begin()

    @precondition(lambda self: self.over or self.owed.frozen or self.owed.state in ("paid", "failed", "cancelled", "returned"))
    @rule()
    def begin_another(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.merchant = self.ground.merchant()
        self.payout = self.ground.run(_queued(self.shop, self.merchant, ["wage"]))[0]
        self.owed, self.opened, self.over, self.lapsed = Owed(), list[Any](), False, False
        self.claim()

    # --- what happens ---

    @precondition(lambda self: not self.over)
    @rule()
    def claim(self) -> None:
        number = len(self.owed.tried)
        opened = self.ground.run(self.shop.claim(self.payout, number))
        assert (opened is not None) is self.owed.claim()
        if opened is not None:
            assert opened.connector == self.owed.tried[-1].connector
            self.opened.append(opened)
            self.lapsed = False

    @precondition(lambda self: not self.over and self.owed.state == "queued")
    @rule()
    def cancel(self) -> None:
        ended = self.ground.run(self.shop.cancel(self.shop.act(self.payout)))[0]
        assert isinstance(ended, Refusal) is not self.owed.cancel()

    @precondition(lambda self: not self.over)
    @rule(heard=HEARD)
    def hear(self, heard: tuple[int, tuple[str, Verdict], str, str]) -> None:
        self._hear([heard])

    @precondition(lambda self: not self.over)
    @rule(told=st.lists(HEARD, min_size=2, max_size=4))
    def hear_together(self, told: list[tuple[int, tuple[str, Verdict], str, str]]) -> None:
        """Several messages in one transaction."""
        self._hear(told)

    def _hear(self, told: Sequence[tuple[int, tuple[str, Verdict], str, str]]) -> None:
        messages = []
        for which, (heard, verdict), kind, content in told:
            opened = self.opened[-1 - which % len(self.opened)]
            messages.append(self.shop.message(opened, verdict, kind=kind, content=content))
            self.owed.hear(opened.attempt, heard)
        self.ground.run(self.shop.hear(*messages))

    @precondition(lambda self: not self.over and self.owed.tried[-1].stands == "open" and not self.lapsed)
    @rule(asked=st.booleans())
    def lapse(self, asked: bool) -> None:
        """The owner's lease runs out; when an inquirer takes the question it says so."""
        opened = self.opened[-1]
        self.ground.run(self.shop.lapse(self.payout, opened.attempt))
        self.lapsed = True
        if asked:
            question = self.ground.run(self.shop.ask(self.payout, opened.attempt))
            assert (question is not None) is not self.owed.frozen
            if question is not None:
                assert question.lapsed
                self.ground.run(self.shop.hear_of(opened, Unknown("the owner's lease ran out"), kind="lease"))
                self.owed.hear(opened.attempt, LOST)

    @precondition(lambda self: not self.over)
    @rule(outcome=st.sampled_from([VOUCHED_PAID, NOT_MOVED]))
    def vouch(self, outcome: str) -> None:
        """Two persons decide: of an attempt that nobody can send any more and nobody knows the end of, or of a frozen payout."""
        stands = self.owed.tried[-1].stands
        asked = self.ground.run(self.ground.persons.ask(self.ground.persons.resolve(self.payout, outcome)))
        if stands == "open" and not self.lapsed:
            assert isinstance(asked, StillOpen), asked
        elif self.owed.frozen:
            self._thaw(asked)
        elif self.owed.cancelled or stands not in ("open", "accepted", "unknown"):
            assert isinstance(asked, NothingToResolve), asked
        else:
            self._agree(asked)
            self.owed.hear(len(self.owed.tried), PAID if outcome == VOUCHED_PAID else REFUSED)

    def _agree(self, asked: Asked | Refusal) -> None:
        assert isinstance(asked, Asked), asked
        answered = self.ground.run(self.ground.persons.answer(asked.request.request_id))
        assert isinstance(answered, Answered), answered

    def _thaw(self, asked: Asked | Refusal) -> None:
        """Where persons have decided about a contradiction the payout is over, and the model with it: `verify` knows the books."""
        if isinstance(asked, WhichAttempt):
            return
        self._agree(asked)
        now = self.ground.run(self.shop.read(self.payout))
        assert now.frozen is None and now.final, now.state
        self.over = True

    # --- what must hold after every rule ---

    @invariant()
    def it_stands_as_is_known(self) -> None:
        if not self.over:
            now, owed = self.ground.run(self.shop.read(self.payout)), self.owed
            assert (now.state, now.frozen is not None) == (owed.state, owed.frozen), now.frozen
            assert now.returned_minor == owed.back_minor
            assert self.ground.run(self.shop.attempts(self.payout)) == owed.attempts

    @invariant()
    def the_money_lies_as_is_known(self) -> None:
        balances = self.ground.run(self.shop.balances(self.merchant))
        assert sum(balances.values()) == 0
        if not self.over:
            assert balances == self.owed.balances


def test_evidence(ground: Ground) -> None:
    """However it is heard, a payout stands as what is known of its attempts, and freezes when that contradicts itself."""
    ground.walk(Evidence, bounds(16, 25))


# --- every order ---------------------------------------------------------------------------------------------------------


async def _queued(shop: Shop, merchant: int, references: Sequence[str]) -> list[Any]:
    """Payouts of 10.00 with a fee of 0.30, executed, of a merchant whose money is used up by them."""
    money = rubles((AMOUNT + FEE) * len(references))
    booked = merchants.TopUp(shop.new_id(), merchant, "all of it", money, shop.now(), "cli")
    await shop.database.run(lambda tx: merchants.top_up(tx, shop.shard, [booked]))
    made = await shop.create(*[shop.draft(merchant, one, AMOUNT, fee=FEE) for one in references])
    return [one.payout for one in made]


async def _stand_after(shop: Shop, merchant: int, orders: Sequence[Sequence[tuple[str, Verdict]]]) -> list[tuple[Any, ...]]:
    """How payouts stand, one for each order in which it was heard of; what is heard of all of them next is one transaction."""
    queued = await _queued(shop, merchant, [f"wage {n}" for n in range(len(orders))])
    claims = [Claim(one.payout_id, 1, merchant, "worker-a", 30, shop.now()) for one in queued]
    opened = await shop.database.run(lambda tx: attempts.claim(tx, shop.shard, claims, routes=shop.routes))
    for place in range(len(orders[0])):
        kind = ("callback", "inquiry")[place % 2]
        told = [
            shop.message(one, order[place][1], kind=kind) for one, order in zip(opened, orders, strict=True) if one is not None
        ]
        assert len(told) == len(orders)
        await shop.write(partial(_record, shop=shop, told=told))
    rows = await shop.rows(
        """SELECT p.state, p.frozen, p.returned_minor,
                  (SELECT array_agg(a.state ORDER BY a.number) FROM attempts a WHERE a.shard = 0 AND a.payout_id = p.payout_id),
                  (SELECT array_agg(s ORDER BY s) FROM (
                      SELECT account || ' ' || sum(minor) AS s FROM (
                          SELECT source AS account, -amount_minor AS minor FROM postings
                              WHERE shard = 0 AND origin_id = p.payout_id
                          UNION ALL SELECT destination, amount_minor FROM postings
                              WHERE shard = 0 AND origin_id = p.payout_id) AS sides
                      GROUP BY account HAVING sum(minor) <> 0) AS sums)
           FROM payouts p WHERE p.shard = 0 AND p.merchant_id = $1 ORDER BY p.number""",
        merchant,
    )
    return [tuple(row) for row in rows]


async def _record(tx: Any, shop: Shop, told: Sequence[evidence.Heard]) -> Any:
    return await evidence.record(tx, shop.shard, told, routes=shop.routes)


def _expected(told: Sequence[tuple[str, Verdict]]) -> Owed:
    """The payout by the join of all that was told; of several proofs the first one counts (decision 4)."""
    first = next((heard for heard, _ in told if heard in PROOFS), None)
    owed = Owed([Tried(ROUTE, reduce(join, [heard for heard, _ in told if heard not in PROOFS or heard == first], Known()))])
    known = owed.tried[0].known
    owed.frozen = known.contradicts
    if known.proof in (ABSENT, ELSEWHERE) and not owed.frozen:
        owed.tried.append(Tried())
    return owed


ROUTE = "sandbox"


def _check(told: Sequence[tuple[str, Verdict]], stands: tuple[Any, ...]) -> None:
    owed, (state, frozen, back, states, sums) = _expected(told), stands
    changes = {account: int(minor) for account, _, minor in (one.rpartition(" ") for one in sums or [])}
    assert sum(changes.values()) == 0
    assert -AMOUNT - FEE <= changes.get("available", 0) <= 0, "charged twice, or given more than there was"
    assert (frozen is not None) is owed.frozen, (told, frozen)
    if not owed.frozen:
        expected = {account: minor for account, minor in owed.balances.items() if account != "funding"}
        expected["available"] = expected.get("available", 0) - AMOUNT - FEE
        assert (state, back, states) == (owed.state, owed.back_minor, owed.attempts), told
        assert changes == {account: minor for account, minor in expected.items() if minor}, told


@bounds(12, 1)
@given(
    told=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique_by=repr),
    again=st.lists(st.integers(0, 3), max_size=3),
    hopeful=st.booleans(),
)
def _in_every_order(ground: Ground, told: list[tuple[str, Verdict]], again: list[int], hopeful: bool) -> None:
    repeated = [told[which % len(told)] for which in again]
    orders = [
        [*one, *repeated] if place % 2 else [one[0], *repeated, *one[1:]] for place, one in enumerate(permutations(told))
    ]
    stands = ground.run(_stand_after(ground.shop(hopeful=hopeful), ground.merchant(), orders))
    assert len(stands) == len(orders)
    for order, one in zip(orders, stands, strict=True):
        _check(order, one)
    alike = {heard for heard, _ in told if heard in PROOFS}
    if len(alike) < 2 and not _expected(told).frozen:
        assert all(one == stands[0] for one in stands), "an order mattered"


def test_every_order(ground: Ground) -> None:
    """Every permutation of up to four pieces of evidence, some told again, ends in the same state, sums and frozen mark (E9)."""
    _in_every_order(ground)
