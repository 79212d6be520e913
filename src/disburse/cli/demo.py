"""`disburse demo`: the main job on sample data, end to end, with a bank that misbehaves and a worker that is killed.

It starts a server and a worker as a user would, on a throw-away directory and a free port, sends the documented example requests
of both protocols and then 300 payouts over every rail and every way of the sandbox bank, kills the worker in the middle with -9
and starts it again, waits for the end, and compares our books with the bank's own book. Exit 0 only if every figure agrees.
Lives here: the story. The merchants' programs are `demo_calls.py`, the comparison and the tables `demo_report.py`.
"""

from __future__ import annotations

import asyncio
import json as json_codec
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from disburse.cli import show
from disburse.cli.demo_calls import Caller, IntellectMoneyMerchant, UnitPayMerchant, Wage
from disburse.cli.demo_report import Ending, print_ending, read_ending
from disburse.connectors.transport import HttpTransport
from disburse.protocols.intellectmoney_answers import PayoutStateName
from disburse.settings import load_settings
from disburse.wiring import House, open_house
from disburse.world import real_world

SHOP, WORKS = "partner@gmail.com", "works@example.org"
WAYS = ("00", "11", "22", "33", "44", "55", "66", "77", "88", "99")
FEES = ("card=100:3000", "sbp=70")
COUNT = 300
AT_ONCE = 12
START_S, END_S = 60.0, 50.0
_ENVIRONMENT = {"DISBURSE_CALL_S": "1.5", "DISBURSE_LEASE_S": "7", "DISBURSE_LOG_LEVEL": "warning"}
_DOCUMENTED_CARD = "41111111111111111111"  # twenty digits, as printed in IntellectMoney's example; the sandbox pays it


@dataclass(slots=True)
class Story:
    """What the demo has set up and learned so far."""

    data: Path
    base_url: str = ""
    shop_key: str = ""
    works_password: str = ""
    examples: list[tuple[str, str]] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    operations: dict[str, str] = field(default_factory=dict)
    killed_with: int = 0


def demo(*, json: Annotated[bool, Parameter(negative="", help="Print the closing figures as JSON.")] = False) -> int:
    """The main job on sample data, end to end: about half a minute, on a throw-away directory and a free port.

    Exit 0 only if every payout is final, our books and the bank's own book agree line by line, and every invariant holds.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="disburse-demo-") as folder, _progress(quiet=json) as progress:
        ending = asyncio.run(_tell(Story(Path(folder) / "data"), progress))
    ending.seconds = time.monotonic() - started
    if json:
        show.say_json(ending.as_json())
    else:
        print_ending(ending)
    return 0 if ending.agrees else 1


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = show.console(errors=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        yield progress


async def _tell(story: Story, progress: Progress) -> Ending:
    step = progress.add_task("making an installation with two merchants", total=1)
    _make_merchants(story)
    progress.advance(step)
    async with _serving(story, "api", "--listen", "127.0.0.1:0") as api:
        story.base_url = await _address(api)
        worker = await _start(story, "worker")
        try:
            worker = await _work(story, progress, worker)
            async with _house(story) as house:
                waiting = progress.add_task("waiting until every payout is final", total=COUNT + len(story.examples))
                unfinished = await _wait(house, lambda done: progress.update(waiting, completed=done))
        finally:
            await _end(worker)
    comparing = progress.add_task("comparing our books with the bank's", total=1)
    async with _house(story) as house:
        ending = await read_ending(house, story.acknowledged, story.operations, story.examples, unfinished)
    ending.killed_with = story.killed_with
    progress.advance(comparing)
    return ending


async def _work(story: Story, progress: Progress, worker: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
    """The merchants' side of the story; returns the worker that lives at the end."""
    world = real_world()
    transport = HttpTransport(world.clock)
    try:
        caller = Caller(transport, story.base_url)
        shop = UnitPayMerchant(caller, SHOP, story.shop_key)
        works = IntellectMoneyMerchant(caller, WORKS, story.works_password)
        await works.log_in()
        await caller.ready()
        step = progress.add_task("the documented examples of both protocols", total=2)
        await _unitpay_example(story, shop)
        progress.advance(step)
        await _intellectmoney_example(story, works)
        progress.advance(step)
        paying = progress.add_task(f"{COUNT} payouts over every rail, the worker killed in the middle", total=COUNT)
        first, second = wages()[: COUNT // 2], wages()[COUNT // 2 :]
        await _pay_all(story, shop, works, first, lambda: progress.advance(paying))
        story.killed_with = await _kill(story, worker)
        later = asyncio.create_task(_pay_all(story, shop, works, second, lambda: progress.advance(paying)))
        worker = await _start(story, "worker")
        await later
        return worker
    finally:
        await transport.close()


def wages() -> list[Wage]:
    """Three hundred payments: every rail that either protocol knows, every way of the bank, thirty of each way."""
    to = (
        ("card", "4111111111111111", None),
        ("sbp", "79510000071", "100000000004"),
        ("webmoney", "R123456789012", None),
        ("usdt", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", None),
        ("card", "2200123456789019", None),
        ("qiwi", "79012345678", None),
    )
    made = []
    for number in range(COUNT):
        rail, purse, bank = to[number // len(WAYS) % len(to)]
        amount = f"{100 + number % 37}.{WAYS[number % len(WAYS)]}"
        made.append(Wage(rail, purse, amount, f"wage-{number + 1}", bank))
    return made


async def _pay_all(
    story: Story, shop: UnitPayMerchant, works: IntellectMoneyMerchant, some: list[Wage], done: Callable[[], Any]
) -> None:
    """A dozen at a time. What both protocols can carry goes through either in turn; wallets go through IntellectMoney."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, wage: Wage) -> None:
        async with turns:
            if wage.rail == "qiwi" or (wage.rail in ("card", "sbp") and number % 3 == 0):
                operation = await works.create(wage)
                story.operations[operation] = await works.execute(operation)
            else:
                story.acknowledged[wage.reference] = await shop.pay(wage, nested=number % 2 == 0)
            done()

    calls: list[Awaitable[None]] = [one(number, wage) for number, wage in enumerate(some)]
    await asyncio.gather(*calls)


async def _unitpay_example(story: Story, shop: UnitPayMerchant) -> None:
    """The page's own massPayment (10.00 by SBP, no memberId: the merchant's default bank stands in), then its status."""
    status = await shop.pay(Wage("sbp", "79510000071", "10.00", "1782"))
    story.acknowledged["1782"] = status
    story.examples.append(("UnitPay massPayment 1782, sum 10.00, sbp", f"status {status}"))
    story.examples.append(("UnitPay massPaymentStatus 1782", f"status {await shop.status('1782')}"))


async def _intellectmoney_example(story: Story, works: IntellectMoneyMerchant) -> None:
    """The page's own card operation (a PAN of twenty digits, Amount 50), executed and asked about until it is completed."""
    operation = await works.create(Wage("card", _DOCUMENTED_CARD, "50", "example"))
    story.examples.append(("IntellectMoney CreateBankCardRussiaOperation, 50 RUB", "PayoutOperationState Created"))
    story.operations[operation] = word = await works.execute(operation)
    story.examples.append(("IntellectMoney ExecuteOperation", f"PayoutOperationState {word}"))
    state = None
    for _ in range(200):
        state = await works.state(operation)
        if state is PayoutStateName.COMPLETED:
            break
        await asyncio.sleep(0.05)
    story.examples.append(("IntellectMoney GetOperationState", f"PayoutOperationState {str(state).capitalize()}"))


def _disburse(story: Story, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "disburse", *arguments, "--data", str(story.data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    if done.returncode != 0:
        raise RuntimeError(f"disburse {' '.join(arguments[:2])} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    answer: dict[str, Any] = json_codec.loads(done.stdout)
    return answer


def _make_merchants(story: Story) -> None:
    """A shop that speaks UnitPay and a works that speaks IntellectMoney, each with a million roubles."""
    shop = _disburse(story, "merchant", "add", "Shop", "--login", SHOP, "--sbp-bank", "100000000004")
    works = _disburse(story, "merchant", "add", "Works", "--login", WORKS, "--pci-dss")
    story.shop_key, story.works_password = shop["unitpay_secret_key"], works["password"]
    _disburse(story, "merchant", "set", SHOP, "--answer-wait", "1", "--fee", FEES[0], "--fee", FEES[1])
    for login in (SHOP, WORKS):
        _disburse(story, "top-up", login, "1000000.00", "RUB", "--reference", "demo")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISBURSE_")}
    return {**kept, **_ENVIRONMENT}


async def _start(story: Story, role: str, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "disburse", "serve", "--sandbox", "--role", role, "--data", str(story.data), *more,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(),
    )  # fmt: skip


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _serving(story: Story, role: str, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await _start(story, role, *more)
    try:
        yield process
    finally:
        await _end(process)


async def _address(process: asyncio.subprocess.Process) -> str:
    """The address that `serve` prints once it listens."""
    if process.stdout is None:
        raise AssertionError("no output to read")
    async with asyncio.timeout(START_S):
        while line := await process.stdout.readline():
            if found := re.search(rb"https?://[^:\s]+:[0-9]+", line):
                return found[0].decode()
    raise RuntimeError("the server did not start")


async def _kill(story: Story, worker: asyncio.subprocess.Process) -> int:
    """Kill the worker without mercy while it is about something; returns how many attempts it left open or in doubt."""
    async with _house(story) as house:
        for _ in range(200):
            under_way = await _count(house, "open", "unknown", "due", "accepted")
            if under_way >= 10:
                break
            await asyncio.sleep(0.01)
        worker.kill()
        await worker.wait()
        return await _count(house, "open", "unknown")


async def _wait(house: House, heard: Callable[[int], None]) -> int:
    """Until every executed payout is final and what the bank sends back has come; returns how many are not."""
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        left = await _count(house, "due", "open", "accepted", "unknown")
        total = await _payouts(house)
        heard(total - left)
        if left == 0 and await _returns_are_in(house):
            return 0
        await asyncio.sleep(0.1)
    return await _count(house, "due", "open", "accepted", "unknown")


async def _count(house: House, *states: str) -> int:
    count: int = await house.database.run(
        lambda tx: tx.fetchval("SELECT count(*) FROM attempts WHERE state = ANY ($1::text[])", list(states))
    )
    return count


async def _payouts(house: House) -> int:
    count: int = await house.database.run(lambda tx: tx.fetchval("SELECT count(*) FROM payouts WHERE attempts > 0"))
    return count


async def _returns_are_in(house: House) -> bool:
    """Whether every payment that the bank sends back five seconds later (.99) has come back."""
    paid: int = await house.database.run(
        lambda tx: tx.fetchval("SELECT count(*) FROM payouts WHERE state = 'paid' AND amount_minor % 100 = 99")
    )
    return paid == 0


@asynccontextmanager
async def _house(story: Story) -> AsyncIterator[House]:
    settings = load_settings(None, {}, {"data": str(story.data)})
    async with open_house(settings, real_world()) as house:
        yield house
