"""Sessions at the primary. Lives here: how one is made, also where several hosts may be the primary, and how one is given up.

Hosts of one address are tried side by side: one that is frozen, or behind a partition, must not keep us from the other. Of two that
both call themselves primary, the later timeline is meant. A standby is no primary, whatever it answers.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from disburse.storage.lineage import Lineage, lineage_of, write_something

HOST_S = 3.0
"""One of several hosts may take so long to answer."""

LATER_S = 0.25
"""When one of several hosts turned out to be the primary, the others may say for so long that they are a later one."""


class NoPrimary(ConnectionError):
    """Whoever answers there is a standby."""


class Session(asyncpg.Connection):
    """A connection that knows whom it leads to. It never asks the server to cancel a statement: it is ended instead.

    A request to cancel also ends the wait for the synchronous standby: the COMMIT that nobody was told of would be visible to everyone,
    and be answered to the next who asks, before the standby has it. A failover would then lose what was acknowledged.
    """

    __slots__ = ("lineage",)
    lineage: Lineage | None

    def _cancel_current_command(self, waiter: Any, *_: Any) -> None:
        self.terminate()
        if not waiter.done():
            waiter.set_result(None)


def hosts_of(dsn: str) -> list[str]:
    """An address for each host of an address that names several. Newer Pythons' `urlsplit` takes an IPv6 address for a lone host's alone."""
    scheme, mark, rest = dsn.partition("://")
    end = min([at for sign in "/?#" if (at := rest.find(sign)) >= 0], default=len(rest))
    login, sign, hosts = rest[:end].rpartition("@")
    return [f"{scheme}{mark}{login}{sign}{host}{rest[end:]}" for host in hosts.split(",")]


async def connect(dsn: str, *, timeout: float = 10, **how: Any) -> Any:
    """A session at the primary. Raises OSError and asyncpg's errors: those of the first host when there is none."""
    how = {**how, "connection_class": Session}
    hosts = hosts_of(dsn)
    async with asyncio.timeout(timeout):
        if len(hosts) == 1:
            return await _meet(await asyncpg.connect(dsn, timeout=timeout, **how))
        return await _latest([asyncio.ensure_future(_try(host, how)) for host in hosts])


async def _try(dsn: str, how: dict[str, Any]) -> Any:
    """Raises NoPrimary for a host that the address itself rules out (`target_session_attrs`), too."""
    try:
        async with asyncio.timeout(HOST_S):
            return await _meet(await asyncpg.connect(dsn, timeout=HOST_S, **how))
    except asyncpg.exceptions.TargetServerAttributeNotMatched:
        raise NoPrimary("a standby") from None


async def _meet(session: Any) -> Any:
    """Ask whom it leads to. Raises NoPrimary.

    What is written waits for the synchronous standby, and so for all that can be seen here: after a crash a primary shows what it had
    written and not yet sent on.
    """
    try:
        standby, commit = await session.fetchrow("SELECT pg_is_in_recovery(), current_setting('synchronous_commit')")
        if standby:
            raise NoPrimary("a standby")
        if commit in ("off", "local"):  # before anything is written: what is written first has to wait for the standby too
            await session.execute("SET synchronous_commit = on")
        session.lineage = await lineage_of(session)
        await write_something(session)
    except BaseException:
        session.terminate()
        raise
    return session


async def _latest(tries: list[asyncio.Future[Any]]) -> Any:
    """The first to be a primary, unless another one turns out at once to be a later one."""
    best: Any = None
    try:
        waiting = set(tries)
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=LATER_S if best else None, return_when=asyncio.FIRST_COMPLETED)
            primaries = [one.result() for one in done if not one.exception()]
            best = max([*primaries, *([best] if best else [])], key=lambda session: session.lineage.timeline, default=None)
            if best and not done:
                break
        return best if best is not None else tries[0].result()
    finally:
        for one in tries:
            one.cancel()
        for late in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(late, Session) and late is not best:
                late.terminate()
