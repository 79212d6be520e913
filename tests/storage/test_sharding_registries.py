"""Hot statements of registries and of the duplicate guard stay hot: by key, within one bucket, whatever the tables hold.

As in `test_sharding.py`, statements are caught while a life is lived, and explained on empty and on full tables.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import asyncpg

from disburse.api.registry_files import How, plan_file
from disburse.domain.merchant import Merchant
from disburse.domain.money import Money
from disburse.domain.ports import World
from disburse.operations import duplicates, registries, registry_work
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.registries import Registry, Start
from disburse.operations.registry_apply import Applier
from disburse.operations.registry_rules import Terms
from tests.api.house import House
from tests.storage.plans import Net, Reading, readings, session_like_the_programs
from tests.storage.test_sharding import BUCKETS, fresh, keys_of

TABLES = {"registries", "registry_rows", "registry_chunks", "registry_fates", "duplicate_traces", "duplicate_names", "duplicate_places"}
SMALL = {"registries_at_work", "duplicate_places_pkey"}
"""Indexes that may be walked within a bucket: registries under way, merchants who ever planned one."""

FULL = """
INSERT INTO registries (shard, registry_id, merchant_id, state, file_name, file_digest, file_bytes, again, created_at, updated_at, actor)
    SELECT {shard}, md5('{shard}r' || n)::uuid, 1000 + n % 50, 'uploaded', '', '\\x00', 0, false, 'epoch', 'epoch', 'bulk' FROM generate_series(1, 2000) AS n;
INSERT INTO registry_rows (shard, registry_id, number, line, verdict, base, payout_id, sealed, rail, currency, amount_minor, fee_minor, amount_text, display,
        fingerprint, destination_digest)
    SELECT {shard}, md5('{shard}r' || n % 7)::uuid, n, n, 'good', n::text, md5('{shard}p' || n)::uuid, '\\x00', 'card', 'RUB', 1, 0, '', '', '\\x00', '\\x00'
    FROM generate_series(1, 40000) AS n;
INSERT INTO registry_chunks (shard, registry_id, chunk, first_row, last_row, good, digest)
    SELECT {shard}, md5('{shard}r' || n % 7)::uuid, n, n, n, 1, '\\x00' FROM generate_series(1, 5000) AS n;
INSERT INTO registry_fates (shard, registry_id, number, fate, payout_id, at, actor)
    SELECT {shard}, md5('{shard}r' || n % 7)::uuid, n, 'found', md5('{shard}p' || n)::uuid, 'epoch', 'bulk' FROM generate_series(1, 5000) AS n;
INSERT INTO duplicate_traces (shard, payout_id, merchant_id, at, place, person, patronymic, short, number, detail, telling, words)
    SELECT {shard}, md5('{shard}p' || n)::uuid, 1000 + n % 50, 'epoch', n % 9000, n % 8000, 1, 1, n % 7000, n, 0, 0 FROM generate_series(1, 40000) AS n;
INSERT INTO duplicate_names (shard, payout_id, person, patronymic, short)
    SELECT {shard}, md5('{shard}p' || n)::uuid, n, 1, n FROM generate_series(1, 40000) AS n;
INSERT INTO duplicate_places (shard, merchant_id, event_to) SELECT {shard}, n, 10 ^ 9 FROM generate_series(10000, 12000) AS n;
"""

FILE = (
    "reference,rail,destination,bank,amount,currency,comment,name\n"
    "{mark}1,card,4111111111111111,,5.00,RUB,invoice 12345,Орлов Иван Петрович\n"
    "{mark}1,card,5555555555554444,,5.00,RUB,,\n"
    "{mark}2,card,4111111111111111,,5.00,RUB,invoice 12345,\n"
    "{mark}3,card,5555555555554444,,6.00,RUB,wage for May,\n"
)


async def live(house: House, mark: str, shard: int) -> None:
    """Everything that can happen to registries of one merchant."""
    made = await add_merchant(house.database, house.world, house.vault, name="m", login=f"{mark}{shard}@example.com", actor="test", shard=shard)
    merchant, desk = made.merchant, house.desk
    await desk.top_up(merchant, draw_top_up(house.world, merchant, Money(10**7, "RUB"), actor="test", reference=mark))
    registry = await _planned(house, merchant, FILE.format(mark=mark))
    assert (registry.good, registry.bad, registry.held) == (2, 1, 1)
    started = await registries.start(Terms(desk), Start(registry.registry_id, registry.digest or b"", True, "test"))
    applier = Applier(desk, started, "w", "test")
    assert await applier.run()
    await applier.let_go()
    await registry_work.at_work(Terms(desk), shard, 10)
    await registry_work.settle(Terms(desk), registry, "test")
    await registry_work.say_waits(Terms(desk), registry, "money")
    await registries.page(house.database, registry, 0, 10, only="good")
    await registries.of_merchant(house.database, merchant, None, 10)
    await registries.look(house.database, registry.registry_id)
    other = await _planned(house, merchant, FILE.format(mark=f"{mark}-other-"))
    assert (other.bad, other.held) == (1, 3)
    await registries.cancel(Terms(desk), other.registry_id, "test")
    await duplicates.catch_up_somebody(house.database, house.vault, shard)
    await duplicates.forget(house.database, shard, house.world.clock.now() - timedelta(days=1))


async def _planned(house: House, merchant: Merchant, text: str) -> Registry:
    planned = await plan_file(Terms(house.desk), merchant, io.BytesIO(text.encode()), "f.csv", How(frozenset()), actor="test")
    return planned.registry


async def faults(dsn: str, net: Net, keys: dict[str, list[str]]) -> tuple[int, list[str]]:
    """How many readings were looked at, and those that would walk a whole bucket."""
    connection = await session_like_the_programs(dsn)
    seen, found = 0, []
    try:
        for caught in [one for one in net.caught.values() if not one.sql.startswith("COPY")]:
            mine: list[Reading] = [one for one in await readings(connection, caught) if one.table in TABLES]
            seen += len(mine)
            for one in mine:
                needed = set(keys.get(one.index or "", [])[: 1 if one.index in SMALL else 2])
                if not needed or not needed <= one.columns:
                    found.append(f"{one} in {' '.join(caught.sql.split())[:200]}")
    finally:
        await connection.close()
    return seen, found


async def test_registries_are_read_by_key(server: Callable[[str], str], world: World, tmp_path: Path) -> None:
    """Planning, applying and remembering search every table by its bucket and a key, right after migration and on full tables."""
    async with fresh(server, world, tmp_path, 0, "registries") as (dsn, house, _):
        net = Net(TABLES)
        await net.cast(house.database)
        for shard in BUCKETS:
            await live(house, "a", shard)
        keys = await keys_of(dsn)
        seen, empty = await faults(dsn, net, keys)
        connection = await asyncpg.connect(dsn, server_settings={"search_path": "disburse", "synchronous_commit": "off"})
        for shard in BUCKETS:
            await connection.execute(FULL.format(shard=shard))
        await connection.execute("ANALYZE")
        await connection.close()
        for shard in BUCKETS:
            await live(house, "b", shard)
        more, full = await faults(dsn, net, keys)
        assert seen > 40 and more >= seen
        assert not empty + full, "\n".join(empty + full)
