"""The server: one port, TLS or not, until told to stop. Lives here: listening, signals, an orderly end.

What one connection may take is `server_connection.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import uvicorn
from uvicorn.server import ServerState

from disburse.api.kernel import Logger
from disburse.api.listening import DEFAULT_LIMITS, Limits, connections_possible, listen, tls_context
from disburse.api.metrics import Metrics
from disburse.domain.ports import World
from disburse.server_connection import Connection, Sweeper

T = TypeVar("T")

BACKLOG: Final = 2048

def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program on uvloop, or on Python's own loop where there is none."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def serve(
    app: Any,
    *,
    host: str,
    port: int,
    world: World,
    metrics: Metrics,
    logger: Logger,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
    stop: asyncio.Event | None = None,
    signals: bool = True,
    on_listening: Callable[[int], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
    sockets: list[socket.socket] | None = None,
) -> None:
    """Serve an ASGI application until SIGTERM, SIGINT or `stop`; requests under way get `stop_within_s` to end.

    Port 0 takes a free one; `on_listening` is told which. `sockets` are bound already. A second signal ends it at once.
    Raises CannotListen and BadCertificate.
    """
    context = tls_context(tls_cert, tls_key) if tls_cert is not None else None
    limits, listeners = replace(limits, connections=connections_possible(limits.connections)), sockets or await listen(host, port)
    state, config, stop = ServerState(), _configured(app), stop or asyncio.Event()
    sweeper = Sweeper(state, world.clock, limits, metrics, logger)
    bound: int = listeners[0].getsockname()[1]
    servers, hurry = [], asyncio.Event()
    sweeping = asyncio.create_task(sweeper.run())
    try:
        with _minding_signals(stop, hurry) if signals else contextlib.nullcontext():
            for listener in listeners:
                servers.append(
                    await asyncio.get_running_loop().create_server(
                        lambda: Connection(config, state, sweeper),
                        sock=listener,
                        ssl=context,
                        backlog=BACKLOG,
                        ssl_handshake_timeout=limits.handshake_within_s if context else None,
                    )
                )
            url = f"{'https' if context else 'http'}://{f'[{host}]' if ':' in host else host}:{bound}"
            logger.info(f"listening on {url}", url=url)
            if on_listening is not None:
                on_listening(bound)
            await stop.wait()
            logger.info("stopping", count=len(state.tasks))
            if on_stopping is not None:
                on_stopping()
            for server in servers:
                server.close()
            await _finish(state, world, limits, hurry)
    finally:
        sweeping.cancel()
        for server in servers:
            server.close()
        for listener in listeners:
            listener.close()
        for connection in list(state.connections):
            connection.transport.abort()


async def _finish(state: ServerState, world: World, limits: Limits, hurry: asyncio.Event) -> None:
    """Let what is being answered be answered; then what still is, is cancelled."""
    for connection in list(state.connections):
        connection.shutdown()
    try:
        async with world.clock.timeout(limits.stop_within_s):
            while (state.connections or state.tasks) and not hurry.is_set():
                await world.clock.sleep(0.02)
    except TimeoutError:
        pass
    for connection in list(state.connections):
        connection.transport.abort()  # first: a task that is cancelled must not say "internal error" for a payout
    await world.clock.sleep(0.02)  # who waited for a body hears that nobody is there, and ends by itself
    left = list(state.tasks)
    for task in left:
        task.cancel()
    for task in left:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


@contextlib.contextmanager
def _minding_signals(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT stops, the second hurries. Only the main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, ours = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

    def heard() -> None:
        (hurry if stop.is_set() else stop).set()

    before = [signal.getsignal(number) for number in ours]
    for number in ours:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number, handler in zip(ours, before, strict=True):
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)


def _configured(app: Any) -> uvicorn.Config:
    """uvicorn's settings for these connections: nothing of its own is logged, added or run beside the application."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    return config
