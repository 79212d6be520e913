"""Events on their way out of a house: the hint that some happened, the watch for programs that wait, the courier to endpoints.

Lives here: which of them a process runs, and what the courier posts through. `serve` and its doors run this beside
`wiring.working`; whoever does not, posts nothing anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from disburse.api.listening import connections_possible
from disburse.connectors.webhooks import WebhookTransport
from disburse.hints import Hint
from disburse.operations.desk import StoreUnavailable
from disburse.operations.events import CHANNEL
from disburse.storage.database import assert_no_transaction
from disburse.wiring import House, listening
from disburse.workers.courier import DEFAULT_LIMITS, Courier, CourierLimits, Post
from disburse.workers.news import NewsWatch

_RESOLVING: Final = 64
_RESOLVING_AGAIN: Final = 8
_MOST_NAMES: Final = 10_000

LookUp = Callable[..., Sequence[tuple[Any, ...]]]
"""As `socket.getaddrinfo`: waits, and raises OSError."""


class SystemResolver:
    """All addresses of a host, as this machine's resolver tells them, in threads of its own.

    A name is asked for once at a time, however many want it: one whose server is silent holds one thread. Names that were not found the last
    time share a few threads of their own, so that any number of dead ones delays nobody else.
    """

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(_RESOLVING, thread_name_prefix="resolve")
        self._few = ThreadPoolExecutor(_RESOLVING_AGAIN, thread_name_prefix="resolve-again")
        self._asked: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._lost: dict[tuple[str, int], None] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Raises OSError for a name that is not found."""
        key, asked = (host, port), self._asked.get((host, port))
        if asked is None:
            asked = asyncio.get_running_loop().run_in_executor(
                self._few if key in self._lost else self._threads, partial(self._look_up, host, port, type=socket.SOCK_STREAM)
            )
            self._asked[key] = asked
            asked.add_done_callback(partial(self._told, key))
        found = await asyncio.shield(asked)  # one caller's deadline is not another's
        return list(dict.fromkeys(str(one[4][0]) for one in found))

    def _told(self, key: tuple[str, int], asked: asyncio.Future[Any]) -> None:
        self._asked.pop(key, None)
        self._lost.pop(key, None)
        if not asked.cancelled() and asked.exception() is not None:  # whoever waited has heard it; if nobody did any more, it is no news
            if len(self._lost) >= _MOST_NAMES:
                self._lost.clear()
            self._lost[key] = None

    def close(self) -> None:
        for threads in (self._threads, self._few):
            threads.shutdown(wait=False, cancel_futures=True)


@contextlib.asynccontextmanager
async def outgoing(
    house: House,
    *,
    api: bool,
    workers: bool,
    delivered: Callable[[str], None] = lambda outcome: None,
    post: Post | None = None,
    limits: CourierLimits = DEFAULT_LIMITS,
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run what takes events out of this process. `delivered` hears how each try at an endpoint ended; `post` is for tests.

    A house in quarantine posts nothing: what a restored database takes for news was told before it was restored.
    """
    hint, wakes = Hint(house.database, house.world.clock, CHANNEL), []
    loops: list[Callable[[], Coroutine[Any, Any, None]]] = [hint.run]
    async with contextlib.AsyncExitStack() as stack:
        if api:
            watch = NewsWatch(house.desk, house.world)
            loops.append(watch.run)
            wakes.append(watch.pace.wake)
        if workers and not house.installation.quarantined:
            limits = _possible(limits)
            courier = make_courier(house, post or _transport(house, stack, limits.in_all), delivered, limits)
            stack.push_async_callback(courier.finish)
            loops.append(courier.run)
            wakes.append(courier.pace.wake)

        def heard() -> None:
            for wake in wakes:
                wake()

        if wakes:
            loops.append(partial(listening, house, CHANNEL, heard))
        house.desk.on_written = hint.ring
        tasks = [asyncio.create_task(loop()) for loop in loops]
        stack.push_async_callback(_stop, tasks)
        yield tasks


def make_courier(house: House, post: Post, delivered: Callable[[str], None], limits: CourierLimits) -> Courier:
    """A courier under a name that no other process has."""
    name = f"{house.place}-{house.world.random.bytes(4).hex()}"
    shards = list(range(house.settings.buckets))
    return Courier(house.desk, post, house.world, name, shards=shards, limits=limits, told=delivered)


def _possible(limits: CourierLimits) -> CourierLimits:
    """No more tries at a time than this process may have connections: those under way, and as many again that are kept."""
    in_all = min(limits.in_all, connections_possible(2 * limits.in_all) // 2)
    return replace(limits, in_all=in_all, together=min(limits.together, max(in_all // 2, 1)))


def _transport(house: House, stack: contextlib.AsyncExitStack, connections: int) -> WebhookTransport:
    resolver = SystemResolver()
    stack.callback(resolver.close)
    transport = WebhookTransport(
        house.world.clock, resolver, to_loopback=house.settings.webhooks_to_loopback, connections=connections,
        outside=assert_no_transaction,
    )  # fmt: skip
    stack.push_async_callback(transport.close)
    return transport


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, StoreUnavailable):
            await task
