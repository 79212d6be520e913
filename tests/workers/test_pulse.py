"""Providers that are down, slow or poor, with real workers on a real database: a queue grows, and it drains when they are back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from disburse.domain.breaker import BreakerLimits, Rate
from disburse.domain.money import Money
from disburse.domain.outcomes import Unknown
from disburse.domain.ports import World
from disburse.domain.routing import Rule
from disburse.operations.desk import Batches, Desk
from disburse.operations.providers import Providers, Terms
from disburse.storage.database import Database
from disburse.wiring import route_of
from disburse.workers.pulse import Pulse
from tests.workers.provider import CLOSED, INSTALLATION, LOSE, PAY, PAY_SILENTLY, Process, Provider, Town

HOUR_S = 3600.0  # of the database's clock, which no test moves: longer than any machine is slow
TERMS = Terms(
    BreakerLimits(failures=5, rest_s=HOUR_S, longest_rest_s=HOUR_S, trials=2, trial_s=HOUR_S), balance_every_s=HOUR_S,
    balance_fresh_s=24 * HOUR_S,
)  # fmt: skip


class Knowing(Process):
    """A worker process that feels the providers' pulse."""

    def __init__(
        self, town: Town, name: str, terms: Terms = TERMS, *, rules: tuple[Rule, ...] = (), window: int = 1000, asks: bool = True
    ) -> None:
        providers = Providers(town.database, town.clock, dict.fromkeys(town.providers, terms))
        desk = Desk(
            town.database, town.world, town.vault, INSTALLATION, fees={}, batches=Batches(lambda name, size: None), rules=rules,
            routes=[route_of(provider) for provider in town.providers.values()], providers=providers,
        )  # fmt: skip
        super().__init__(town, name, desk=desk, window=window, asks=asks)
        self._pulse = Pulse(desk, dict(town.providers), town.world)
        providers.on_news = self._pulse.pace.wake

    def start(self) -> Knowing:
        super().start()
        self.tasks.append(asyncio.create_task(self._pulse.run()))
        return self


async def breaker(town: Town, name: str = "bank") -> str:
    rows = await town.rows("SELECT breaker FROM connector_facts WHERE connector = $1", name)
    return str(rows[0][0]) if rows else ""


def stands(town: Town, state: str, name: str = "bank") -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await breaker(town, name) == state

    return look


async def quiet(town: Town, workers: Sequence[Knowing], states: dict[str, int]) -> None:
    """Until every worker knows what stands against a provider, nothing is under way, and it stays so for a while."""
    seen = 0

    async def still() -> bool:
        nonlocal seen
        knows = all(any(one.calls == 0 for one in worker.desk.providers.facts().values()) for worker in workers)
        seen = seen + 1 if knows and await town.states() == states else 0
        return seen >= 5

    await town.until(still, step_s=0.3)


async def rest_is_over(town: Town) -> None:
    """The rest, or the trial, that is under way ended a second ago by the database's clock."""
    await town.rows(
        """UPDATE connector_facts SET version = version + 1, retry_at = least(retry_at, clock_timestamp() - interval '1 s'),
               trial_until = least(trial_until, clock_timestamp() - interval '1 s') RETURNING 1"""
    )


async def rest_for_an_hour(town: Town) -> None:
    """The rest that is under way lasts for an hour by the database's clock."""
    await town.rows(
        "UPDATE connector_facts SET version = version + 1, retry_at = clock_timestamp() + interval '1 h' RETURNING 1"
    )


async def test_a_provider_that_is_down_grows_a_queue(town: Town, bank: Provider) -> None:
    """Nothing fails while the only provider is down: a few calls find out, then none go out, and all is paid once it is back."""
    bank.closed = True
    workers = [Knowing(town, name).start() for name in ("a", "b")]
    await town.pay(*[PAY] * 40)
    await town.until(stands(town, "open"))
    await quiet(town, workers, {"queued": 40})
    await rest_for_an_hour(town)  # however slow this machine is
    called = len(bank.calls)
    await town.pay(*[PAY] * 20)
    attempts = await town.rows("SELECT count(*) FROM attempts")
    for _ in range(20):
        await town.clock.advance(3)
    assert await town.states() == {"queued": 60} and len(bank.calls) == called
    assert await town.rows("SELECT count(*) FROM attempts") == attempts, "a queue costs nothing"
    await rest_is_over(town)
    await town.until(lambda: more_calls(bank, called))
    await town.until(stands(town, "open"))
    assert called < len(bank.calls) <= called + 2, "two trial calls, in vain"
    bank.closed = False
    await rest_is_over(town)
    await town.until(town.all_final)
    for worker in workers:
        await worker.stop()
    assert await town.states() == {"paid": 60} and await breaker(town) == "closed"
    await town.agrees()


async def more_calls(bank: Provider, before: int) -> bool:
    return len(bank.calls) > before


async def test_another_provider_takes_over(database: Database, world: World, tmp_path: Path) -> None:
    """The first of two is down: what it did not get goes to the second, on proof, and nothing is paid twice."""
    first, second = Provider("first"), Provider("second")
    first.closed = True
    town = await Town(database, world, tmp_path, [first, second]).settle_in()
    worker = Knowing(town, "w").start()
    await town.pay(*[PAY] * 10)
    await town.until(town.all_final)
    assert await town.states() == {"paid": 10} and len(second.paid) == 10 and first.paid == []
    assert await breaker(town, "first") == "open"
    called = len(first.calls)
    await town.pay(*[PAY, PAY_SILENTLY] * 5)
    await town.until(town.all_final)
    await worker.stop()
    assert len(first.calls) == called and len(second.paid) == 20
    await town.agrees()


async def test_doubt_stays_where_it_is_while_others_go_around(database: Database, world: World, tmp_path: Path) -> None:
    """Answers lost at the first provider are asked about there; only payouts that were not begun go to the second."""
    first, second = Provider("first"), Provider("second")
    town = await Town(database, world, tmp_path, [first, second]).settle_in()
    first.deaf = True
    worker = Knowing(town, "w").start()
    await town.pay(*[PAY_SILENTLY] * 5)
    await town.until(stands(town, "open", "first"))
    await town.pay(*[PAY] * 4)
    await quiet(town, [worker], {"in_doubt": 5, "paid": 4})
    assert len(first.paid) == 5 and len(second.paid) == 4
    first.deaf = False
    await town.until(town.all_final)
    await worker.stop()
    assert len(second.paid) == 4
    await town.agrees()


async def test_killed_in_the_middle_of_a_trial(town: Town, bank: Provider) -> None:
    """Killed with the trial calls under way, a worker leaves a lease and a trial; both run out, and others go on."""
    bank.closed = True
    worker = Knowing(town, "w").start()
    await town.pay(*[PAY] * 12)
    await town.until(stands(town, "open"))
    await town.clock.advance(700)
    bank.closed = False
    bank.exit.clear()
    await rest_is_over(town)
    await town.until(lambda: inside(bank, 2))
    await worker.crash()
    bank.exit.set()
    assert await breaker(town) == "half_open"
    heir = Knowing(town, "heir").start()
    await town.clock.advance(10)
    assert await town.states() == {"in_flight": 2, "queued": 10}, "the trial is another worker's"
    await rest_is_over(town)
    await town.lapse()
    await town.until(town.all_final)
    await heir.stop()
    assert await breaker(town) == "closed"
    await town.agrees()


async def inside(bank: Provider, count: int) -> bool:
    return bank.inside == count


@pytest.mark.parametrize("seed", range(3))
async def test_killed_again_and_again_with_a_provider_that_comes_and_goes(town: Town, bank: Provider, seed: int) -> None:
    """Workers die wherever they are while the provider goes down and comes back: in the end all is paid, once."""
    await town.pay(*[PAY, PAY_SILENTLY, LOSE, CLOSED] * 6)
    for life in range(6):
        bank.closed = (life + seed) % 3 != 0
        worker = Knowing(town, f"w{life}", window=(3, 1000)[life % 2]).start()
        await town.clock.advance((0.0, 0.3, 2.0)[(life + seed) % 3])
        await worker.crash()
        await town.lapse()
        if life % 2:
            await rest_is_over(town)
    bank.closed = False
    last = Knowing(town, "last").start()

    async def ended() -> bool:
        await rest_is_over(town)
        return await town.all_final()

    await town.until(ended, step_s=0.2)
    await last.stop()
    assert await town.states() == {"paid": 24}
    await town.agrees()


async def test_a_rate_holds_for_all_workers(town: Town, bank: Provider) -> None:
    """Two workers with a rate between them send no more than it allows, fail nothing, and send the rest with time."""
    terms = replace(TERMS, rate=Rate(1 / 600, 7))
    workers = [Knowing(town, name, terms).start() for name in ("a", "b")]
    await town.pay(*[PAY] * 20)
    await quiet(town, workers, {"paid": 7, "queued": 13})
    for _ in range(10):
        await town.clock.advance(5)
    assert len(bank.calls) == 7 and (await town.states()) == {"paid": 7, "queued": 13}

    async def ended() -> bool:
        await town.rows("UPDATE connector_facts SET tokens_free_at = tokens_free_at - interval '1 h' RETURNING 1")
        await town.clock.advance(600)
        return await town.all_final()

    await town.until(ended)
    for worker in workers:
        await worker.stop()
    assert len(bank.calls) == 20
    await town.agrees()


class Poor(Provider):
    """A provider that says what it holds."""

    def __init__(self, name: str, told: tuple[Money, ...] | Unknown | Exception) -> None:
        super().__init__(name)
        self.capabilities = replace(self.capabilities, balance=True)
        self.told, self.questions = told, 0

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        self.questions += 1
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


async def test_a_provider_that_holds_too_little_is_passed_over(database: Database, world: World, tmp_path: Path) -> None:
    """What a provider holds is asked once for all workers; where it is too little the next route is taken, and that is told."""
    poor, rich = Poor("poor", (Money(10_00, "RUB"),)), Provider("rich")
    town = await Town(database, world, tmp_path, [poor, rich]).settle_in()
    workers = [Knowing(town, name).start() for name in ("a", "b")]
    await town.until(lambda: told_balance(town, 1000))
    await town.until(lambda: all_know(workers))
    payouts = await town.pay(PAY, PAY, PAY)  # 10.00, 11.00, 12.00
    await town.until(town.all_final)
    for worker in workers:
        await worker.stop()
    assert poor.questions == 1 and [minor for _, minor in poor.paid] == [1000] and len(rich.paid) == 2
    rows = await town.rows("SELECT payout_id, decision FROM routings WHERE shard = 0 ORDER BY since, payout_id")
    assert {row[0] for row in rows} == {one.payout_id for one in payouts[1:]}
    assert all('["poor","balance","' in row[1] for row in rows)
    await town.agrees()


async def all_know(workers: Sequence[Knowing]) -> bool:
    return all(worker.desk.providers.facts() for worker in workers)


async def told_balance(town: Town, minor: int) -> bool:
    rows = await town.rows("SELECT balance_minor FROM connector_balances")
    return [row[0] for row in rows] == [minor]


@pytest.mark.parametrize("told", [Unknown("time-out"), RuntimeError("a bug")], ids=["no answer", "a bug"])
async def test_a_provider_that_does_not_tell_is_not_held_back(
    database: Database, world: World, tmp_path: Path, told: Unknown | Exception
) -> None:
    """Without an answer about its balance nothing is held against a provider, and why it did not tell is kept."""
    silent = Poor("silent", told)
    town = await Town(database, world, tmp_path, [silent]).settle_in()
    worker = Knowing(town, "w").start()
    await town.until(lambda: said_why(town))
    await town.pay(PAY)
    await town.until(town.all_final)
    await worker.stop()
    assert len(silent.paid) == 1


async def said_why(town: Town) -> bool:
    rows = await town.rows("SELECT balance_fault FROM connector_facts")
    return [row[0] for row in rows] in (["time-out"], ["connector fault: RuntimeError"])


async def test_rules_reach_the_sender(database: Database, world: World, tmp_path: Path) -> None:
    """A rule sends what it fits elsewhere than the order of the settings would."""
    first, second = Provider("first"), Provider("second")
    town = await Town(database, world, tmp_path, [first, second]).settle_in()
    rule = Rule("from 11", currencies=("RUB",), from_minor=1100, connectors=("second",))
    worker = Knowing(town, "w", rules=(rule,)).start()
    await town.pay(PAY, PAY, PAY)
    await town.until(town.all_final)
    await worker.stop()
    assert [minor for _, minor in first.paid] == [1000] and sorted(minor for _, minor in second.paid) == [1100, 1200]
    await town.agrees()
