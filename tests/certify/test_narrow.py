"""A grade takes freedom away: what a connector of B or C may still say, and that nothing else is believed."""

from __future__ import annotations

import math

import pytest

from disburse.certify.certificate import Grade
from disburse.certify.narrow import narrow
from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.connectors.two_steps import TwoStep
from disburse.domain.destinations import Rail
from disburse.domain.money import Money
from disburse.domain.outcomes import (
    Absent,
    Accepted,
    Finding,
    NotFound,
    NotSent,
    Outcome,
    Rejected,
    Returned,
    Settled,
    Unknown,
)
from disburse.protocols.wire import WireRequest
from tests.connectors.unitpay_house import order

REQUEST = WireRequest("POST", "/callbacks/x", b"", {}, b"{}")


class Talker:
    """A connector that says what a test tells it to, and promises everything."""

    name = "talker"
    capabilities = Capabilities(
        frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=math.inf, not_found_final_after_s=1.0,
        two_step=True, execute_again_after_s=1.0, callbacks=True,
    )  # fmt: skip

    def __init__(self, told: Finding, called: Finding | None = None) -> None:
        self.told, self.called, self.sent = told, called or NotFound(), 0
        self.hear: Hear | None = None

    async def submit(self, order: Order) -> Outcome:
        self.sent += 1
        return Accepted()

    async def execute_again(self, question: Question) -> Outcome:
        return Accepted()

    async def inquire(self, question: Question) -> Finding:
        return self.told

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        return Callback("talker", "one-1", self.called, "said")

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        return (Money(1, "RUB"),)

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        return (Bank("1", "one"),)

    async def start(self, hear: Hear) -> None:
        self.hear = hear

    async def stop(self) -> None: ...


def test_a_full_grade_changes_nothing() -> None:
    """A connector of grade A is itself."""
    talker = Talker(Absent())
    assert narrow(talker, Grade.A) is talker


@pytest.mark.parametrize("grade, sends", [(Grade.B, True), (Grade.C, False)])
def test_promises_are_taken_away(grade: Grade, sends: bool) -> None:
    """Below A nothing is left that the engine would act on after doubt, and below B nothing is sent."""
    narrowed = narrow(Talker(Absent()), grade)
    able = narrowed.capabilities
    assert (able.deduplicates_for_s, able.not_found_final_after_s, able.execute_again_after_s) == (0.0, None, None)
    assert able.two_step and able.callbacks and able.sends is sends and narrowed.name == "talker"
    assert not isinstance(narrowed, TwoStep)


@pytest.mark.parametrize("grade, outcome, sent", [(Grade.B, Accepted(), 1), (Grade.C, NotSent("its certificate does not let it send"), 0)])
async def test_sending(grade: Grade, outcome: Outcome, sent: int) -> None:
    """B sends; C sends nothing, and says so."""
    talker = Talker(Absent())
    assert await narrow(talker, grade).submit(order()) == outcome
    assert talker.sent == sent


@pytest.mark.parametrize(
    "told, under_b, under_c",
    [
        (Settled(), Settled, Settled),
        (Accepted(), Accepted, Accepted),
        (Returned("r"), Returned, Returned),
        (Rejected("no"), Rejected, Unknown),
        (Absent(), NotFound, NotFound),
        (NotFound(), NotFound, NotFound),
        (Unknown("?"), Unknown, Unknown),
    ],
    ids=str,
)
async def test_asking(told: Finding, under_b: type, under_c: type) -> None:
    """"Never" is no more than "not now"; and who may not send is not believed that nothing moved."""
    question = Question("one-1", None, 1)
    assert type(await narrow(Talker(told), Grade.B).inquire(question)) is under_b
    assert type(await narrow(Talker(told), Grade.C).inquire(question)) is under_c


@pytest.mark.parametrize(
    "called, answered, heard",
    [
        (Settled(), Accepted(), None),
        (Settled(), Unknown("?"), None),
        (Rejected("no"), Settled(), Settled()),
        (Settled(), Settled(), Settled()),
    ],
    ids=str,
)
async def test_callbacks_are_hints(called: Finding, answered: Finding, heard: Finding | None) -> None:
    """Whatever a callback says, read or handed in, what the provider answers is told; where it tells no end, nothing is."""
    talker = Talker(answered, called)
    narrowed = narrow(talker, Grade.B)
    told = await narrowed.read_callback(REQUEST, 1)
    assert (told.finding if told else None) == heard
    kept: list[Callback] = []

    async def keep(callback: Callback) -> None:
        kept.append(callback)

    await narrowed.start(keep)
    assert talker.hear is not None
    await talker.hear(Callback("talker", "one-1", called, "said"))
    assert [one.finding for one in kept] == ([heard] if heard else [])


async def test_harmless_questions_stay() -> None:
    """Balance and banks are asked for as before."""
    narrowed = narrow(Talker(Absent()), Grade.C)
    assert await narrowed.balance(1) == (Money(1, "RUB"),) and await narrowed.banks(1) == (Bank("1", "one"),)
    await narrowed.stop()
