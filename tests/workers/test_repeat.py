"""Sending again with the same id: only where the contract makes it harmless, never with a new id, never on an old question."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from disburse.connectors.contract import Capabilities, Order, Question
from disburse.domain.attempt import Attempt, AttemptState
from disburse.domain.destinations import Rail
from disburse.domain.outcomes import Accepted, Finding, NotFound, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.domain.ports import World
from disburse.operations.attempts import NOBODY
from disburse.storage.database import Database
from disburse.workers.repeat import FRESH_S, MARGIN_S, QUIET_S, SETTLED_DOWN_S, may_repeat
from tests.clock import START
from tests.workers.provider import Process, Provider, Town

DAY_S = 86400.0


class Forgetful(Provider):
    """Deduplicates by id. The first sending of an order is lost on its way; asked about an id that it does not have, it says so.

    `repeats` is what the second sending comes to; None: it is carried out.
    """

    def __init__(self, deduplicates_for_s: float = math.inf, repeats: Outcome | None = None) -> None:
        super().__init__()
        self.capabilities = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=deduplicates_for_s)
        self.repeats = repeats
        self.town: Town | None = None
        self.slow_s = 0.0
        self.meanwhile: Callable[[], Awaitable[bool]] | None = None  # whether it knows by now what it does not have

    async def submit(self, order: Order) -> Outcome:
        self.calls.append(order.end_to_end_id)
        if self.calls.count(order.end_to_end_id) == 1:
            return Unknown("lost on its way")
        if self.repeats is not None:
            return self.repeats
        if order.end_to_end_id not in [one for one, _ in self.paid]:
            self.paid.append((order.end_to_end_id, order.amount.minor))
        return Settled(f"ref-{order.end_to_end_id}", order.amount)

    async def inquire(self, question: Question) -> Finding:
        self.asked += 1
        if self.town is not None and self.slow_s:
            self.town.clock._elapsed += self.slow_s
        if self.meanwhile is not None and not await self.meanwhile():
            return Unknown("busy")
        if question.end_to_end_id in [one for one, _ in self.paid]:
            return Settled(f"ref-{question.end_to_end_id}")
        return NotFound()


async def town_of(provider: Forgetful, database: Database, world: World, directory: Path) -> Town:
    town = await Town(database, world, directory, [provider]).settle_in()
    provider.town = town
    return town


async def sent(town: Town, provider: Provider) -> Process:
    """A process at work that has sent the order once. Until then time goes in small steps, for the sake of the lease."""
    process = Process(town, "w").start()

    async def called() -> bool:
        return bool(provider.calls)

    await town.until(called)
    return process


async def doubtful(town: Town, provider: Provider, questions: int) -> None:
    """Let time pass until the provider was asked so often, and is still not believed to have anything."""
    process = await sent(town, provider)
    wanted = provider.asked + questions

    async def asked() -> bool:
        return provider.asked >= wanted

    await town.until(asked, step_s=1.0)
    await process.stop()


async def test_an_order_that_never_arrived_is_sent_again(
    database: Database, world: World, tmp_path: Path
) -> None:
    """The same id goes out again, once it is known to be unknown, and the payout is paid once."""
    provider = Forgetful()
    town = await town_of(provider, database, world, tmp_path)
    [payout] = await town.pay(0)
    process = await sent(town, provider)
    await town.until(town.all_final, step_s=1.0)
    await process.stop()
    assert len(provider.calls) == 2 and len(set(provider.calls)) == 1
    assert await town.attempts(payout) == ["settled"]
    await town.agrees()


class Slept(Forgetful):
    """The first sending finds no connection, but the sender sleeps and says so only once the second was paid, whose answer is lost."""

    async def submit(self, order: Order) -> Outcome:
        self.calls.append(order.end_to_end_id)
        if len(self.calls) == 1:
            await self.door.wait()
            return NotSent("no connection in time")
        self.paid.append((order.end_to_end_id, order.amount.minor))
        self.door.set()
        return Unknown("the answer is lost")


async def test_an_owner_that_slept_cannot_tell_that_nothing_was_sent(
    database: Database, world: World, tmp_path: Path
) -> None:
    """It wakes after its lease and finds no connection, when another worker has sent the order again: no new id goes out, it is paid once."""
    provider = Slept()
    provider.door.clear()
    town = await town_of(provider, database, world, tmp_path)
    [payout] = await town.pay(0)
    sleeper = Process(town, "sleeper", asks=False).start()

    async def called() -> bool:
        return bool(provider.calls)

    await town.until(called)
    await town.lapse()
    other = Process(town, "other", sends=False).start()
    await town.until(town.all_final, step_s=1.0)
    await other.stop()
    await sleeper.stop()
    assert len(provider.calls) == 2 and len(set(provider.calls)) == 1
    assert await town.attempts(payout) == ["settled"]
    await town.agrees()


async def test_a_provider_that_does_not_deduplicate_is_never_sent_a_repeat(
    database: Database, world: World, tmp_path: Path
) -> None:
    """Without that promise the payout stays in doubt, however often the id is not found."""
    provider = Forgetful(deduplicates_for_s=0.0)
    town = await town_of(provider, database, world, tmp_path)
    await town.pay(0)
    await doubtful(town, provider, 40)
    assert len(provider.calls) == 1
    assert await town.states() == {"in_doubt": 1}


@pytest.mark.parametrize(
    "said", [Rejected("no money"), Rejected("no money", elsewhere=True), NotSent("refused"), Unknown("lost again")], ids=str
)
async def test_only_good_news_of_a_repeat_is_believed(
    database: Database, world: World, tmp_path: Path, said: Outcome
) -> None:
    """A refusal of the repeat, or its not being sent, says nothing about the first sending: the doubt stays."""
    provider = Forgetful(repeats=said)
    town = await town_of(provider, database, world, tmp_path)
    [payout] = await town.pay(0)
    await doubtful(town, provider, 40)
    assert len(provider.calls) > 1 and len(set(provider.calls)) == 1
    assert await town.states() == {"in_doubt": 1} and await town.attempts(payout) == ["unknown"]


async def test_a_repeat_that_is_taken_ends_the_doubt(database: Database, world: World, tmp_path: Path) -> None:
    """A provider that takes the repeat has the order: it is in flight again."""
    provider = Forgetful(repeats=Accepted("ref"))
    town = await town_of(provider, database, world, tmp_path)
    [payout] = await town.pay(0)
    process = await sent(town, provider)

    async def accepted() -> bool:
        return await town.attempts(payout) == ["accepted"]

    await town.until(accepted, step_s=1.0)
    await process.stop()
    assert await town.states() == {"in_flight": 1} and len(provider.calls) == 2


async def test_an_old_question_is_not_followed_by_a_repeat(database: Database, world: World, tmp_path: Path) -> None:
    """A process that stood still between question and repeat does not send: somebody may have decided meanwhile."""
    provider = Forgetful()
    town = await town_of(provider, database, world, tmp_path)
    provider.slow_s = FRESH_S + 1
    await town.pay(0)
    await doubtful(town, provider, 20)
    assert len(provider.calls) == 1


@pytest.mark.parametrize("ended", ["frozen = 'contradiction'", "state = 'failed', frozen = NULL"])
async def test_what_was_ended_while_the_provider_answered_is_not_sent_again(
    database: Database, world: World, tmp_path: Path, ended: str
) -> None:
    """Frozen or ended by persons between the question and the repeat: no second sending, though the contract would allow one."""
    provider = Forgetful()
    town = await town_of(provider, database, world, tmp_path)
    await town.pay(0)
    began = town.clock.now()
    looks = 0

    async def end() -> bool:
        if town.clock.now() - began < timedelta(seconds=2 * SETTLED_DOWN_S):
            return False
        return bool(await town.rows(f"UPDATE payouts SET {ended} RETURNING 1"))

    async def long_after() -> bool:
        nonlocal looks
        looks += bool(await town.rows(f"SELECT 1 FROM payouts WHERE {ended.split(',')[0]}"))
        return looks > 20

    provider.meanwhile = end
    process = await sent(town, provider)
    await town.until(long_after, step_s=1.0)
    await process.stop()
    assert len(provider.calls) == 1


OLD = Attempt(
    number=1, state=AttemptState.UNKNOWN, due_at=START, connector="bank", end_to_end_id="one-1", owner="w", epoch=1,
    lease_until=None, opened_at=START, provider_reference=None, doubt_turns=1, doubt_since=START, asked=3, ask_at=None,
    ended_at=None, reason=None,
)  # fmt: skip


@pytest.mark.parametrize(
    "seconds, promised_s, changed, lapsed, may",
    [
        (SETTLED_DOWN_S, math.inf, {}, False, True),
        (SETTLED_DOWN_S - 0.1, math.inf, {}, False, False),
        (10**9, math.inf, {}, False, True),
        (DAY_S - MARGIN_S - 1, DAY_S, {}, False, True),
        (DAY_S - MARGIN_S, DAY_S, {}, False, False),
        (60, 0.0, {}, False, False),
        (60, MARGIN_S, {}, False, False),
        (60, math.inf, {"state": AttemptState.OPEN}, False, False),
        (60, math.inf, {"state": AttemptState.OPEN}, True, True),
        (60, math.inf, {"state": AttemptState.ACCEPTED}, False, False),
        (60, math.inf, {"provider_reference": "7"}, False, False),
        (60, math.inf, {"owner": NOBODY}, False, False),
        (60, math.inf, {"opened_at": None}, False, False),
        (60, math.inf, {"doubt_since": None}, False, False),
        (60, math.inf, {"doubt_since": START + timedelta(seconds=60 - QUIET_S)}, False, True),
        (60, math.inf, {"doubt_since": START + timedelta(seconds=60.1 - QUIET_S)}, False, False),
        (-60, math.inf, {}, False, False),
    ],
)
def test_when_an_order_may_go_out_again(
    seconds: float, promised_s: float, changed: dict[str, Any], lapsed: bool, may: bool
) -> None:
    """Not before the first sending is over, not in the last hour of the promise, not where anybody is known to have it."""
    able = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=promised_s)
    now = START + timedelta(seconds=seconds)
    assert may_repeat(able, replace(OLD, **changed), lapsed, now, now) is may
    assert may_repeat(replace(able, two_step=True), replace(OLD, **changed), lapsed, now, now) is False


@pytest.mark.parametrize("off", [timedelta(days=3650), timedelta(hours=10), -timedelta(days=3650)], ids=str)
@pytest.mark.parametrize(
    "since_the_lease_s, promised_s, may",
    [(SETTLED_DOWN_S, math.inf, True), (SETTLED_DOWN_S - 0.1, math.inf, False), (DAY_S, DAY_S, False)],
)
def test_an_owners_wrong_clock_decides_nothing(since_the_lease_s: float, promised_s: float, may: bool, off: timedelta) -> None:
    """Opened by a clock that was years or hours ahead: by the database's clock a repeat comes in time all the same, and never too late.

    By one that was behind, an order seems older than it is: it is repeated no later for that.
    """
    now = START + timedelta(seconds=since_the_lease_s)
    opened = replace(OLD, opened_at=START + off, lease_until=START)
    able = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=promised_s)
    assert may_repeat(able, opened, False, now, now) is (may or (off < timedelta(0) and promised_s == math.inf))


def test_a_clock_that_leapt_sends_nothing_beside_the_first_call() -> None:
    """Whoever asks by a clock that is minutes ahead does not repeat an order whose doubt began a moment ago by the database's clock."""
    able = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=math.inf)
    moment = START + timedelta(seconds=QUIET_S - 0.1)
    assert not may_repeat(able, OLD, False, moment + timedelta(minutes=13), moment)
    assert may_repeat(able, OLD, False, moment + timedelta(minutes=13), moment + timedelta(seconds=0.2))
