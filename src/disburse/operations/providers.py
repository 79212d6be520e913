"""What one process knows of its providers, and its part of what all workers share. Decides nothing about a payout.

Lives here: `Providers`. It reads the shared rows (`storage/connector_facts.py`), hands routing its facts, counts how calls end
and tells the others, and takes tokens and trial calls in batches. A claim pays no statement for any of it: as long as
no provider has a rate and every breaker is closed there is nothing to ask.

Times in rows are the database's. Between two readings this process goes by its monotonic clock, so a process that slept
too long finds that what it took has lapsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from disburse.domain.breaker import (
    BreakerLimits,
    BreakerState,
    Grant,
    Rate,
    Tally,
    begin_trial,
    count,
    is_sign_of_life,
    may_try,
    take,
)
from disburse.domain.outcomes import NotSent, Outcome, Unknown
from disburse.domain.ports import Clock
from disburse.domain.routing import Fact, Facts, Why
from disburse.operations.attempts import Opened
from disburse.operations.evidence_text import fit_to_keep
from disburse.storage import connector_facts
from disburse.storage.connector_facts import BalanceRow, ConnectorRow
from disburse.storage.database import Database, StoreUnavailable, Transaction

_log = structlog.get_logger("disburse.providers")

TOKENS_S: Final = 2.0
"""Tokens that were taken and not used for so long are lost: the bucket fills again by itself."""

LOOK_AGAIN_S: Final = 0.25
"""What could not be had is not asked for again before so long."""

_BREAKER: Final = BreakerLimits()
_TRIES: Final = 8  # of a change that others were quicker with


@dataclass(frozen=True, slots=True)
class Terms:
    """How a provider is treated. `rate` None: as many calls as there are payouts.

    Its balance is asked every `balance_every_s`; one that was told longer ago than `balance_fresh_s` is held against nobody.
    """

    breaker: BreakerLimits = _BREAKER
    rate: Rate | None = None
    balance_every_s: float = 60.0
    balance_fresh_s: float = 300.0


@dataclass(slots=True)
class _Seen:
    """One provider as this process sees it. Monotonic seconds end in `_m`."""

    terms: Terms
    row: ConnectorRow | None = None
    balances: list[BalanceRow] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=dict)  # since the balances were told, by this process
    good: int = 0
    bad: int = 0
    fault: tuple[str, datetime] | None = None
    tokens: int = 0
    tokens_until_m: float = 0.0
    next_token: datetime | None = None
    trials: int = 0
    trials_until_m: float = 0.0
    look_m: float = 0.0
    demand: tuple[int, int] | None = None  # of how many claims in the last batch so many wanted this provider

    def state(self) -> BreakerState:
        return self.row.breaker.state if self.row is not None else BreakerState.CLOSED

    def wants(self, claims: int) -> int:
        """How many of so many claims will probably want this provider, by what the last batch wanted."""
        if self.demand is None:
            return claims
        asked, of = self.demand
        return -(-asked * claims // of)

    def calls(self, now_m: float) -> int | None:
        """How many calls may be begun now; None: any number."""
        left = None
        if self.state() is not BreakerState.CLOSED:
            left = self.trials if now_m < self.trials_until_m else 0
        if self.terms.rate is not None:
            tokens = self.tokens if now_m < self.tokens_until_m else 0
            left = tokens if left is None else min(left, tokens)
        return left


class Providers:
    """The providers of one process. Without `terms` it knows none, and holds nothing against any."""

    def __init__(self, database: Database, clock: Clock, terms: Mapping[str, Terms]) -> None:
        self._database = database
        self._clock = clock
        self._seen = {name: _Seen(one) for name, one in terms.items()}
        self._read_at: datetime | None = None
        self._read_m = 0.0
        self._nothing_to_ask = all(one.rate is None for one in terms.values())
        self.on_news: Callable[[], None] = lambda: None
        """Called when a call ended in a way that others should hear of soon."""
        self.on_down: Callable[[str], None] = lambda connector: None
        """Called when what this process told made a provider count as down."""

    # --- for the claim ---

    def facts(self) -> Facts:
        """What stands against each provider now; empty when nothing does."""
        if self._nothing_to_ask:
            return {}
        now_m = self._clock.monotonic()
        return {name: fact for name, seen in self._seen.items() if (fact := self._fact(seen, now_m)) != Fact()}

    def outlook(self) -> Facts:
        """As `facts`, for somebody who only looks: nobody's tokens are counted, and a rest that is over is no objection."""
        told: dict[str, Fact] = {}
        for name, seen in self._seen.items():
            fact = replace(self._fact(seen, self._clock.monotonic()), calls=None)
            breaker = seen.row.breaker if seen.row is not None else None
            if breaker is not None and breaker.state is not BreakerState.CLOSED:
                resting = not may_try(breaker, seen.terms.breaker, self.database_time())
                fact = replace(fact, calls=0 if resting else None)
            told[name] = fact
        return told

    def _fact(self, seen: _Seen, now_m: float) -> Fact:
        left = tuple((one.currency, one.balance_minor - seen.spent.get(one.currency, 0)) for one in self._fresh(seen))
        breaker, calls = seen.row.breaker if seen.row is not None else None, seen.calls(now_m)
        per_s = seen.terms.rate.per_s if seen.terms.rate is not None else None
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return Fact(calls, Why.RATE, seen.next_token if calls == 0 else None, left, per_s)
        until = breaker.retry_at if breaker.state is BreakerState.OPEN else breaker.trial_until
        return Fact(calls, Why.BREAKER, until, left, per_s)

    def _fresh(self, seen: _Seen) -> list[BalanceRow]:
        if self._read_at is None:
            return []
        oldest = self.database_time() - timedelta(seconds=seen.terms.balance_fresh_s)
        return [one for one in seen.balances if one.asked_at >= oldest]

    def database_time(self) -> datetime:
        """About what the database's clock says: as read last, and what passed here since."""
        if self._read_at is None:
            return self._clock.now()
        return self._read_at + timedelta(seconds=self._clock.monotonic() - self._read_m)

    async def prepare(self, wanted: int, worker: str) -> int:
        """How many of so many due attempts may be claimed now. Takes tokens and trial calls where that lets more go out.

        Where every provider is down or at its rate, what is due stays as it is: a queue grows, and no row is touched.
        """
        if self._seen and self._read_at is None:
            await self.refresh()  # a worker that has just begun: a provider may be down, and the others know
        if self._nothing_to_ask:
            return wanted
        for name, seen in self._seen.items():
            await self._prepare(name, seen, seen.wants(wanted), worker)
        if self._room(wanted) == 0:  # nobody can say what is wanted: whoever can be tried is
            for name, seen in self._seen.items():
                await self._prepare(name, seen, wanted, worker)
        return self._room(wanted)

    def _room(self, wanted: int) -> int:
        now_m, room = self._clock.monotonic(), 0
        for seen in self._seen.values():
            calls = seen.calls(now_m)
            if calls is None:
                return wanted
            room += calls
        return min(room, wanted)

    async def _prepare(self, name: str, seen: _Seen, wanted: int, worker: str) -> None:
        now_m = self._clock.monotonic()
        row = seen.row
        if row is None or not wanted or now_m < seen.look_m:
            return
        if seen.state() is not BreakerState.CLOSED and not (seen.trials and now_m < seen.trials_until_m):
            if not may_try(row.breaker, seen.terms.breaker, self.database_time()):
                return
            await self._take_trial(name, seen, worker)
        rate = seen.terms.rate
        left = seen.tokens if now_m < seen.tokens_until_m else 0
        if rate is None or left >= wanted:
            return
        now, each = self.database_time(), timedelta(seconds=1 / rate.per_s)
        if seen.next_token is None or not now < seen.next_token <= now + each:
            await self._take_tokens(name, seen, rate, wanted - left, left)

    def used(self, wanted: Mapping[str, int], opened: Sequence[Opened | None]) -> None:
        """A claim is committed: `wanted` calls of each provider were asked for, and these were begun."""
        if self._nothing_to_ask:
            return
        for name, seen in self._seen.items():
            seen.demand = (wanted.get(name, 0), max(len(opened), 1))
        for one in opened:
            known = self._seen.get(one.connector) if one is not None else None
            if one is None or known is None:
                continue
            known.tokens = max(known.tokens - 1, 0)
            known.trials = max(known.trials - 1, 0)
            if known.balances:
                currency = one.payout.currency
                known.spent[currency] = known.spent.get(currency, 0) + one.payout.amount_minor

    # --- for whoever calls a provider ---

    def generation(self, connector: str) -> int | None:
        """Under which generation of its breaker a call begins now; None for a provider that is not known here."""
        seen = self._seen.get(connector)
        return seen.row.breaker.generation if seen is not None and seen.row is not None else None

    def ended(self, connector: str, generation: int | None, outcome: Outcome) -> None:
        """A call that began under this generation ended so."""
        if generation is None or generation != self.generation(connector):
            return
        seen = self._seen[connector]
        if is_sign_of_life(outcome):
            seen.good += 1
            if seen.state() is BreakerState.HALF_OPEN:
                self.on_news()
        elif isinstance(outcome, NotSent | Unknown):
            seen.bad += 1
            seen.fault = (fit_to_keep(outcome.why), self._clock.now())
            self.on_news()

    # --- what all workers share ---

    async def refresh(self, *, make: bool = True) -> None:
        """Read what all workers know; rows that are not there are made, unless told otherwise. Raises StoreUnavailable."""

        async def work(tx: Transaction) -> tuple[datetime, dict[str, ConnectorRow], list[BalanceRow]]:
            now, rows = await tx.database_now(), await connector_facts.read(tx)
            for name in self._seen if make else ():
                if name not in rows:
                    rows[name] = await connector_facts.make(tx, name, now)
            return now, rows, await connector_facts.balances(tx)

        if not self._seen:
            return
        self._read_at, rows, balances = await self._database.run(work)
        self._read_m = self._clock.monotonic()
        for name, seen in self._seen.items():
            if name in rows:
                self._see(seen, rows[name])
            told = [one for one in balances if one.connector == name]
            if told != seen.balances:
                seen.balances, seen.spent = told, {}
        self._look_whether_to_ask()

    def _see(self, seen: _Seen, row: ConnectorRow) -> None:
        if seen.row is not None and row.breaker.generation != seen.row.breaker.generation:
            seen.good = seen.bad = seen.trials = 0  # of calls that began before: they count no more
            seen.look_m = 0.0
        seen.row = row

    def _look_whether_to_ask(self) -> None:
        self._nothing_to_ask = all(
            seen.terms.rate is None and seen.state() is BreakerState.CLOSED and not seen.balances
            for seen in self._seen.values()
        )

    async def tell(self) -> None:
        """Tell the others how calls ended, where that can change anything. Raises StoreUnavailable; nothing is lost then."""
        for name, seen in self._seen.items():
            row = seen.row
            if row is None:
                continue
            if not seen.bad and not (seen.good and (row.breaker.bad or row.breaker.state is BreakerState.HALF_OPEN)):
                seen.good = 0
                continue
            tally = Tally(row.breaker.generation, seen.good, seen.bad)
            seen.good = seen.bad = 0
            try:
                await self._tell(name, seen, tally)
            except StoreUnavailable:
                if row is seen.row:
                    seen.good, seen.bad = seen.good + tally.good, seen.bad + tally.bad
                raise
        self._look_whether_to_ask()

    async def _tell(self, name: str, seen: _Seen, tally: Tally) -> None:
        async def work(tx: Transaction) -> tuple[ConnectorRow, BreakerState] | None:
            now, row = await tx.database_now(), (await connector_facts.read(tx))[name]
            after = count(row.breaker, tally, seen.terms.breaker, now)
            if after is row.breaker and not tally.bad:
                return row, row.breaker.state
            if not await connector_facts.save_breaker(tx, row, after, seen.fault if tally.bad else None):
                return None
            return replace(row, version=row.version + 1, breaker=after), row.breaker.state

        for _ in range(_TRIES):
            done = await self._database.run(work)
            if done is not None:
                row, before = done
                self._see(seen, row)
                self._say(name, before, row.breaker.state, seen)
                return

    def _say(self, name: str, before: BreakerState, after: BreakerState, seen: _Seen) -> None:
        if after is BreakerState.OPEN and before is not BreakerState.OPEN:
            self.on_down(name)
            _log.error("a provider is down and is left alone", connector=name, why=seen.fault[0] if seen.fault else "")
        elif after is BreakerState.CLOSED and before is not BreakerState.CLOSED:
            _log.info("a provider answers again", connector=name)

    async def _take_trial(self, name: str, seen: _Seen, worker: str) -> None:
        limits = seen.terms.breaker

        async def work(tx: Transaction) -> tuple[ConnectorRow, bool] | None:
            now, row = await tx.database_now(), (await connector_facts.read(tx))[name]
            if tx.rerun and row.breaker.state is BreakerState.HALF_OPEN and row.breaker.trial_by == worker:
                return row, True  # taken by the run whose commit we did not hear of
            if not may_try(row.breaker, limits, now):
                return row, False
            begun = begin_trial(row.breaker, worker, limits, now)
            if not await connector_facts.save_breaker(tx, row, begun, None):
                return None
            return replace(row, version=row.version + 1, breaker=begun), True

        asked_m = self._clock.monotonic()
        done = await self._database.run(work)
        seen.look_m = asked_m + LOOK_AGAIN_S
        if done is not None:
            self._see(seen, done[0])
            seen.trials = limits.trials if done[1] else 0
            seen.trials_until_m = asked_m + limits.trial_s

    async def _take_tokens(self, name: str, seen: _Seen, rate: Rate, wanted: int, left: int) -> None:
        async def work(tx: Transaction) -> tuple[ConnectorRow, Grant] | None:
            now, row = await tx.database_now(), (await connector_facts.read(tx))[name]
            grant = take(rate, row.tokens_free_at, wanted, now)
            if grant.tokens and not await connector_facts.save_tokens(tx, row, grant.free_at):
                return None
            return row, grant

        asked_m = self._clock.monotonic()
        for _ in range(_TRIES):
            done = await self._database.run(work)
            if done is not None:
                grant = done[1]
                if grant.tokens:
                    seen.tokens, seen.tokens_until_m = left + grant.tokens, asked_m + TOKENS_S
                seen.next_token = grant.next_at
                return

    # --- balances ---

    async def turn_to_ask(self, connector: str) -> bool:
        """Whether it is this process's turn to ask a provider for its balance: one of all workers, at intervals."""
        seen = self._seen.get(connector)
        if seen is None or seen.row is None:
            return False
        every = timedelta(seconds=seen.terms.balance_every_s)

        async def work(tx: Transaction) -> bool:
            now, row = await tx.database_now(), (await connector_facts.read(tx))[connector]
            last = row.balance_turn_at
            if last is not None and last <= now < last + every:
                return False
            return await connector_facts.save_turn(tx, row, now)

        last = seen.row.balance_turn_at
        if last is not None and last <= self.database_time() < last + every:
            return False
        return await self._database.run(work)

    async def store_balances(self, connector: str, found: Sequence[tuple[str, int]], fault: str | None = None) -> None:
        """What a provider said it holds for us, by currency in minor units; or why it said nothing."""
        kept = fit_to_keep(fault) if fault is not None else None

        async def work(tx: Transaction) -> None:
            await connector_facts.save_balances(tx, connector, found, await tx.database_now(), kept)

        await self._database.run(work)
