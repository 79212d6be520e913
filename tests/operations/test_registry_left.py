"""What is left of registries whose planning broke off: it is forgotten after an hour, and nothing that somebody may still apply ever is."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import pytest

from disburse.api.registry_files import BadFile, How, opened, pieces
from disburse.domain.ports import World
from disburse.domain.registry_states import RegistryState
from disburse.operations import registries, registry_left
from disburse.operations.registry_plan import Piece, PlanGivenUp, Planner, begin, plan_all
from disburse.storage.database import Database
from tests.api.house import SANDBOX, build_house
from tests.operations.registry_house import MEMBERS, Registrars, many

S = RegistryState
TABLES = ("registry_rows", "registry_chunks", "duplicate_names")


@pytest.fixture
async def registrars(database: Database, world: World, tmp_path: Path) -> Registrars:
    house = await build_house(database, world, tmp_path, routes=(SANDBOX,))
    return Registrars(house, (await house.merchant()).merchant)


async def begun(registrars: Registrars) -> Planner:
    return await begin(registrars.terms, registrars.merchant, file_name="w.csv", file_digest=b"d", file_bytes=1, again=False, actor="operator:1")


async def half_planned(registrars: Registrars, count: int) -> Planner:
    """A planning that stored so many rows and of which nothing is heard any more. Each row has a name."""
    planner = await begun(registrars)
    for piece in drafted(registrars, planner, named(count)):
        await planner.store(piece)
    await planner.written()
    return planner


def named(count: int) -> str:
    """So many good rows, each to somebody whose name is told."""
    head, *rows = many(count).splitlines()
    return "\n".join([f"{head},name", *(f"{row},Ivan Petrov" for row in rows)])


def drafted(registrars: Registrars, planner: Planner, text: str) -> list[Piece]:
    how = How(MEMBERS)
    return [planner.drafter.draft(judged) for judged in pieces(opened(io.BytesIO(text.encode()), how), how, registrars.merchant)]


async def an_hour_later(registrars: Registrars) -> None:
    await registrars.rows("UPDATE registries SET lease_until = lease_until - interval '1 hour 1 second' WHERE shard = 0 RETURNING 1")


async def kept_house(registrars: Registrars) -> int:
    """Let the housekeeper look until it finds nothing; how often it had something to do."""
    house, rounds = registrars.house, 0
    while await registry_left.forget_broken(house.database, 0, house.world.clock.now(), "worker:test"):
        rounds += 1
    return rounds


async def left(registrars: Registrars) -> list[int]:
    """How many rows each table has."""
    return [(await registrars.rows(f"SELECT count(*) FROM {table} WHERE shard = $1", 0))[0][0] for table in TABLES]


async def test_what_a_killed_planning_left_goes_after_an_hour(registrars: Registrars, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within an hour of its last piece a planning may go on; after that it is cancelled, told of, and its rows go, some at a time; what has a plan stays."""
    monkeypatch.setattr(registry_left, "ROWS", 1_500)
    healthy = await registrars.planned(many(5))
    cancelled = await registries.cancel(registrars.terms, (await registrars.planned(many(3, prefix="c"))).registry_id, "operator:1")
    broken = (await half_planned(registrars, 3_000))._registry
    before = await left(registrars)
    assert before[:2] == [3_008, 5] and before[2] >= 3_000
    assert await kept_house(registrars) == 0 and await left(registrars) == before
    await an_hour_later(registrars)
    assert await kept_house(registrars) == 3 and (await left(registrars))[:2] == [8, 2]
    assert (await registrars.read(broken)).state is S.CANCELLED
    assert await registrars.house.events(registrars.merchant, "registry.cancelled") == 2
    assert await registrars.outcomes(cancelled) == ["not_applied"] * 3
    assert await kept_house(registrars) == 0 and (await left(registrars))[2] == before[2] - 3_000
    assert (await registrars.apply(healthy)).made == 5
    assert (await registrars.verify()).holds


async def test_a_planning_that_wakes_up_too_late_stores_nothing(registrars: Registrars) -> None:
    """One that stood still for an hour, or was cancelled by a person meanwhile, is refused at its next piece and at its end, and leaves nothing."""
    late, stopped = await begun(registrars), await half_planned(registrars, 10)
    first, second = drafted(registrars, late, named(2_000))
    await late.store(first)
    await late.written()
    await an_hour_later(registrars)
    await registries.cancel(registrars.terms, stopped._registry.registry_id, "operator:1")
    await kept_house(registrars)
    with pytest.raises(PlanGivenUp):
        await late.store(second)
        await late.written()
    with pytest.raises(PlanGivenUp):
        await stopped.finish()
    assert await left(registrars) == [0, 0, 0]


async def test_a_piece_tells_that_the_planning_lives(registrars: Registrars) -> None:
    """However long a file takes to plan, each piece of it gives it another hour."""
    planner = await begun(registrars)
    for piece in drafted(registrars, planner, named(2_000)):
        await an_hour_later(registrars)
        await planner.store(piece)
        await planner.written()
    assert await kept_house(registrars) == 0
    assert (await registrars.read(planner._registry)).state is S.UPLOADED


async def test_a_refused_file_goes_at_once(registrars: Registrars) -> None:
    """What is refused midway is cancelled by whoever planned it, and nobody waits an hour for its rows."""

    async def stream(planner: Planner) -> AsyncGenerator[Piece, None]:
        for piece in drafted(registrars, planner, many(10)):
            yield piece
        raise BadFile("It ends in the middle.")

    planner = await begun(registrars)
    with pytest.raises(BadFile):
        await plan_all(planner, stream(planner))
    assert (await registrars.read(planner._registry)).state is S.CANCELLED
    assert await kept_house(registrars) == 1 and (await left(registrars))[:2] == [0, 0]


async def test_the_program_cannot_forget_what_has_a_plan(registrars: Registrars) -> None:
    """The owner's function leaves alone what is planned, under way, or was cancelled with its plan; and the program deletes no row by itself."""
    planned = await registrars.planned(many(3))
    cancelled = await registries.cancel(registrars.terms, (await registrars.planned(many(3, prefix="c"))).registry_id, "operator:1")
    uploaded = (await half_planned(registrars, 3))._registry
    for one in (planned, cancelled, uploaded):
        assert [row[0] for row in await registrars.rows("SELECT forget_unplanned(0::smallint, $1, 10)", one.registry_id)] == [0]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await registrars.rows("DELETE FROM registry_rows WHERE shard = 0 RETURNING 1")
    assert (await left(registrars))[0] == 9
