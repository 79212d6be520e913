"""Seeing that the embedded server runs, for as long as a process lives. What the keeper of the server itself does is `embedded_keeper.py`'s."""

from __future__ import annotations

import asyncio
import contextlib

from disburse.domain.ports import Clock
from disburse.storage.database import Database, StoreUnavailable
from disburse.storage.embedded import EmbeddedServer, EmbeddedServerFailed


async def keeping(database: Database, server: EmbeddedServer, clock: Clock) -> None:
    """Look every two seconds: the server's keeper restarts it, and this restarts a keeper that was killed."""
    while True:
        await clock.sleep(2)
        try:
            await database.ping(deadline=clock.monotonic() + 2)
        except StoreUnavailable:
            with contextlib.suppress(EmbeddedServerFailed):  # the next round tries again; readiness says so meanwhile
                await asyncio.to_thread(server.start)
