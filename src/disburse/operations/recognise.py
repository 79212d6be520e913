"""Who is asking? Merchants by login, bearer token or user token, through a cache of at most five seconds.

A wrong key and an unknown login look the same and take the same path. User tokens (IntellectMoney) slide: each use moves
their end, written at most once a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from disburse.domain.merchant import Merchant
from disburse.domain.ports import World
from disburse.operations.secrets import digest, new_secret
from disburse.storage import merchants
from disburse.storage.database import Database, Transaction

CACHE_S = 5.0
TOKEN_LIFE = timedelta(minutes=30)
_RENEW_AFTER = timedelta(minutes=1)
_MOST = 50_000


@dataclass(slots=True)
class _Remembered:
    merchant: Merchant | None
    until: float
    token_ends: datetime | None = None


class Recognition:
    """Finds merchants for the doors. One per process."""

    def __init__(self, database: Database, world: World, *, token_life: timedelta = TOKEN_LIFE) -> None:
        self._database = database
        self._world = world
        self._token_life = token_life
        self._cache: dict[tuple[str, bytes], _Remembered] = {}

    async def by_login(self, login: str) -> Merchant | None:
        return await self._by("login", digest(login.strip().lower()))

    async def by_bearer(self, token: str) -> Merchant | None:
        return await self._by("bearer", digest(token))

    def forget(self) -> None:
        """Read settings afresh from now on."""
        self._cache.clear()

    async def _by(self, kind: str, key: bytes) -> Merchant | None:
        now = self._world.clock.monotonic()
        known = self._cache.get((kind, key))
        if known is not None and known.until > now:
            return known.merchant

        async def work(tx: Transaction) -> Merchant | None:
            place = await merchants.find(tx, kind, key)
            return await merchants.read(tx, *place) if place else None

        merchant = await self._database.run(work)
        if merchant is not None:  # strangers are not remembered: a flood of them must not fill memory
            self._remember((kind, key), _Remembered(merchant, now + CACHE_S))
        return merchant

    def _remember(self, key: tuple[str, bytes], remembered: _Remembered) -> None:
        if len(self._cache) >= _MOST:
            self._cache.clear()
        self._cache[key] = remembered

    async def issue_token(self, merchant: Merchant) -> str:
        """A new user token; those issued before stay alive."""
        token = new_secret(self._world.random) + new_secret(self._world.random)
        ends = self._world.clock.now() + self._token_life

        async def work(tx: Transaction) -> None:
            await merchants.add_token(tx, digest(token), merchant.shard, merchant.merchant_id, ends)

        await self._database.run(work)
        return token

    async def by_token(self, token: str) -> Merchant | None:
        """The merchant behind a user token that is alive; its life begins anew, written at most once a minute."""
        key = digest(token)
        now, at = self._world.clock.monotonic(), self._world.clock.now()
        known = self._cache.get(("token", key))
        if known is None or known.until <= now or known.token_ends is None:
            known = await self._read_token(key, now)
            if known is None:
                return None
            self._remember(("token", key), known)
        if known.token_ends is None or known.token_ends <= at:
            return None
        if known.token_ends - at < self._token_life - _RENEW_AFTER:
            known.token_ends = ends = at + self._token_life

            async def renew(tx: Transaction) -> None:
                await merchants.renew_token(tx, key, ends)

            await self._database.run(renew)
        return known.merchant

    async def _read_token(self, key: bytes, now: float) -> _Remembered | None:
        async def work(tx: Transaction) -> tuple[Merchant | None, datetime] | None:
            found = await merchants.find_token(tx, key)
            return (await merchants.read(tx, found[0], found[1]), found[2]) if found else None

        read = await self._database.run(work)
        if read is None or read[0] is None:
            return None
        return _Remembered(read[0], now + CACHE_S, read[1])
