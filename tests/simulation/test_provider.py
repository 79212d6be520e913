"""A simulated provider keeps what its contract promises whatever its temper; all else it may do badly, and its book tells the truth."""

from __future__ import annotations

import asyncio
import random

import pytest

from disburse.simulation.provider import ABSENT_AFTER_S, Promise, Provider, Temper
from tests.simulation.bare import Bare

ONCE = Promise(once=True, absent=False)
AGAIN = Promise(once=False, absent=False)
ABSENT = Promise(once=False, absent=True)
GUARDED = Promise(once=True, absent=True)


def _provider(bare: Bare, promise: Promise, **temper: float) -> Provider:
    return Provider("bank-1", promise, bare.loop, random.Random(1), Temper(**temper))  # type: ignore[arg-type]


def _paid(provider: Provider) -> list[str]:
    return [entry.key for entry in provider.book if entry.kind == "paid"]


def _take(provider: Provider, key: str = "k") -> str:
    return provider.take(key, "10.00", "RUB", "1111").state


def _wait(bare: Bare, seconds: float) -> None:
    bare.run(asyncio.sleep(seconds))


@pytest.mark.parametrize("promise, times", [(ONCE, 1), (GUARDED, 1), (AGAIN, 3), (ABSENT, 3)])
def test_a_known_id(bare: Bare, promise: Promise, times: int) -> None:
    """Who promises it pays an id once, however often it comes; who does not pays it each time."""
    provider = _provider(bare, promise)
    for _ in range(3):
        assert _take(provider) == "paid"
    assert _paid(provider) == ["k"] * times
    assert len(provider.received) == times


def test_the_book_is_what_was_ordered(bare: Bare) -> None:
    """The book has the key, sum, currency and destination of the order and the time of the payment; the misreported sum is not in it."""
    provider = _provider(bare, ONCE, misreports=1.0)
    _wait(bare, 3.0)
    order = provider.take("k", "10.00", "RUB", "1111")
    entry = provider.book[0]
    assert (entry.at, entry.provider, entry.key, entry.amount, entry.currency, entry.destination, entry.kind) == (
        3.0, "bank-1", "k", "10.00", "RUB", "1111", "paid",
    )  # fmt: skip
    assert provider.amount_shown(order) == "1.00"
    order.amount = "1.00"
    assert provider.amount_shown(order) == "2.00"


@pytest.mark.parametrize("ordered, moved", [("10.00", "1.00"), ("1.50", "15.00")])
def test_another_sum_is_paid(bare: Bare, ordered: str, moved: str) -> None:
    """Who pays another sum than was ordered has that one in its book and tells it; where answers name no sums nobody is cheated."""
    for names, sums in ((True, [ordered, moved]), (False, [ordered, ordered])):
        provider = _provider(bare, Promise(once=True, absent=True, names_sums=names), cheats=1.0, returns=1.0)
        order = provider.take("k", ordered, "RUB", "1111")
        assert [entry.amount for entry in (*provider.received, *provider.book)] == sums
        assert provider.amount_shown(order) == sums[-1]
        assert (provider.will_be(order) == "returned") is not names  # a wrong sum does not come back as well


@pytest.mark.parametrize("promise", [ABSENT, GUARDED])
def test_absent_is_for_ever(bare: Bare, promise: Promise) -> None:
    """A bank that promises it declares absent what it twice missed, so far apart, and never pays that id afterwards."""
    provider = _provider(bare, promise)
    assert provider.find("k") is None
    _wait(bare, ABSENT_AFTER_S - 0.1)
    assert provider.find("k") is None
    _wait(bare, 0.2)
    gone = provider.find("k")
    assert gone is not None and gone.state == "absent"
    assert _take(provider) == "absent"
    assert (_paid(provider), provider.received) == ([], [])


@pytest.mark.parametrize("promise", [ONCE, AGAIN])
def test_not_found_is_no_promise(bare: Bare, promise: Promise) -> None:
    """A provider that promises nothing about absence says "not found" however often, and pays the id when it comes."""
    provider = _provider(bare, promise)
    for _ in range(5):
        assert provider.find("k") is None
        _wait(bare, 60)
    assert _take(provider) == "paid"


@pytest.mark.parametrize("promise", [ABSENT, GUARDED])
def test_what_is_hidden_is_not_declared_absent(bare: Bare, promise: Promise) -> None:
    """An order that questions do not find for a while is never declared absent, and is found later as it stands."""
    provider = _provider(bare, promise, hides=1.0, hides_s=1000.0)
    _take(provider)
    hidden = provider.orders["k"].hidden_until
    assert hidden > ABSENT_AFTER_S * 2
    while bare.loop.time() < hidden - 6:
        assert provider.find("k") is None
        _wait(bare, 6)
    _wait(bare, 6)
    found = provider.find("k")
    assert found is not None and found.state == "paid"


def test_an_order_arrived_before_the_question_is_not_absent(bare: Bare) -> None:
    """An order that arrives after a first not-found is paid and found: no second question declares a paid id absent."""
    provider = _provider(bare, ABSENT)
    assert provider.find("k") is None
    assert _take(provider) == "paid"
    _wait(bare, 60)
    found = provider.find("k")
    assert found is not None and found.state == "paid"


def test_a_crash_loses_only_what_is_not_in_the_book(bare: Bare) -> None:
    """A provider that crashed knows its orders and its book, and has forgotten tokens and what it missed."""
    provider = _provider(bare, ABSENT)
    _take(provider, "paid before")
    provider.find("asked before")
    provider.tokens["t"] = 0.0
    provider.crash()
    assert not provider.up
    _wait(bare, 60)
    provider.recover()
    assert provider.up and provider.tokens == {}
    found = provider.find("paid before")
    assert found is not None and found.state == "paid"
    assert provider.find("asked before") is None


def test_later_is_decided_once(bare: Bare) -> None:
    """An order that is decided later is taken, then paid or refused, once, within its time; the teller hears of each step."""
    provider = _provider(bare, ONCE, later=1.0, longest_s=100.0)
    told: list[tuple[str, str]] = []
    provider.told = lambda order: told.append((order.key, order.state))
    keys = [f"k{number}" for number in range(30)]
    assert {_take(provider, key) for key in keys} == {"taken"}
    assert provider.book == []
    _wait(bare, 101)
    ends = {key: [state for told_key, state in told if told_key == key] for key in keys}
    assert all(steps in (["taken", "paid"], ["taken", "refused"]) for steps in ends.values())
    assert {steps[1] for steps in ends.values()} == {"paid", "refused"}
    assert sorted(_paid(provider)) == sorted(key for key, steps in ends.items() if steps[1] == "paid")


@pytest.mark.parametrize("temper, short", [({"refuses": 1.0}, False), ({"short": 1.0}, True)])
def test_a_refused_order_pays_nothing(bare: Bare, temper: dict[str, float], short: bool) -> None:
    """A refused order moves no money, then or later, and says whether it was for want of our money there."""
    provider = _provider(bare, ONCE, **temper)
    assert _take(provider) == "refused"
    assert provider.orders["k"].short is short
    _wait(bare, 1000)
    assert (provider.book, len(provider.received)) == ([], 1)


def test_a_refused_order_is_paid_after_all(bare: Bare) -> None:
    """A provider that relents pays, once, what it said it had refused, and tells it; who refuses by a code for want of our money has forgotten the order."""
    provider = _provider(bare, ABSENT, refuses=1.0, relents=1.0)
    told: list[str] = []
    provider.told = lambda order: told.append(order.state)
    assert _take(provider) == "refused" and provider.will_be(provider.orders["k"]) == "paid"
    _wait(bare, 601)
    assert (told, _paid(provider), provider.lied()) == (["refused", "paid"], ["k"], {"k"})
    provider.temper = Temper(short=1.0, relents=1.0)
    assert _take(provider, "short") == "refused"
    _wait(bare, 61)
    assert (_paid(provider), provider.lied()) == (["k", "short"], {"k", "short"})
    forgetful = _provider(bare, ONCE, short=1.0, relents=1.0)
    assert _take(forgetful) == "refused"
    _wait(bare, 601)
    assert not forgetful.book and not forgetful.lied()


@pytest.mark.parametrize("promise, kinds", [(ABSENT, ["paid", "returned"]), (ONCE, ["paid"])])
def test_money_comes_back(bare: Bare, promise: Promise, kinds: list[str]) -> None:
    """Only after it was paid may money come back, at kinds of provider that have a word for it."""
    provider = _provider(bare, promise, returns=1.0)
    _take(provider)
    _wait(bare, 61)
    assert [entry.kind for entry in provider.book] == kinds


def test_an_earlier_state_is_told(bare: Bare) -> None:
    """A flapping provider may tell the state before the last, never another, and its order stays what it is."""
    provider = _provider(bare, ONCE, later=1.0, longest_s=1.0, flaps=0.5)
    _take(provider)
    _wait(bare, 2)
    order = provider.orders["k"]
    assert {provider.state_shown(order) for _ in range(50)} == {"taken", order.state}
    assert order.state in ("paid", "refused")


def test_what_is_calm_behaves(bare: Bare) -> None:
    """Once it is calm a provider hides, refuses and puts off nothing more, and what it had put off happens within seconds, once."""
    provider = _provider(bare, ONCE, later=1.0, longest_s=72 * 3600.0, hides=1.0, hides_s=1000.0, unlisted=1.0)
    keys = [f"k{number}" for number in range(10)]
    for key in keys:
        _take(provider, key)
    provider.crash()
    provider.calm()
    assert provider.up and not provider.strange()
    _wait(bare, 3)
    assert {provider.orders[key].state for key in keys} <= {"paid", "refused"}
    assert all(provider.find(key) is not None for key in keys)
    paid = len(_paid(provider))
    assert _take(provider, "new") == "paid"
    _wait(bare, 73 * 3600)
    assert len(_paid(provider)) == paid + 1


def test_every_mischief_is_counted(bare: Bare) -> None:
    """What a provider does badly is told to whoever counts faults."""
    provider = _provider(bare, ABSENT, later=0.4, hides=0.5, hides_s=1.0, misreports=0.5, returns=0.5, flaps=0.9, unlisted=0.5)
    harmed: set[str] = set()
    provider.harmed = harmed.add
    for number in range(40):
        _take(provider, f"k{number}")
    _wait(bare, 100)
    for order in list(provider.orders.values()):
        provider.state_shown(order)
        provider.strange()
    assert harmed == {"later", "hides", "misreports", "returns", "flaps", "unlisted"}
