"""Waiting for something to be told in this process. Lives here: who waits for what; what rings is the desk's to say."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

K = TypeVar("K")


class Bell(Generic[K]):
    """Who waits for a key to ring. A ring nobody waits for is lost: whoever waits looks at the rows first."""

    def __init__(self) -> None:
        self._waiting: dict[K, list[asyncio.Future[None]]] = {}
        self.closed = False

    def waiting(self) -> list[K]:
        return list(self._waiting)

    def enter(self, key: K) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.closed:
            future.set_result(None)
            return future
        self._waiting.setdefault(key, []).append(future)
        return future

    def leave(self, key: K, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._waiting.pop(key, None)

    def close(self) -> None:
        """Nobody waits any more: whoever does is rung for, and whoever comes finds it rung. The process is about to end."""
        self.closed = True
        for key in self.waiting():
            self.ring(key)

    def ring(self, key: K) -> None:
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)
