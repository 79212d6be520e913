"""What only who was there can see: whether a payout moved between two persons' words, and what the clock showed at a claim."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg
import pytest

from disburse.domain.outcomes import NotSent, Unknown
from tests.simulation.auditor.damages import tell
from tests.simulation.auditor.watch import Watched, hurt, invariants

ASK = """INSERT INTO requests SELECT shard, '00000000-0000-7000-8000-00000000000a', merchant_id, 'resolve', payout_id, NULL, 1,
    'not-moved', last_event, currency, amount_minor, '', '', 0, 'epoch', 'operator:1' FROM payouts WHERE payout_id = {doubt}"""
AGREE = """INSERT INTO decisions SELECT shard, request_id, merchant_id, 'approved', 'failed', 'epoch', 'operator:2' FROM requests"""


@pytest.mark.parametrize("moved", [True, False])
async def test_what_moved_is_asked_for_anew(watched: Watched, doctor: asyncpg.Connection, moved: bool) -> None:
    """Two persons may end a payout only as it stood when the first of them asked, whatever the request itself says of that."""
    await watched.auditor.after_commit()
    town = watched.town
    await town.merchant(1)
    await town.top_up(1, 10_000, "RUB", "first")
    await town.create(town.command("doubt", 1_000))
    await town.hear(await town.claim("doubt"), Unknown("time-out"))
    await hurt(doctor, town, ASK)
    assert await watched.auditor.after_commit() == watched.said == []
    if moved:
        await hurt(doctor, town, tell("doubt", "payout.executed_again", "in_doubt"))
        assert await watched.auditor.after_commit() == []
    await hurt(doctor, town, AGREE)
    assert invariants(await watched.auditor.after_commit()) == (["A1"] if moved else [])


@pytest.mark.parametrize("off_s", [0, 3600, -3600])
async def test_a_lease_is_short_by_the_databases_clock(watched: Watched, doctor: asyncpg.Connection, off_s: int) -> None:
    """A lease that ends an hour from its commit, or ended an hour before, was reckoned by somebody's own clock."""
    shows: datetime = await doctor.fetchval("SELECT clock_timestamp()")
    watched.auditor._clock = lambda: shows - timedelta(seconds=off_s)
    await watched.auditor.after_commit()
    town = watched.town
    await town.merchant(1)
    await town.top_up(1, 10_000, "RUB", "first")
    await town.create(town.command("open", 1_000))
    await town.claim("open")
    assert invariants(watched.said) == (["E15"] if off_s else [])


@pytest.mark.parametrize("again", [True, False])
async def test_one_call_does_not_speak_for_another(watched: Watched, doctor: asyncpg.Connection, again: bool) -> None:
    """What was in doubt may have been sent again where its provider takes that: then "not sent" of the first call proves nothing."""
    watched.auditor._repeats = {"sandbox": 10.0} if again else {}
    await watched.auditor.after_commit()
    town = watched.town
    await town.merchant(1)
    await town.top_up(1, 10_000, "RUB", "first")
    await town.create(town.command("slept", 1_000))
    opened = await town.claim("slept")
    await town.hear(opened, Unknown("its lease ran out"), kind="lease")
    await town.hear(opened, NotSent("no connection in time"))
    assert invariants(watched.said) == (["E3"] if again else [])
