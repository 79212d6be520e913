"""The time after a day: what waits for its merchant comes to its time, and somebody has to mind it.

Lives here: leaps over the hours in which nobody has anything to do, to the moments in which payouts expire. Every process stands
still meanwhile; then one worker minds the house. May not live here: judgement.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

from disburse.simulation.process import DAWN
from disburse.simulation.stage import Day
from disburse.wiring import Rhythm

MOST: Final = 4
"""Leaps at most: what expires later than the last may wait."""

_WATCH_S: Final = 240.0
_SLOW: Final = Rhythm(poll_s=120.0, watch_s=120.0, pulse_s=120.0, house_s=12.0, time_s=120.0)
_WAITING: Final = """SELECT min(expires_at), max(expires_at) FROM payouts
    WHERE shard = ANY ($1) AND state IN ('created', 'unfunded') AND expires_at > $2"""


async def nights(day: Day) -> None:
    """Live through the moments in which what is left unexecuted expires, few of them at a time."""
    for _ in range(MOST):
        first, last = day.backend.look(_WAITING, day.buckets, _now(day))[0]
        if first is None:
            return
        for name in day.names:
            day.house.processes[name].kill()
        day.sometimes["a night went by"] += 1
        await asyncio.sleep((first - _now(day)).total_seconds() - 1.0)
        worker = day.house.start(day.names[-1], _SLOW)
        await asyncio.sleep(min((last - first).total_seconds() + 30.0, _WATCH_S))
        worker.kill()


def _now(day: Day) -> datetime:
    return DAWN + timedelta(seconds=day.loop.time())
