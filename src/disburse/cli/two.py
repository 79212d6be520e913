"""`disburse demo-two`: house A pays through house B over a bad line, B is killed, and three books must agree line by line.

Both are real installations on throw-away directories, on loopback. A's merchants ask at A's doors; A pays through its UnitPay
connector and both generations of its IntellectMoney connector, all accounts at B; B pays through its sandbox bank, in all its
ways. Between them stands a line that cuts, delays and swallows. Exit 0 only if every figure agrees.
Lives here: the story. The line is `two_line.py`, the houses `two_houses.py`, the comparison `two_books.py`, what is shown
`two_report.py`.
"""

from __future__ import annotations

import asyncio
import json as json_codec
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.demo_calls import Caller, IntellectMoneyMerchant, UnitPayMerchant, Wage
from disburse.cli.mistakes import BadUsage
from disburse.cli.two_books import WAYS, compare, read_a, read_b
from disburse.cli.two_houses import Side, configure, furnish_a, furnish_b, side_a, side_b
from disburse.cli.two_line import CALM, Line, Weather
from disburse.cli.two_report import WITHIN_S, Lap, Outcome, print_outcome
from disburse.connectors.transport import HttpTransport
from disburse.operations.verify import verify
from disburse.settings import load_settings
from disburse.wiring import House, open_house
from disburse.world import real_world

COUNT: Final = 5000
LEAST, MOST = 20, 100_000
MEASURED_FROM: Final = 1000
"""With fewer payouts nothing is measured: a lap would be over before it began."""

AT_ONCE: Final = 48
CUT: Final = Weather(cut=0.1)
STORM: Final = Weather(cut=0.1, delay=0.1, swallow=0.01)
STORM_S: Final = 60.0
"""The line is bad for so long at most after the last wage was asked for."""

OVER_WITHIN_S: Final = 240.0
"""Every payout is over so long after the faults stopped: what was accepted late is asked about after at most 144 s."""

WHOLE_S: Final = 1200.0
POWER_OFF_S: Final = 1.0
_CARD, _PHONE, _BANK = "4111111111111111", "79510000071", "100000000004"
_PAYEES: Final = (
    ("shop", Wage("card", _CARD, "", "")), ("shop", Wage("webmoney", "R123456789012", "", "")),
    ("works", Wage("card", _CARD, "", "")), ("plant", Wage("card", _CARD, "", "")),
    ("shop", Wage("sbp", _PHONE, "", "", _BANK)), ("shop", Wage("usdt", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "", "")),
    ("works", Wage("sbp", _PHONE, "", "", _BANK)), ("plant", Wage("qiwi", "79012345678", "", "")),
)  # fmt: skip
"""Half of the wages go by UnitPay, a quarter by each generation of IntellectMoney."""

Pay = tuple[str, Wage]
Merchants = dict[str, UnitPayMerchant | IntellectMoneyMerchant]


@dataclass
class Story:
    """What has been set up and learned so far. `asked`: references and operations that A's doors acknowledged."""

    told: Outcome
    a: Side
    b: Side
    line: Line
    draw: random.Random
    house_a: House
    house_b: House
    merchants: Merchants = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def demo_two(
    *,
    payouts: Annotated[int, Parameter(help="How many payouts; 1000 or more are measured too.")] = COUNT,
    seed: Annotated[int | None, Parameter(help="What the line draws its faults from; told at the end.")] = None,
    json: Annotated[bool, Parameter(negative="", help="Print the closing figures as JSON.")] = False,
) -> int:
    """One installation pays through another over a line that cuts connections, and the other is killed in the middle.

    About three minutes for 5000 payouts, on throw-away directories and free ports. Exit 0 only if the books of both and the
    bank's own book agree line by line, nobody was paid twice, nothing is in doubt, and every invariant holds.
    """
    if not LEAST <= payouts <= MOST:
        raise BadUsage(f"--payouts is {LEAST} to {MOST:,}.")
    chosen = seed if seed is not None else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="disburse-two-") as folder:
        told = asyncio.run(_within(Path(folder), Outcome(chosen, payouts)))
    if json:
        show.say_json(told.as_json())
    else:
        print_outcome(told)
    return 1 if told.faults else 0


async def _within(folder: Path, told: Outcome) -> Outcome:
    task, started = asyncio.current_task(), time.monotonic()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(WHOLE_S), _set_up(folder, told) as story:
            await _tell(story)
    except TimeoutError:
        told.wrong.append(f"it was not over in time, after {time.monotonic() - started:.0f} s")
    told.seconds = time.monotonic() - started
    return told


@asynccontextmanager
async def _set_up(folder: Path, told: Outcome) -> AsyncIterator[Story]:
    """Both houses serving, a line between them, their books open for reading. Everything is ended again."""
    draw = random.Random(told.seed)
    a, b = side_a(folder), side_b(folder)
    async with AsyncExitStack() as stack:
        # The books are opened first and closed last: so the databases run on while a house is down, as they would elsewhere.
        with show.waiting("making two installations"):
            house_b = await stack.enter_async_context(_opened(b))
            house_a = await stack.enter_async_context(_opened(a))
            await asyncio.gather(asyncio.to_thread(furnish_b, b), asyncio.to_thread(furnish_a, a))
        stack.push_async_callback(b.end)
        await b.start()
        line = Line(b.port, draw)
        stack.push_async_callback(line.close)
        await line.open()
        configure(a, b, line.port)
        stack.push_async_callback(a.end)
        await a.start()
        transport = HttpTransport(real_world().clock)
        stack.push_async_callback(transport.close)
        story = Story(told, a, b, line, draw, house_a, house_b)
        story.merchants = await _merchants(a, Caller(transport, a.url))
        yield story


async def _merchants(a: Side, caller: Caller) -> Merchants:
    await caller.ready()
    made: Merchants = {}
    for name in ("shop", "works"):
        keys = a.keys[f"{name}@example.org"]
        made[name] = UnitPayMerchant(caller, keys["login"], keys["unitpay_secret_key"])
    keys = a.keys["plant@example.org"]
    plant = IntellectMoneyMerchant(caller, keys["login"], keys["password"])
    await plant.log_in()
    made["plant"] = plant
    return made


@asynccontextmanager
async def _opened(side: Side) -> AsyncIterator[House]:
    async with open_house(load_settings(None, {}, {"data": str(side.data)}), real_world()) as house:
        yield house


# --- the story -----------------------------------------------------------------------------------------------------------


async def _tell(story: Story) -> None:
    count, told = story.told.payouts, story.told
    if count >= MEASURED_FROM:
        lap = count * 35 // 200  # by turns: a machine that is busy for a while is so for both
        for number, (name, weather) in enumerate((("calm", CALM), ("cut", CUT), ("calm", CALM), ("cut", CUT))):
            told.laps.append(await _lap(story, name, wages(lap, f"{name}-{number}", (0,)), weather))
        count -= 4 * lap
    stopped_at = await _storm(story, wages(count, "storm", WAYS))
    told.doubts_at_stop = (await _states(story.house_a)).get("in_doubt", 0)
    await _clear(story, stopped_at)
    with show.waiting("waiting for money that comes back, then comparing the books"):
        await _until(lambda: _no_returns_left(story.house_b), 15)
        await story.a.end()
        await story.b.end()
        told.met = story.line.met
        await _compare(story)


def wages(count: int, prefix: str, ways: Sequence[int]) -> list[Pay]:
    """So many payments: every payee, and every one of these ways of the bank with each."""
    made = []
    for number in range(count):
        merchant, payee = _PAYEES[number // len(ways) % len(_PAYEES)]
        amount = f"{100 + number % 900}.{ways[number % len(ways)]:02d}"
        made.append((merchant, Wage(payee.rail, payee.number, amount, f"{prefix}-{number}", payee.bank)))
    return made


async def _ask_for(story: Story, some: Sequence[Pay], done: Callable[[], None] = lambda: None) -> None:
    """Ask A's doors for these wages, some dozens at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, wage: Wage) -> None:
        async with turns:
            merchant = story.merchants[name]
            if isinstance(merchant, UnitPayMerchant):
                await merchant.pay(wage)
                story.asked.append(wage.reference)
            else:
                operation = await merchant.create(wage)
                await merchant.execute(operation)
                story.asked.append(operation)
            done()

    async with asyncio.TaskGroup() as group:
        for name, wage in some:
            group.create_task(one(name, wage))


async def _lap(story: Story, name: str, some: Sequence[Pay], weather: Weather) -> Lap:
    """Whole lives against time: from the first wage asked for until nine tenths of them are over at A, and until all are.

    The last tenth is left out of the rate: on a cut line it waits for questions whose time is fixed, however fast the houses are.
    On a calm line a fixed time is in it too: what IntellectMoney has accepted is asked about after four seconds.
    """
    before = _over(await _states(story.house_a))
    story.line.weather = weather
    started, most_s = time.monotonic(), 0.0
    with show.waiting(f"measuring {len(some)} lives, {name}"):
        asking = asyncio.create_task(_ask_for(story, some))
        while (over := _over(await _states(story.house_a)) - before) < len(some):
            passed = time.monotonic() - started
            if not most_s and over >= 0.9 * len(some):
                most_s = passed
                story.line.weather = CALM  # what is measured is over
            if passed > WITHIN_S * 3 or (asking.done() and asking.exception()):
                break
            await asyncio.sleep(0.05)
        all_s = time.monotonic() - started
        await asking
    story.line.weather = CALM
    if over < len(some):
        story.told.wrong.append(f"{len(some) - over} lives of a measured stretch were not over after {all_s:.0f} s")
    return Lap(name, len(some), most_s or all_s, all_s)


async def _storm(story: Story, some: Sequence[Pay]) -> float:
    """Everything goes wrong: the line, the bank in all its ways, and B is killed and started again. Returns when it stopped."""
    line, asked, half = story.line, 0, asyncio.Event()

    def done() -> None:
        nonlocal asked
        asked += 1
        if asked >= len(some) / 2:
            half.set()

    line.weather = STORM
    with show.waiting(f"{len(some)} payouts in a storm, B killed in the middle"):
        asking = asyncio.create_task(_ask_for(story, some, done))
        waiting = asyncio.create_task(half.wait())
        await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await _until(lambda: _busy(story.house_b), 5)
        await story.b.kill()
        story.told.killed_with = await _attempts(story.house_b, "open", "unknown")
        await asyncio.sleep(POWER_OFF_S)
        await story.b.start()
        await asking
        await _until(lambda: _nothing_due(story.house_a), STORM_S)
    line.weather = CALM
    return time.monotonic()


async def _clear(story: Story, since: float) -> None:
    """Wait until nothing is in doubt in either house, then until every payout is over: the books are compared whole.

    A payout that its provider has accepted is in no doubt. It is asked about ever more seldom, so its end may be heard later.
    """
    with show.waiting("the faults have stopped; waiting until nothing is in doubt"):
        if await _until(lambda: _nothing_in_doubt(story), since + WITHIN_S - time.monotonic()):
            story.told.clear_after_s = time.monotonic() - since
    with show.waiting("waiting until every payout is over"):
        await _until(lambda: _all_over(story), since + OVER_WITHIN_S - time.monotonic())
        story.told.over_after_s = time.monotonic() - since


async def _compare(story: Story) -> None:
    told, book = story.told, story.house_b.sandbox_book
    payouts, attempts = await story.house_a.database.snapshot(read_a)
    theirs = await story.house_b.database.snapshot(read_b)
    lines = [json_codec.loads(line) for line in book.read_text(encoding="utf-8").splitlines()]
    known = {row["reference"] for row in payouts} | {str(row["payout_id"]) for row in payouts}
    lost = set(story.asked) - known
    if lost or len(story.asked) != told.payouts:
        told.wrong.append(f"of {told.payouts} payouts A's doors acknowledged {len(story.asked)}, and {len(lost)} are not in its books")
    told.compared = compare(payouts, attempts, theirs, lines)
    told.verified["A"] = await verify(story.house_a.database)
    told.verified["B"] = await verify(story.house_b.database, bank_book=book)


# --- what the houses say meanwhile -----------------------------------------------------------------------------------------


async def _until(true: Callable[[], Any], within_s: float) -> bool:
    """Wait until it is true; False if it was not in time."""
    ends = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.1)
    return True


async def _states(house: House) -> dict[str, int]:
    """How many executed payouts are in each state."""
    rows = await house.database.run(
        lambda tx: tx.fetch("SELECT state, count(*) AS count FROM payouts WHERE attempts > 0 GROUP BY state")
    )
    return {row["state"]: row["count"] for row in rows}


def _over(states: dict[str, int]) -> int:
    return sum(states.get(state, 0) for state in ("paid", "failed", "returned"))


async def _nothing_in_doubt(story: Story) -> bool:
    return all([(await _states(house)).get("in_doubt", 0) == 0 for house in (story.house_a, story.house_b)])


async def _all_over(story: Story) -> bool:
    a, b = await _states(story.house_a), await _states(story.house_b)
    return _over(a) == sum(a.values()) == story.told.payouts and _over(b) == sum(b.values())


async def _attempts(house: House, *states: str) -> int:
    count: int = await house.database.run(
        lambda tx: tx.fetchval("SELECT count(*) FROM attempts WHERE state = ANY ($1::text[])", list(states))
    )
    return count


async def _busy(house: House) -> bool:
    return await _attempts(house, "open", "unknown") >= 5


async def _nothing_due(house: House) -> bool:
    return await _attempts(house, "due", "open") == 0


async def _no_returns_left(house: House) -> bool:
    """Whether every payment that the bank sends back five seconds later (.99) has come back."""
    paid: int = await house.database.run(
        lambda tx: tx.fetchval("SELECT count(*) FROM payouts WHERE state = 'paid' AND amount_minor % 100 = 99")
    )
    return paid == 0
