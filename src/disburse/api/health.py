"""Is the process alive, is it ready, what does it measure: `/healthz`, `/readyz`, `/metrics`. Nothing of a request is read.

Ready means that a payout accepted now will be carried out: the database answers, its tables are this version's, a worker was
seen within 10 s (in this process or any other), the installation is not in quarantine, and the process is not stopping.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from disburse.api.kernel import Page
from disburse.api.metrics import CONTENT_TYPE, Metrics
from disburse.domain.ports import Clock
from disburse.protocols.wire import JSON, WireAnswer, WireRequest

WORKER_WITHIN: Final = timedelta(seconds=10)
LOOK_EVERY_S: Final = 1.0
LOOK_WITHIN_S: Final = 2.0


class Standing(Protocol):
    """What the database says of itself; `storage/reports.py` reads it."""

    @property
    def pending_migrations(self) -> Sequence[str]: ...

    @property
    def worker_seen(self) -> timedelta | None:
        """How long ago any worker was seen; None: never."""
        ...


class Health:
    """What one process knows of its health. The database is asked at most once a second, however many ask us."""

    def __init__(
        self, clock: Clock, *, look: Callable[[], Awaitable[Standing]], quarantined: Callable[[], bool],
        unsettled: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.stopping = False
        self._clock = clock
        self._look = look
        self._quarantined = quarantined
        self._unsettled = unsettled
        self._found: list[dict[str, str]] = []
        self._again_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def alive(self, _: WireRequest) -> WireAnswer:
        """`/healthz`: 200 as long as anything answers at all."""
        return _json(200, {"alive": True})

    async def ready(self, _: WireRequest) -> WireAnswer:
        """`/readyz`: 200, or 503 naming everything that lacks."""
        lacks = await self.lacks()
        return _json(503 if lacks else 200, {"ready": not lacks, "lacks": lacks})

    async def lacks(self) -> list[dict[str, str]]:
        """What is missing, each with a name and a sentence. Empty: ready."""
        lacks = [_lack("running", "The process is stopping.")] if self.stopping else []
        if self._quarantined():
            lacks.append(
                _lack("release from quarantine", "The database was restored or copied, or lost something. Compare, then release.")
            )
        elif self._unsettled():
            lacks.append(_lack("witness", "The database is on a new timeline, which no worker has accepted yet."))
        return lacks + await self._of_database()

    async def _of_database(self) -> list[dict[str, str]]:
        if self._looking is None and self._clock.monotonic() >= self._again_at:
            self._looking = asyncio.create_task(self._look_once())
        if self._looking is not None:
            await asyncio.shield(self._looking)
        return self._found

    async def _look_once(self) -> None:
        try:
            async with self._clock.timeout(LOOK_WITHIN_S):
                self._found = _missing(await self._look())
        except Exception:
            self._found = [_lack("database", f"The database did not answer within {LOOK_WITHIN_S:.0f} s.")]
        finally:
            self._again_at = self._clock.monotonic() + LOOK_EVERY_S
            self._looking = None


def pages(health: Health, metrics: Metrics) -> Mapping[str, Page]:
    """The three pages by path, for the kernel."""

    async def measured(_: WireRequest) -> WireAnswer:
        return WireAnswer(200, CONTENT_TYPE, await metrics.page())

    return {"/healthz": health.alive, "/readyz": health.ready, "/metrics": measured}


def _missing(standing: Standing) -> list[dict[str, str]]:
    if standing.pending_migrations:
        names = ", ".join(standing.pending_migrations)
        return [_lack("migrations", f"The database lacks {names}.")]
    seen = standing.worker_seen
    if seen is None:
        return [_lack("worker", "No worker was ever seen.")]
    if seen > WORKER_WITHIN:
        within = WORKER_WITHIN.total_seconds()
        return [
            _lack("worker", f"No worker was seen within {within:.0f} s; the last one {seen.total_seconds():.0f} s ago.")
        ]
    return []


def _lack(name: str, why: str) -> dict[str, str]:
    return {"name": name, "why": why}


def _json(status: int, body: Mapping[str, object]) -> WireAnswer:
    return WireAnswer(status, JSON, json.dumps(body).encode())
