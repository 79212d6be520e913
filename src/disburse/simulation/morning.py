"""A simulated day's beginning: merchants with some money, what they will want, and every process started. No faults fall yet."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from disburse.domain.money import Money
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.simulation.clients import CARDS, PHONES, Account, Client, Wanted
from disburse.simulation.persons import Desk
from disburse.simulation.process import Process
from disburse.simulation.scenes import Scenes
from disburse.simulation.stage import Day
from disburse.simulation.streams import log_uniform

FEES: Final = ("{}", '{"card":[150,1000,null],"sbp":[70,0,5000]}')
"""Some merchants pay fees: 1.5 % and at least 10 roubles for cards, 0.7 % and at most 50 for phones."""


async def begin(day: Day, scenes: Scenes) -> None:
    """Merchants with some money, wishes for the day, and every process started."""
    clerk = day.house.process("clerk", mortal=False)
    await clerk.start(_furnish(day, clerk, scenes))
    for name in day.names:
        day.house.start(name)
    await asyncio.sleep(5)


async def open_desk(day: Day) -> None:
    """Persons come to the desk, in a process of their own that lives as long as the faults fall."""
    rate = day.faults.rates.get("persons", 0.0)
    if rate > 0:
        process = day.house.process("desk", mortal=False)
        process.start(_sit_at_desk(day, process, 60.0 / rate))


async def _sit_at_desk(day: Day, process: Process, mean_s: float) -> None:
    async with day.house.house(process) as house:
        desk = Desk(day, house, day.streams["persons"])
        await desk.settle_in()
        await desk.run(mean_s / 4)


async def _furnish(day: Day, clerk: Process, scenes: Scenes) -> None:
    workload = day.streams["workload"]
    async with day.house.house(clerk) as house:
        for number in range(1, day.knobs.merchants + 1):
            bucket = day.knobs.bucket if number == day.knobs.merchants else 0
            made = await add_merchant(
                house.database, house.world, house.vault, name=f"merchant {number}", login=f"m{number}@example.com",
                actor="operator:clerk", pci_dss=True, shard=bucket,
                settings={"answer_wait_ms": day.knobs.answer_wait_ms, "fees": workload.choice(FEES)},
            )  # fmt: skip
            account = Account(made.merchant.merchant_id, made.merchant.login, made.password, made.unitpay_secret_key, bucket)
            process = day.house.process(f"merchant-{number}", mortal=False)
            client = Client(
                process, day.net, account, day.history, day.streams["workload"], day.faults, lambda: day.servers
            )
            client.patience = day.knobs.patience or client.patience
            client.wanted = [_wish(day, place) for place in range(_share(day, number))]
            day.clients.append(client)
            needed = sum(one.amount_minor for one in client.wanted)
            short = day.knobs.patience is not None
            first = int(needed * workload.choice((0.3, 1.0, 1.0, 2.0)) * (0.4 if short else 1.0)) + 1
            more = needed // 10 + 1 if short else needed * 2
            tops = [(first, 0.0), (more, workload.uniform(0, day.knobs.safety_s))]
            for place, (amount, at) in enumerate(tops):
                top_up = draw_top_up(house.world, made.merchant, Money(amount, "RUB"), actor="operator:clerk", reference=f"t{place}")
                if at == 0.0:
                    await house.desk.top_up(made.merchant, top_up)
                else:
                    clerk.start(_top_up_later(house, made.merchant, top_up, at))
        await scenes.put_up(house, clerk)


async def _top_up_later(house: Any, merchant: Any, top_up: Any, at: float) -> None:
    await asyncio.sleep(at)
    for _ in range(100):
        with contextlib.suppress(Exception):
            await house.desk.top_up(merchant, top_up)
            return
        await asyncio.sleep(1)


def _share(day: Day, number: int) -> int:
    return day.knobs.payouts // day.knobs.merchants + (1 if number <= day.knobs.payouts % day.knobs.merchants else 0)


def _wish(day: Day, place: int) -> Wanted:
    workload = day.streams["workload"]
    surface = "unitpay" if workload.random() < 0.7 else "intellectmoney"
    card = surface == "intellectmoney" or workload.random() < 0.8 or not any(one.startswith(("unitpay", "bank", "guarded")) for one in day.providers)
    where = workload.choice(CARDS) if card else workload.choice(PHONES)
    amount = int(log_uniform(workload, 10_00, 50_000_00))
    # Programs count, so merchants have references in common.
    return Wanted(surface, f"wage-{place}", amount, card, where, 5 + workload.uniform(0, day.knobs.safety_s * 0.8))
