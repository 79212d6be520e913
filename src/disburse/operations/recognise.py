"""Who is asking? Merchants by login, bearer token or user token, remembered for as long as no settings change.

Every change of settings counts up one number of the installation, in its own transaction. A process reads that number every
two seconds and forgets everyone when it has moved; what it has not been able to check for five seconds it does not use. So a
thousand merchants cost one small query and not a thousand. A wrong key and an unknown login look the same, and take the same
time although only one of them is in memory. User tokens (IntellectMoney) slide: each use moves their end, written at most once
a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from disburse.domain.merchant import Merchant
from disburse.domain.ports import World
from disburse.operations.secrets import digest, matches, new_secret
from disburse.operations.shared_time import SharedTime
from disburse.storage import api_keys, merchants
from disburse.storage.api_keys import ApiKey
from disburse.storage.database import Database, StoreUnavailable, Transaction

CHECK_S, CACHE_S = 2.0, 5.0
"""How often the number is read, and how old its reading may be."""

TOKEN_LIFE = timedelta(minutes=30)
REFUSED_EVERY_S = 0.05
"""Wrong credentials are told at whole multiples of this, from the moment they came. Reading a login takes a small part of it."""

_RENEW_AFTER = timedelta(minutes=1)
_MOST = 50_000
_NOBODY = bytes(32)
"""Compared with when there is no such login. No text has this digest."""


@dataclass(slots=True)
class _Remembered:
    merchant: Merchant
    token_ends: datetime | None = None
    key: ApiKey | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a merchant, by one of its API keys."""

    merchant: Merchant
    key_id: UUID


class Recognition:
    """Finds merchants for the doors. One per process. `time`: the database's, read with the settings, so it is as fresh as they are."""

    def __init__(self, database: Database, world: World, *, token_life: timedelta = TOKEN_LIFE) -> None:
        self._database = database
        self._world = world
        self._token_life = token_life
        self.time = SharedTime(world.clock)
        self._cache: dict[tuple[str, bytes], _Remembered] = {}
        self._version = -1
        self._checked_at = float("-inf")
        self._checking: asyncio.Task[None] | None = None

    async def by_credentials(self, login: str, secret: str, kept: Callable[[Merchant], bytes]) -> Merchant | None:
        """The merchant with this login and this secret; `kept` names the secret's digest.

        None for a stranger as for a wrong secret, and no sooner: a known login is found in memory, a stranger is looked for in
        the database, and the difference would tell anybody who is a merchant here.
        """
        clock = self._world.clock
        began = clock.monotonic()
        merchant = await self.by_login(login)
        if matches(secret, kept(merchant) if merchant is not None else _NOBODY) and merchant is not None:
            return merchant
        await clock.sleep(REFUSED_EVERY_S - (clock.monotonic() - began) % REFUSED_EVERY_S)
        return None

    async def by_api_key(self, key: str) -> Caller | None:
        """Who has this API key. None for a wrong one and for one that ended, told no sooner than `by_credentials` would."""
        clock = self._world.clock
        began = clock.monotonic()
        await self._check()
        wanted = digest(key)
        known = self._cache.get(("api_key", wanted)) or await self._read_key(wanted)
        kept = known.key if known is not None else None
        right = matches(key, kept.key_digest if kept is not None else _NOBODY)
        if right and known is not None and kept is not None and (kept.ends_at is None or self.time.now() < kept.ends_at):
            return Caller(known.merchant, kept.key_id)
        await clock.sleep(REFUSED_EVERY_S - (clock.monotonic() - began) % REFUSED_EVERY_S)
        return None

    async def _read_key(self, key: bytes) -> _Remembered | None:
        async def work(tx: Transaction) -> _Remembered | None:
            place = await merchants.find(tx, "api_key", key)
            found = await api_keys.by_digest(tx, *place, key) if place else None
            merchant = await merchants.read(tx, *place) if place and found is not None else None
            return _Remembered(merchant, key=found) if merchant is not None else None

        version = self._version
        read = await self._database.run(work)
        if read is not None and version == self._version:
            self._remember(("api_key", key), read)
        return read

    async def by_login(self, login: str) -> Merchant | None:
        return await self._by("login", digest(login.strip().lower()))

    def forget(self) -> None:
        """Read settings afresh from now on."""
        self._cache.clear()

    async def _by(self, kind: str, key: bytes) -> Merchant | None:
        await self._check()
        known = self._cache.get((kind, key))
        if known is not None:
            return known.merchant

        async def work(tx: Transaction) -> Merchant | None:
            place = await merchants.find(tx, kind, key)
            return await merchants.read(tx, *place) if place else None

        version = self._version
        merchant = await self._database.run(work)
        if merchant is not None and version == self._version:
            # Strangers are not remembered: a flood of them must not fill memory.
            self._remember((kind, key), _Remembered(merchant))
        return merchant

    async def _check(self) -> None:
        """See that nothing has changed: in passing while the last reading is young, waiting for it once it is old."""
        age = self._world.clock.monotonic() - self._checked_at
        if age < CHECK_S:
            return
        if self._checking is None:
            self._checking = asyncio.get_running_loop().create_task(self._read_version())
        if age >= CACHE_S:
            await asyncio.shield(self._checking)
            if self._world.clock.monotonic() - self._checked_at >= CACHE_S:
                raise StoreUnavailable("the settings could not be read")

    async def _read_version(self) -> None:
        try:
            began = self._world.clock.monotonic()
            version, shown = await self._database.ask(merchants.settings_version)
            self.time.saw(shown, began)
            if version != self._version:
                self._version = version
                self._cache.clear()
            self._checked_at = began
        except StoreUnavailable:
            pass  # who waited for it sees how old the last reading is; perhaps nobody waits any more
        finally:
            self._checking = None

    def _remember(self, key: tuple[str, bytes], remembered: _Remembered) -> None:
        if len(self._cache) >= _MOST:
            self._cache.clear()
        self._cache[key] = remembered

    async def issue_token(self, merchant: Merchant) -> str:
        """A new user token; those issued before stay alive."""
        token = new_secret(self._world.random) + new_secret(self._world.random)

        async def work(tx: Transaction) -> None:
            ends = await tx.database_now() + self._token_life
            await merchants.add_token(tx, digest(token), merchant.shard, merchant.merchant_id, ends)

        await self._database.run(work)
        return token

    async def by_token(self, token: str) -> Merchant | None:
        """The merchant behind a user token that is alive; its life begins anew, written at most once a minute."""
        await self._check()
        key, at = digest(token), self.time.now()
        known = self._cache.get(("token", key))
        if known is None or known.token_ends is None or known.token_ends <= at:  # another process may have renewed it
            known = await self._read_token(key)
        if known is None or known.token_ends is None or known.token_ends <= at:
            return None
        if known.token_ends - at < self._token_life - _RENEW_AFTER:
            known.token_ends = ends = at + self._token_life

            async def renew(tx: Transaction) -> None:
                await merchants.renew_token(tx, key, ends)

            await self._database.run(renew)
        return known.merchant

    async def _read_token(self, key: bytes) -> _Remembered | None:
        async def work(tx: Transaction) -> tuple[Merchant | None, datetime] | None:
            found = await merchants.find_token(tx, key)
            return (await merchants.read(tx, found[0], found[1]), found[2]) if found else None

        version = self._version
        read = await self._database.run(work)
        if read is None or read[0] is None:
            return None
        known = _Remembered(read[0], read[1])
        if version == self._version:
            self._remember(("token", key), known)
        return known
