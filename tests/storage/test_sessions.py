"""Sessions at the primary: the host that answers is found, and a statement that nobody waits for any more is never cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest

from disburse.storage.sessions import HOST_S, connect, hosts_of
from tests.operations.wire import Wire, wire_to


@pytest.mark.parametrize(
    "dsn, hosts",
    [
        ("postgresql://u:p@a:1,b:2/d?sslmode=disable", ["postgresql://u:p@a:1/d?sslmode=disable", "postgresql://u:p@b:2/d?sslmode=disable"]),
        ("postgresql://a,[::1]:5433/d", ["postgresql://a/d", "postgresql://[::1]:5433/d"]),
        ("postgresql://u@/d?host=%2Ftmp&port=5432", ["postgresql://u@/d?host=%2Ftmp&port=5432"]),
    ],
)
def test_hosts(dsn: str, hosts: list[str]) -> None:
    """An address of several hosts is as many addresses, alike in all else."""
    assert hosts_of(dsn) == hosts


@asynccontextmanager
async def ports(dsn: str, *silent: bool) -> AsyncIterator[str]:
    """The address of a server behind ports of this machine, of which some never answer."""
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    wire = Wire(f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}")
    closing = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    servers = [await asyncio.start_server(hold if one else wire.carry, "127.0.0.1", 0) for one in silent]
    hosts = ",".join(f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers)
    login = parts.netloc.rpartition("@")[0]
    try:
        yield urlunsplit(parts._replace(netloc=f"{login}@{hosts}", query="sslmode=disable"))
    finally:
        closing.set()
        for server in servers:
            server.close()


@pytest.mark.parametrize("silent", [(True, False), (False, True), (False, False)])
async def test_a_silent_host_keeps_nobody_from_the_others(dsn: str, silent: tuple[bool, ...]) -> None:
    """The host that answers is used, wherever it stands in the address, before the other's time is up."""
    async with ports(dsn, *silent) as address, asyncio.timeout(HOST_S):
        session = await connect(address)
        assert await session.fetchval("SELECT 1") == 1 and session.lineage.timeline >= 1
        session.terminate()


async def test_nobody_answers(dsn: str) -> None:
    """Where no host is a primary, what the first one did is raised."""
    async with ports(dsn, True, True) as address:
        with pytest.raises(TimeoutError):
            await connect(address)


async def test_a_statement_is_never_cancelled(dsn: str, tmp_path: Path) -> None:
    """Who stops waiting ends the session and sends no request to cancel, which would end a COMMIT's wait for the standby."""
    async with wire_to(dsn, tmp_path) as (wire, address):
        holder, session = await connect(dsn), await connect(address)
        await holder.execute("SELECT pg_advisory_lock(1)")
        waiting = asyncio.create_task(session.execute("SELECT pg_advisory_lock(1)"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled() and session.is_closed()
        (await connect(address)).terminate()  # whatever was asked for before this has reached the wire by now
        assert wire.carried == 2
        holder.terminate()
