"""A merchant with rules: limits, policies of approval, payouts with a time. Lives here: what its day is like, drawn from a stream of its own.

The auditor is told the rules and what is asked for (`auditor/rulebook.py`), so that it need not read them from our tables. May not live
here: how its program asks (`rest_program.py`), what persons do (`approvers.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from disburse.domain.money import Money
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.simulation.auditor.rulebook import Asked, Limit, Policy, Rules
from disburse.simulation.clients import CARDS, PHONES
from disburse.simulation.process import DAWN, Process
from disburse.simulation.rest_program import Order, RestAccount, RestProgram
from disburse.simulation.stage import Day
from disburse.simulation.streams import log_uniform
from disburse.wiring import House

ZONES: Final = ("UTC", "Europe/Moscow", "America/New_York")
MOST: Final = 5


async def settle(day: Day, house: House, clerk: Process, makers: tuple[str, ...]) -> None:
    """Add the merchant with its rules and money, and let its program know what it wants. `makers`: persons who execute some of it."""
    stream, number = day.streams["rules"], day.knobs.merchants + 1
    orders = _orders(day, stream)
    zone = stream.choice(ZONES)
    rules = Rules(ZoneInfo(zone), _limits(stream, orders), _policies(stream, orders), stream.random() < 0.5)
    made = await add_merchant(
        house.database, house.world, house.vault, name="ruled", login="ruled@example.com", actor="operator:clerk", pci_dss=True,
        settings={
            "fees": stream.choice(("{}", '{"card":[150,1000,null]}')), "time_zone": zone, "execute_unfunded": rules.by_itself,
            "limits": json.dumps([[one.period, one.scope, "RUB", one.sum_minor, one.count] for one in rules.limits]),
            "policies": json.dumps([[one.rail, "RUB", one.above_minor, one.persons] for one in rules.policies]),
        },
    )  # fmt: skip
    merchant = made.merchant
    day.rulebook.rules[merchant.merchant_id] = rules
    for one in orders:
        maker = stream.choice(makers) if one.way == "person" else None
        asked = Asked("card" if one.card else "sbp", one.where, one.execute_at, maker)
        day.rulebook.asked[merchant.merchant_id, one.reference] = asked
    process = day.house.process(f"merchant-{number}", mortal=False)
    account = RestAccount(merchant.merchant_id, made.api_key)
    day.clients.append(RestProgram(process, day.net, account, day.history, stream, day.faults, lambda: day.servers, orders))
    needed = sum(one.amount_minor for one in orders)
    tops = [(int(needed * stream.choice((0.4, 1.2, 2.0))) + 1, 0.0), (needed * 2, stream.uniform(0, day.knobs.safety_s))]
    for place, (amount, at) in enumerate(tops):
        top_up = draw_top_up(house.world, merchant, Money(amount, "RUB"), actor="operator:clerk", reference=f"t{place}")
        if at == 0.0:
            await house.desk.top_up(merchant, top_up)
        else:
            clerk.start(_top_up_later(house, merchant, top_up, at))


async def _top_up_later(house: House, merchant: Any, top_up: Any, at: float) -> None:
    await asyncio.sleep(at)
    for _ in range(100):
        with contextlib.suppress(Exception):
            await house.desk.top_up(merchant, top_up)
            return
        await asyncio.sleep(1)


def _orders(day: Day, stream: random.Random) -> list[Order]:
    phones = any(one.startswith(("unitpay", "bank", "guarded")) for one in day.providers)
    orders = []
    for place in range(stream.randint(2, MOST)):
        card = not phones or stream.random() < 0.6
        at = 5 + stream.uniform(0, day.knobs.safety_s * 0.6)
        orders.append(
            Order(
                f"r-{place}", int(log_uniform(stream, 100_00, 10_000_00)), card, stream.choice(CARDS if card else PHONES), at,
                _time(day, stream, at), stream.choice(("at_once", "at_once", "later", "person")),
                stream.uniform(0.0, 30.0) if stream.random() < 0.15 else None,
            )
        )  # fmt: skip
    return orders[: day.most] if day.most is not None else orders


def _time(day: Day, stream: random.Random, at: float) -> Any:
    """None, a time that has passed, one of this day, or one some days ahead."""
    seconds = stream.choice((None, -60.0, at + 5, at + 30, stream.uniform(at, day.knobs.safety_s + 20), 3 * 86_400.0))
    return None if seconds is None else DAWN + timedelta(seconds=int(seconds))


def _limits(stream: random.Random, orders: list[Order]) -> tuple[Limit, ...]:
    """Some limits, such as some of the orders fit in."""
    total, largest = sum(one.amount_minor for one in orders), max(one.amount_minor for one in orders)
    known = (
        Limit("payout", "all", largest - stream.choice((0, 1))), Limit("day", "all", total // 2), Limit("day", "all", total, 3),
        Limit("day", "card", None, 2), Limit("month", "payee", None, 1), Limit("month", "all", int(total * 0.8)),
        Limit("day", "payee", largest),
    )  # fmt: skip
    chosen = [one for one in known if stream.random() < 0.2]
    return tuple({(one.period, one.scope): one for one in chosen}.values())


def _policies(stream: random.Random, orders: list[Order]) -> tuple[Policy, ...]:
    amounts = sorted(one.amount_minor for one in orders)
    middle = amounts[len(amounts) // 2]
    known = (Policy("any", 0, 1), Policy("any", middle - 1, 2), Policy("card", middle, 1), Policy("sbp", 0, 2))
    return tuple(one for one in known if stream.random() < 0.4)
