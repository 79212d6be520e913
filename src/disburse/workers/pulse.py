"""The pulse: feels how providers are, for this worker and, through PostgreSQL, for all others.

It tells how calls ended, reads what the others told, and asks providers for their balance, one worker of all at a time.
All of it may be late: what it does not know yet is held against nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from disburse.connectors.contract import Connector
from disburse.domain.money import Money
from disburse.domain.outcomes import Unknown
from disburse.domain.ports import World
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.workers.pace import Pace

ASK_WITHIN_S = 8.0
"""A question for a balance takes at most so long."""


@runtime_checkable
class HoldsMoney(Protocol):
    """A connector whose provider can say what it holds for us."""

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        """What can be paid out through this provider, one amount a currency."""
        ...


class Pulse:
    """One worker's loop. `poll_s`: how old its knowledge of the other workers' news may become."""

    def __init__(self, desk: Desk, connectors: Mapping[str, Connector], world: World, *, poll_s: float = 1.0) -> None:
        self._desk = desk
        self._world = world
        self._tellers = {
            name: connector
            for name, connector in connectors.items()
            if connector.capabilities.balance and isinstance(connector, HoldsMoney)
        }
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.pace = Pace(world.clock, poll_s)

    async def run(self) -> None:
        """Tell and listen until cancelled."""
        try:
            while True:
                await self._round()
                await self.pace.rest()
        finally:
            for asking in self._asking.values():
                asking.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _round(self) -> None:
        providers = self._desk.providers
        try:
            await providers.tell()
            await providers.refresh()
            for name, teller in self._tellers.items():
                busy = name in self._asking and not self._asking[name].done()
                if not busy and await providers.turn_to_ask(name):
                    self._asking[name] = asyncio.create_task(self._ask(name, teller))
        except StoreUnavailable:
            pass  # the next round says it again

    async def _ask(self, name: str, teller: HoldsMoney) -> None:
        """Ask beside the loop: a provider that is slow to answer keeps nobody's news waiting."""
        try:
            async with self._world.clock.timeout(ASK_WITHIN_S + 1):
                told = await teller.balance(ASK_WITHIN_S)
        except Exception as fault:  # a connector's mistake is no answer of the provider's
            told = Unknown(f"connector fault: {type(fault).__name__}")
        silent = told.why if isinstance(told, Unknown) else None
        found = [] if isinstance(told, Unknown) else [(one.currency, one.minor) for one in told]
        with contextlib.suppress(StoreUnavailable):  # the next turn asks again
            await self._desk.providers.store_balances(name, found, silent)
