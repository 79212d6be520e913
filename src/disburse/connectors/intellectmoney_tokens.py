"""The user token of an IntellectMoney account: fetched once for all who wait, kept as long as the page says, renewed when not taken.

Lives here: `Tokens`, which keeps one token in memory. May not live here: how a token is asked for, what a refusal means. A
token is never logged and stands in no repr. Source: docs/protocols/intellectmoney.md section 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from disburse.domain.ports import Clock

YOUNG_S: Final = 10.0
"""A token that was fetched so lately is not the cause of a refusal whose reason nobody knows."""

REST_S: Final = 30.0
"""After a refusal of login or password nobody asks for so long: an account can be locked by asking."""


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A token and when it was fetched (monotonic seconds)."""

    value: str = field(repr=False)
    fetched_at: float


@dataclass(frozen=True, slots=True)
class NoToken:
    """Why there is none; words of ours. `refused`: the provider does not take our login, so asking again must wait."""

    why: str
    refused: bool = False


Fetch = Callable[[], Awaitable[str | NoToken]]
"""Asks the provider once, within a time limit of its own; never raises for what a provider does."""


class Tokens:
    """One account's token. Whoever comes while one is being fetched waits for that one."""

    def __init__(self, fetch: Fetch, clock: Clock, life_s: float) -> None:
        self._fetch = fetch
        self._clock = clock
        self._life_s = life_s
        self._held: Token | None = None
        self._fetching: asyncio.Task[Token | NoToken] | None = None
        self._refused: tuple[NoToken, float] | None = None

    async def get(self, within_s: float) -> Token | NoToken:
        """A token young enough to use."""
        held = self._held
        if held is not None and self._clock.monotonic() - held.fetched_at < self._life_s:
            return held
        return await self._fresh(within_s)

    async def renew(self, blamed: Token, within_s: float) -> Token | NoToken:
        """Another token than the one that was not taken: the one somebody fetched meanwhile, or a new one."""
        if self._held is blamed:
            self._held = None
        return await self.get(within_s)

    def may_be_stale(self, token: Token) -> bool:
        """Whether a refusal without a known reason may be this token's fault."""
        return self._clock.monotonic() - token.fetched_at > YOUNG_S

    async def stop(self) -> None:
        """Nobody waits any more."""
        task, self._fetching = self._fetching, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _fresh(self, within_s: float) -> Token | NoToken:
        if self._refused is not None and self._clock.monotonic() < self._refused[1]:
            return self._refused[0]
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_one())
        task = self._fetching
        try:
            async with self._clock.timeout(within_s):
                return await asyncio.shield(task)
        except TimeoutError:
            return NoToken("no token in time")

    async def _fetch_one(self) -> Token | NoToken:
        asked_at = self._clock.monotonic()
        try:
            found = await self._fetch()
        finally:
            self._fetching = None
        if isinstance(found, NoToken):
            self._refused = (found, self._clock.monotonic() + REST_S) if found.refused else None
            return found
        self._refused = None
        self._held = Token(found, asked_at)
        return self._held
