"""What happens on some days beside the ordinary: a merchant with rules and persons who agree to its payouts; webhook receivers; a merchant with files.

Lives here: which scenes a day has are put up, kept going, and waited for at its end; what a scene consists of is in files of its own
(`ruled.py`, `approvers.py`, `receivers.py`, `registries.py`). Each draws from streams of its own, so that a day without it is the same day.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from disburse.simulation import approvers, receivers, registries, ruled
from disburse.simulation.installation import CALM
from disburse.simulation.process import DAWN, Process
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House, Rhythm

SOON_S: Final = 600.0
"""What falls due so soon after the rest is waited for at the end of a day."""
LYING_S: Final = 90.0
"""So long money may lie there for a payout that lacks it, before the end of a day is not put off for it any more."""
_RULED: Final = """SELECT count(*) FROM payouts p LEFT JOIN schedules s ON s.shard = $1 AND s.payout_id = p.payout_id
    WHERE p.shard = $1 AND (p.state = 'awaiting_approval' OR (p.state = 'scheduled' AND s.execute_at <= $2))"""
_LYING: Final = """SELECT count(*) FROM payouts p JOIN merchant_settings m ON m.shard = $1 AND m.merchant_id = p.merchant_id
    JOIN balances b ON b.shard = $1 AND b.merchant_id = p.merchant_id AND b.currency = p.currency AND b.account = 'available'
    WHERE p.shard = $1 AND p.state = 'unfunded' AND m.execute_unfunded AND p.amount_minor + p.fee_minor <= b.balance_minor"""


class Scenes:
    """Those of one day."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._has = day.knobs.scenes
        self._persons: tuple[str, ...] = ()
        self._lying_since: float | None = None

    async def put_up(self, house: House, clerk: Process) -> None:
        """In the morning, before any fault."""
        if "rules" in self._has or "registries" in self._has:
            self._persons = await approvers.hire(house)
        if "rules" in self._has:
            await ruled.settle(self._day, house, clerk, self._persons)
        if "webhooks" in self._has:
            await receivers.set_up(self._day, house)
        if "registries" in self._has:
            await registries.set_up(self._day, house, clerk)

    def begin(self) -> None:
        """Who acts all day long comes."""
        day = self._day
        if "rules" in self._has:
            self._keep("approvers", lambda house: approvers.Approvers(day, house, self._persons, day.streams["approvers"]).run())
        if "webhooks" in self._has:
            rotated: set[str] = set()
            self._keep("integrators", lambda house: receivers.look_after(day, house, rotated))
        if "registries" in self._has:
            self._keep("controllers", lambda house: registries.agree(day, house, self._persons))

    def _keep(self, name: str, work: Callable[[House], Awaitable[None]]) -> None:
        """Let persons work in a program of their own, which is begun again when it loses the database."""
        process = self._day.house.process(name, mortal=False)

        async def again_and_again() -> None:
            while not self._day.closed:
                with contextlib.suppress(StoreUnavailable):
                    async with self._day.house.house(process) as house:
                        await work(house)
                await asyncio.sleep(1.0)

        process.start(again_and_again())

    def calm(self) -> Rhythm:
        """How the healthy core works after the faults."""
        return replace(CALM, time_s=10.0) if "rules" in self._has else CALM

    def undecided(self) -> int:
        """How much is still to come that this day waits for."""
        files = registries.undecided(self._day) if "registries" in self._has else 0
        return files + (self._ruled() if "rules" in self._has else 0) + self._day.auditor.untold()

    def _ruled(self) -> int:
        day, now = self._day, self._day.loop.time()
        found = int(day.backend.look(_RULED, 0, DAWN + timedelta(seconds=now + SOON_S))[0][0])
        lying = int(day.backend.look(_LYING, 0)[0][0])
        self._lying_since = (self._lying_since if self._lying_since is not None else now) if lying else None
        return found + (lying if self._lying_since is not None and now - self._lying_since < LYING_S else 0)
