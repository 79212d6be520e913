"""A second yes: who may ask and agree, and corrections of a merchant's money that take two persons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from disburse.domain.money import Money
from disburse.domain.outcomes import Unknown
from disburse.operations.approvals import (
    AlreadyDecided,
    Answered,
    Ask,
    Asked,
    NoSuchRequest,
    NoSuchTopUp,
    NotAvailable,
    SamePerson,
)
from disburse.operations.merchants import ReferenceReused, TopUp, top_up
from disburse.operations.operators import NeedsOperator
from disburse.operations.payouts import NoSuchMerchant
from disburse.operations.verify import verify
from tests.operations.persons import ANNA, BORIS, PAID, Persons
from tests.operations.shop import Shop


async def book(shop: Shop, minor: int, reference: str, merchant: int = 1) -> Any:
    command = TopUp(shop.new_id(), merchant, reference, Money(minor, "RUB"), shop.now(), "cli")
    return (await shop.database.run(lambda tx: top_up(tx, 0, [command])))[0]


@pytest.fixture
async def persons(shop: Shop) -> Persons:
    """Anna and Boris, and a merchant with 50.00 from two top-ups."""
    await shop.merchant(1)
    await book(shop, 3000, "first")
    await book(shop, 2000, "second")
    return await Persons(shop).come()


async def holds(shop: Shop) -> None:
    report = await verify(shop.database)
    assert report.holds, report.findings


MakeAsk = Callable[[Persons], Ask]
MONEY: dict[str, tuple[MakeAsk, str, dict[str, int], str]] = {
    "a top-up turned round": (
        lambda p: p.reverse(1, "second"), "reversed", {"available": 3000, "funding": -3000}, "top_up.reversed"),
    "a withdrawal": (
        lambda p: p.withdraw(1, 1500, "w-1"), "withdrawn", {"available": 3500, "funding": -3500}, "withdrawal"),
    "all of it withdrawn": (lambda p: p.withdraw(1, 5000, "w-1"), "withdrawn", {}, "withdrawal"),
}  # fmt: skip


@pytest.mark.parametrize("name", MONEY)
async def test_two_persons_move_it(persons: Persons, name: str) -> None:
    """Nothing happens on one word; on the second the money moves, once, is told in an event, and the books are whole."""
    make, effect, books, event = MONEY[name]
    asked = await persons.asked(make(persons))
    assert asked.fresh and await persons.shop.balances(1) == {"available": 5000, "funding": -5000}
    answered = await persons.answer(asked.request.request_id)
    assert isinstance(answered, Answered) and answered.decision.effect == effect
    assert await persons.shop.balances(1) == books
    assert (await persons.shop.events(1))[-1] == event
    await holds(persons.shop)
    again = await persons.asked(make(persons))
    assert (again.fresh, again.done, again.request) == (False, True, asked.request)
    assert isinstance(await persons.answer(asked.request.request_id), AlreadyDecided)
    assert await persons.shop.balances(1) == books
    await holds(persons.shop)


ALL: dict[str, MakeAsk] = {name: make for name, (make, *_) in MONEY.items()}


@pytest.mark.parametrize("name", ALL)
async def test_one_person_is_not_two(persons: Persons, name: str) -> None:
    """Who asked cannot agree, by whatever request; the command line as such can neither ask nor answer."""
    asked = await persons.asked(ALL[name](persons))
    request = asked.request.request_id
    assert isinstance(await persons.answer(request, by=ANNA), SamePerson)
    for nobody in ("cli", "merchant:1", "worker:w", ""):
        assert isinstance(await persons.ask(replace(ALL[name](persons), actor=nobody)), NeedsOperator)
        for yes in (True, False):
            assert isinstance(await persons.answer(request, by=nobody, yes=yes), NeedsOperator)
    assert await persons.shop.balances(1) == {"available": 5000, "funding": -5000}
    assert await persons.shop.rows("SELECT 1 FROM decisions") == []


@pytest.mark.parametrize("name", ALL)
async def test_a_refused_request_may_be_asked_again(persons: Persons, name: str) -> None:
    """A refusal does nothing, cannot be taken back, and leaves the thing itself to be asked for anew; who asked may refuse."""
    first = (await persons.asked(ALL[name](persons))).request.request_id
    refused = await persons.answer(first, yes=False, by=ANNA, why="a mistake")
    assert isinstance(refused, Answered) and (refused.decision.verdict, refused.decision.effect) == ("refused", "a mistake")
    assert isinstance(await persons.answer(first), AlreadyDecided)
    assert await persons.shop.balances(1) == {"available": 5000, "funding": -5000}
    second = await persons.asked(ALL[name](persons))
    assert second.fresh and second.request.request_id != first
    await persons.answer(second.request.request_id)
    await holds(persons.shop)


@pytest.mark.parametrize("make", [lambda p: p.reverse(1, "first"), lambda p: p.withdraw(1, 2001, "w")])
async def test_never_below_what_is_available(persons: Persons, make: MakeAsk) -> None:
    """Money that payouts have reserved meanwhile is not taken out: neither asked for nor agreed to; later it may be."""
    asked = await persons.asked(make(persons))
    payout = await persons.shop.paid_out(1, amount=3000)
    told = await persons.answer(asked.request.request_id)
    assert isinstance(told, NotAvailable) and told.available == Money(2000, "RUB")
    assert isinstance(await persons.ask(persons.withdraw(1, 2001, "other")), NotAvailable)
    assert await persons.shop.balances(1) == {"available": 2000, "funding": -5000, "held": 3000}
    await persons.shop.cancel(persons.shop.act(payout))
    assert isinstance(await persons.answer(asked.request.request_id), Answered)
    await holds(persons.shop)


async def test_one_reference_one_withdrawal(persons: Persons) -> None:
    """A known reference asks for nothing new; with another amount or currency it is refused; a second one is another."""
    first = await persons.asked(persons.withdraw(1, 100, "w"))
    again = await persons.asked(persons.withdraw(1, 100, "w", by=BORIS))
    assert (again.fresh, again.done, again.request) == (False, False, first.request)
    for other in (persons.withdraw(1, 101, "w"), persons.withdraw(1, 100, "w", currency="USD")):
        assert isinstance(await persons.ask(other), ReferenceReused)
    assert (await persons.asked(persons.withdraw(1, 100, "w-2"))).fresh


async def test_many_ask_at_once(persons: Persons) -> None:
    """However many ask for one withdrawal, and agree, at the same time, it is one request and one withdrawal."""
    asked = await asyncio.gather(*[persons.ask(persons.withdraw(1, 100, "w")) for _ in range(6)])
    assert all(isinstance(one, Asked) for one in asked)
    (request,) = {one.request.request_id for one in asked if isinstance(one, Asked)}
    answers = await asyncio.gather(*[persons.answer(request) for _ in range(6)])
    assert sum(isinstance(one, Answered) for one in answers) == 1
    assert await persons.shop.balances(1) == {"available": 4900, "funding": -4900}
    await holds(persons.shop)


async def test_a_top_up_turned_round_stays_so(persons: Persons) -> None:
    """The reference of a reversed top-up is burnt: it books nothing again, and what was never booked is not turned round."""
    assert await persons.agree(persons.reverse(1, "second")) == "reversed"
    assert await book(persons.shop, 2000, "second") is False
    assert isinstance(await persons.ask(persons.reverse(1, "third")), NoSuchTopUp)
    assert isinstance(await persons.ask(persons.reverse(9, "second")), NoSuchMerchant)
    assert isinstance(await persons.answer(persons.new()[0]), NoSuchRequest)
    await holds(persons.shop)


async def test_a_merchants_references_are_its_own(persons: Persons) -> None:
    """Two merchants may use one reference for top-ups and withdrawals; neither touches the other's money."""
    await persons.shop.merchant(2)
    await book(persons.shop, 700, "second", merchant=2)
    await persons.agree(persons.withdraw(1, 100, "w"))
    await persons.agree(persons.withdraw(2, 200, "w"))
    await persons.agree(persons.reverse(1, "second"))
    assert await persons.shop.balances(1) == {"available": 2900, "funding": -2900}
    assert await persons.shop.balances(2) == {"available": 500, "funding": -500}
    await holds(persons.shop)


async def test_what_was_said_stays_said(persons: Persons) -> None:
    """Evidence is kept with its digest and size; a card number in it is not kept; rows cannot be changed (see test_roles)."""
    shop = persons.shop
    payout = await shop.paid_out(1)
    await shop.hear_of(await shop.opened(payout), Unknown("x"))
    paper = "statement of 21.11., card 4111 1111 1111 1111, line 7"
    asked = await persons.asked(persons.resolve(payout, PAID, evidence=paper))
    assert asked.request.evidence == "statement of 21.11., card (a card number), line 7"
    [row] = await shop.rows("SELECT evidence, evidence_bytes, actor FROM requests")
    assert tuple(row) == (asked.request.evidence, len(paper), ANNA)
