"""What all workers know of a provider, through PostgreSQL: one breaker, one rate, one turn to ask; and nobody who died holds it up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from disburse.domain.breaker import BreakerLimits, BreakerState, Rate
from disburse.domain.outcomes import Accepted, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.domain.routing import Why
from disburse.operations.providers import TOKENS_S, Providers, Terms
from disburse.storage import connector_facts
from disburse.storage.connector_facts import ConnectorRow
from disburse.storage.database import Database, Transaction
from tests.clock import FakeClock

LIMITS = BreakerLimits(failures=5, percent=80, window_s=600, rest_s=600, longest_rest_s=3600, trials=2, trial_s=300)
LOST = Unknown("time-out")


class Office:
    """Worker processes on one database, each with a clock of its own that stands still."""

    def __init__(self, database: Database, terms: dict[str, Terms]) -> None:
        self.database, self.terms = database, terms

    async def worker(self) -> Providers:
        """A process that has begun."""
        made = Providers(self.database, FakeClock(), self.terms)
        await made.refresh()
        return made

    async def row(self, name: str = "bank") -> ConnectorRow:
        return (await self.database.run(connector_facts.read))[name]

    async def state(self) -> BreakerState:
        return (await self.row()).breaker.state

    async def change(self, sql: str) -> None:
        """Let time have passed for the rows."""

        async def work(tx: Transaction) -> None:
            await tx.execute(sql)

        await self.database.run(work)

    async def rest_is_over(self) -> None:
        await self.change("UPDATE connector_facts SET retry_at = clock_timestamp() - interval '1 s' WHERE retry_at IS NOT NULL")

    async def trial_is_over(self) -> None:
        await self.change("UPDATE connector_facts SET trial_until = clock_timestamp() - interval '1 s', version = version + 1")


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database, {"bank": Terms(LIMITS)})


def call(worker: Providers, outcome: Outcome, times: int = 1, *, generation: int | None = None) -> None:
    """So many calls that began now, or under an earlier generation, ended so."""
    for _ in range(times):
        worker.ended("bank", worker.generation("bank") if generation is None else generation, outcome)


async def test_workers_agree_that_a_provider_is_down(office: Office) -> None:
    """Calls that two workers lost together open the breaker for a third one, which has called nobody."""
    first, second, third = [await office.worker() for _ in range(3)]
    for worker in (first, second):
        call(worker, LOST, 3)
        await worker.tell()
    assert third.facts() == {} and await third.prepare(10, "third") == 10
    await third.refresh()
    assert third.facts()["bank"].why is Why.BREAKER and await third.prepare(10, "third") == 0
    row = await office.row()
    assert (row.breaker.state, row.breaker.openings, row.last_fault) == (BreakerState.OPEN, 1, "time-out")


@pytest.mark.parametrize(
    "outcome, state",
    [(NotSent("refused"), "open"), (LOST, "open"), (Rejected("card closed"), "closed"), (Rejected("short", elsewhere=True), "closed"),
     (Settled(), "closed"), (Accepted(), "closed")],
)  # fmt: skip
async def test_only_silence_counts(office: Office, outcome: Outcome, state: str) -> None:
    """What was not sent, and what nobody knows, opens a breaker; refusals, however many, do not."""
    worker = await office.worker()
    call(worker, outcome, 50)
    await worker.tell()
    assert await office.state() == state


async def test_answers_outweigh_a_few_losses(office: Office) -> None:
    """A provider that answers most calls stays in use."""
    worker = await office.worker()
    call(worker, Settled(), 10)
    call(worker, LOST, 10)
    await worker.tell()
    assert await office.state() == "closed"


async def test_many_tellers_at_once_lose_nothing(office: Office) -> None:
    """Ten workers that tell one loss each in the same moment have told ten."""
    office.terms = {"bank": Terms(BreakerLimits(failures=100, window_s=600))}
    workers = [await office.worker() for _ in range(10)]
    for worker in workers:
        call(worker, LOST)
    for group in (workers[:5], workers[5:]):
        await asyncio.gather(*[worker.tell() for worker in group])
    assert (await office.row()).breaker.bad == 10


async def test_an_even_day_writes_nothing(office: Office) -> None:
    """While every call is answered nobody writes to the shared row."""
    worker = await office.worker()
    before = await office.row()
    call(worker, Settled(), 1000)
    await worker.tell()
    assert await office.row() == before


async def opened(office: Office) -> tuple[Providers, Providers]:
    """Two workers that know that the bank is down."""
    first, second = await office.worker(), await office.worker()
    call(first, LOST, 5)
    await first.tell()
    await second.refresh()
    return first, second


async def test_one_worker_tries(office: Office) -> None:
    """Before the rest is over nobody tries; then exactly one worker has the trial calls, and no more of them than are set."""
    first, second = await opened(office)
    assert await first.prepare(500, "first") == await second.prepare(500, "second") == 0
    await office.rest_is_over()
    for worker in (first, second):
        await worker.refresh()
    got = await asyncio.gather(first.prepare(500, "first"), second.prepare(500, "second"))
    assert sorted(got) == [0, 2]
    assert (await office.row()).breaker.trial_by in ("first", "second")


async def tried(office: Office) -> tuple[Providers, Providers]:
    """The first of two workers has the trial calls."""
    first, second = await opened(office)
    await office.rest_is_over()
    await first.refresh()
    assert await first.prepare(500, "first") == 2
    await second.refresh()
    return first, second


@pytest.mark.parametrize("outcome, state", [(Settled(), "closed"), (Rejected("no"), "closed"), (LOST, "open")])
async def test_a_trial_decides_for_all(office: Office, outcome: Outcome, state: str) -> None:
    """An answered trial call puts the provider in use again, for every worker; a lost one makes the rest longer."""
    first, second = await tried(office)
    call(first, outcome)
    await first.tell()
    await second.refresh()
    assert await office.state() == state
    assert await second.prepare(500, "second") == (500 if state == "closed" else 0)
    row = await office.row()
    if state == "open":
        assert row.breaker.retry_at is not None
        assert timedelta(seconds=1000) < row.breaker.retry_at - row.breaker.changed_at <= timedelta(seconds=1200)


async def test_whoever_died_with_the_trial_holds_nobody_up(office: Office) -> None:
    """Killed after it took the trial calls, a worker is followed by another one when their time is over."""
    _, second = await tried(office)
    assert await second.prepare(500, "second") == 0
    await office.trial_is_over()
    await second.refresh()
    assert await second.prepare(500, "second") == 2
    assert (await office.row()).breaker.trial_by == "second"


async def test_stragglers_of_a_bad_minute_do_not_count(office: Office) -> None:
    """Answers to calls that began before the breaker opened do not close it, nor do their losses open it after a trial."""
    first, second = await tried(office)
    call(first, Settled(), 20, generation=0)
    await first.tell()
    assert await office.state() == "half_open"
    call(first, Settled())
    await first.tell()
    call(first, LOST, 50, generation=0)
    call(second, LOST, 50, generation=1)
    await first.tell()
    await second.tell()
    assert await office.state() == "closed"


async def test_a_worker_that_begins_learns_before_it_claims(office: Office) -> None:
    """A process that has just started claims nothing for a provider that the others left alone."""
    await opened(office)
    fresh = Providers(office.database, FakeClock(), office.terms)
    assert await fresh.prepare(10, "fresh") == 0


async def test_trials_are_for_what_is_wanted(database: Database) -> None:
    """With another provider in use, a rest that is over is tried by the worker whose claims wanted that provider."""
    office = Office(database, {"bank": Terms(LIMITS), "other": Terms(LIMITS)})
    first, second = await opened(office)
    await office.rest_is_over()
    for worker, wanted in ((first, {"other": 7}), (second, {"bank": 7, "other": 7})):
        await worker.refresh()
        worker.used(wanted, [None] * 7)
        assert await worker.prepare(10, "w") == 10
    assert "bank" in first.facts() and first.facts()["bank"].calls == 0
    assert second.facts()["bank"].calls == 2


async def test_two_providers_that_are_down_are_both_tried(database: Database) -> None:
    """With every provider down nothing is claimed, so nothing is wanted; when their rests are over they are tried all the same."""
    office = Office(database, {"bank": Terms(LIMITS), "other": Terms(LIMITS)})
    worker = await office.worker()
    for name in ("bank", "other"):
        for _ in range(5):
            worker.ended(name, worker.generation(name), LOST)
    await worker.tell()
    worker.used({"bank": 5}, [None] * 5)
    assert await worker.prepare(10, "w") == 0
    worker.used({}, [None] * 5)
    await office.rest_is_over()
    await worker.refresh()
    assert await worker.prepare(10, "w") == 4


# --- the rate ---


@pytest.fixture
def slow(database: Database) -> Office:
    """A bank that takes a call in ten minutes, and three at once."""
    return Office(database, {"bank": Terms(LIMITS, Rate(1 / 600, 3))})


async def test_a_rate_is_one_for_all_workers(slow: Office) -> None:
    """However many workers ask, together they are given what the rate allows."""
    workers = [await slow.worker() for _ in range(5)]
    got = await asyncio.gather(*[worker.prepare(2, f"w{n}") for n, worker in enumerate(workers)])
    assert sum(got) == 3
    again = [await worker.prepare(2, "w") for worker in workers]
    assert again == got, "what was not used is still there, and no more is given"


async def test_tokens_are_used_and_lapse(slow: Office) -> None:
    """A token goes with each call that is begun; what lies unused for a while is lost, and comes again with time."""
    worker = await slow.worker()
    assert await worker.prepare(500, "w") == 3 and worker.facts()["bank"].calls == 3
    clock = worker._clock
    assert isinstance(clock, FakeClock)
    await clock.advance(TOKENS_S)
    assert worker.facts()["bank"].calls == 0 and worker.facts()["bank"].why is Why.RATE
    assert await worker.prepare(500, "w") == 0
    await slow.change("UPDATE connector_facts SET tokens_free_at = tokens_free_at - interval '20 min'")
    await clock.advance(600)
    assert await worker.prepare(500, "w") == 2


async def test_a_batch_of_tokens_is_one_statement_for_many_payouts(slow: Office, database: Database) -> None:
    """Tokens for a whole batch are taken at once, and nothing is asked again while they last."""
    slow.terms = {"bank": Terms(LIMITS, Rate(1000, 500))}
    worker = await slow.worker()
    assert await worker.prepare(400, "w") == 400
    row = await slow.row()
    assert await worker.prepare(300, "w") == 300
    assert await slow.row() == row


# --- balances ---


async def test_one_worker_asks_for_a_balance(office: Office) -> None:
    """Of all workers one has the turn, and none before the interval is over."""
    workers = [await office.worker() for _ in range(4)]
    assert sum(await asyncio.gather(*[worker.turn_to_ask("bank") for worker in workers])) == 1
    for worker in workers:
        await worker.refresh()
        assert not await worker.turn_to_ask("bank")
    await office.change("UPDATE connector_facts SET balance_turn_at = clock_timestamp() - interval '61 s'")
    await workers[0].refresh()
    assert await workers[0].turn_to_ask("bank")
    assert not await workers[0].turn_to_ask("nobody")


async def test_a_balance_counts_while_it_is_fresh(office: Office) -> None:
    """What a provider told is held against it by every worker; too old, or not told, it is held against nobody."""
    first, second = await office.worker(), await office.worker()
    await first.store_balances("bank", [("RUB", 5000), ("USD", 7)])
    await second.refresh()
    assert second.facts()["bank"].balances == (("RUB", 5000), ("USD", 7))
    await first.store_balances("bank", [], "time-out")
    assert (await office.row()).balance_fault == "time-out"
    await second.refresh()
    assert second.facts()["bank"].balances[0] == ("RUB", 5000)
    await office.change("UPDATE connector_balances SET asked_at = asked_at - interval '301 s'")
    await second.refresh()
    assert second.facts() == {}
    await first.store_balances("bank", [("RUB", 1)])
    await second.refresh()
    assert second.facts()["bank"].balances == (("RUB", 1),) and (await office.row()).balance_fault is None


async def test_who_only_looks_sees_what_will_be(slow: Office) -> None:
    """An outlook counts nobody's tokens, tells a rest that goes on, and not one that is over."""
    watcher = await slow.worker()
    assert watcher.outlook()["bank"].calls is None
    await opened(slow)
    await watcher.refresh(make=False)
    assert watcher.outlook()["bank"].calls == 0
    await slow.rest_is_over()
    await watcher.refresh(make=False)
    assert watcher.outlook()["bank"].calls is None
