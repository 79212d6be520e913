"""The sandbox bank: a provider that misbehaves on purpose, and tells the truth when asked (design.md section 6).

Lives here: what it does with an order, an inquiry and the passing of time, over its book. Not here: the table of amounts
(`sandbox_rules.py`), callbacks' repetition (`sandbox_callbacks.py`), and what happens to its answers (`sandbox.py` in
process, `sandbox_http.py` on the wire).

Without the guard it pays whatever it is sent, as often as it is sent: a second `paid` line for one id is *our* double
payment, shown. What it knows is what its book says, folded by the same code while it runs and when it starts again; only the
moments of first not-founds are not in the book, and forgetting those delays a proof but never invents one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from disburse.connectors.sandbox_book import Book, BookFault, Deed, Did, Spool
from disburse.connectors.sandbox_callbacks import Callbacks, DelayLine, end
from disburse.connectors.sandbox_rules import DELAYS, NOT_FOUND_FINAL_S, Manner, Rule, rule_for
from disburse.domain.destinations import Rail
from disburse.domain.money import Money, read_amount
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal

MOST_MISSED: Final = 100_000
TOLD_FIRST_WITHIN_S: Final = 1.0
_A_MOMENT: Final = 1e-6
_RETRY_S: Final = 1.0
_STICKS: Final = (Did.PAID, Did.RETURNED)


@dataclass(frozen=True, slots=True)
class Slip:
    """What the bank is asked to pay. Of the destination it keeps the rail and the last four characters."""

    end_to_end_id: str
    amount: Money
    rail: Rail
    last4: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How an id stands at the bank: what an answer, an inquiry's answer and a callback all say.

    `reference` is the bank's own and differs between two payments of one id. An absent id has no amount and no reference.
    """

    end_to_end_id: str
    did: Did
    amount: Money | None = None
    reference: str | None = None
    reason: str = ""
    elsewhere: bool = False

    @property
    def event_id(self) -> str | None:
        """The bank's id of the return, the same whenever it is told."""
        return f"{self.reference}-R" if self.did is Did.RETURNED else None


@dataclass(frozen=True, slots=True)
class Reply:
    """The bank's answer to an order, and what happens to it on its way."""

    manner: Manner
    standing: Standing


@dataclass(frozen=True, slots=True)
class _Payment:
    """An order with a deed still to come. `line` is its first line in the book, `told` set by the first callback's end."""

    line: int
    slip: Slip
    rule: Rule
    told: asyncio.Event | None = None

    def standing(self, did: Did) -> Standing:
        return _standing(self.slip.end_to_end_id, (did, self.slip.amount.minor, self.slip.amount.currency, self.line))


_Known = tuple[str, int, str, int]
"""What is kept of an id: its last deed that counts, minor units, currency, first line. There may be a million: it is small, and
holds no object of ours, so the garbage collector need not walk it.
"""

Tell = Callable[[Standing], Awaitable[bool]]
"""Carries a callback; True when it was acknowledged."""


class SandboxBank:
    """One bank with one book. `open` before use; `guard` makes it remember ids."""

    def __init__(self, spool: Spool, clock: Clock, tell: Tell, *, guard: bool = False) -> None:
        self._book = Book(spool, clock)
        self._clock = clock
        self._guard = guard
        self._known: dict[str, _Known] = {}
        self._missed: dict[str, float] = {}
        self._unfinished: dict[str, list[tuple[datetime, _Payment]]] = {}
        self._callbacks = Callbacks(clock, tell)
        self._later = {delay_s: DelayLine(clock, delay_s, self._finish) for delay_s in DELAYS}
        self._tasks: list[asyncio.Task[None]] = []

    # --- starting and stopping ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the book, take up what was left undone, call back once more for every later deed. Raises BookFault."""
        backlog: list[Standing] = []
        await self._book.open(lambda line, deed: self._recall(line, deed, backlog))
        self._callbacks.start()
        self._callbacks.push_backlog(backlog)
        self._resume()
        self._tasks = [asyncio.create_task(line.run()) for line in self._later.values()]

    async def close(self) -> None:
        """Stop; whatever was answered is on disk already."""
        await end(self._tasks)
        self._tasks = []
        await self._callbacks.stop()
        await self._book.close()

    def _recall(self, line: int, deed: Deed, backlog: list[Standing]) -> None:
        """Fold one line of the book. The amount tells the rule, and the rule what is still to come."""
        key = deed.end_to_end_id
        if deed.did is Did.ABSENT:
            self._know(key, (Did.ABSENT, 0, "", line))
            return
        try:
            amount = read_amount(deed.amount or "", deed.currency or "")
            payment = _Payment(line, Slip(key, amount, Rail(deed.rail or ""), deed.last4 or ""), rule_for(amount))
            at = datetime.fromisoformat(deed.at)
        except (Refusal, ValueError):
            raise BookFault("not a deed") from None
        if at.tzinfo is None:
            raise BookFault("not a moment")
        rule = payment.rule
        if deed.did is rule.then and (begun := self._take_unfinished(key, amount)) is not None:
            payment = begun
            if rule.callbacks:
                backlog.append(begun.standing(deed.did))
        elif deed.did is rule.first and rule.then is not None:
            self._unfinished.setdefault(key, []).append((at, payment))
        self._know(key, (deed.did, amount.minor, amount.currency, payment.line))

    def _take_unfinished(self, key: str, amount: Money) -> _Payment | None:
        begun = self._unfinished.get(key, [])
        for at, (_, payment) in enumerate(begun):
            if payment.slip.amount == amount:
                del begun[at]
                if not begun:
                    del self._unfinished[key]
                return payment
        return None

    def _resume(self) -> None:
        now = self._clock.now()
        left = [item for begun in self._unfinished.values() for item in begun]
        for at, payment in sorted(left, key=lambda item: item[1].line):
            self._later[payment.rule.after_s].add(payment, waited_s=(now - at).total_seconds())
        self._unfinished.clear()

    # --- what it is asked --------------------------------------------------------------------------------------------

    async def pay(self, slip: Slip) -> Reply:
        """Do what the amount says. Every line this causes at once is on disk on return. Raises BookFault."""
        key = slip.end_to_end_id
        known = self._known.get(key)
        if known is not None and known[0] == Did.ABSENT:
            await self._book.synced(self._write(slip, Did.REFUSED))
            # The id is spent, the money is not: another attempt under another id may carry it.
            return Reply(Manner.PLAIN, Standing(key, Did.REFUSED, slip.amount, None, "declared absent", elsewhere=True))
        if known is not None and self._guard:
            await self._book.synced(self._write(slip, Did.REPEAT))
            return Reply(Manner.PLAIN, _standing(key, self._known[key]))
        rule = rule_for(slip.amount)
        line = self._write(slip, rule.first)
        self._missed.pop(key, None)
        self._know(key, (rule.first, slip.amount.minor, slip.amount.currency, line))
        payment = _Payment(line, slip, rule, asyncio.Event() if rule.told_first else None)
        if rule.then is not None:
            self._later[rule.after_s].add(payment)
        await self._book.synced(line)
        if payment.told is not None:
            await self._until_told(payment.told)
        return Reply(rule.manner, payment.standing(rule.first))

    async def inquire(self, end_to_end_id: str) -> Standing | None:
        """How the id stands; None when it is not found, which is no proof. Absent is one. Raises BookFault."""
        known = self._known.get(end_to_end_id)
        if known is None:
            return await self._miss(end_to_end_id)
        if known[0] == Did.ACCEPTED and rule_for(Money(known[1], known[2])).hidden:
            return None
        await self._book.synced()
        return _standing(end_to_end_id, known)

    async def _miss(self, end_to_end_id: str) -> Standing | None:
        now = self._clock.monotonic()
        first = self._missed.setdefault(end_to_end_id, now)
        if now - first < NOT_FOUND_FINAL_S - _A_MOMENT:
            if len(self._missed) > MOST_MISSED:
                del self._missed[next(iter(self._missed))]
            return None
        line = self._book.add(Deed(self._stamp(), end_to_end_id, None, None, None, None, Did.ABSENT))
        del self._missed[end_to_end_id]
        self._know(end_to_end_id, (Did.ABSENT, 0, "", line))
        await self._book.synced(line)
        return Standing(end_to_end_id, Did.ABSENT)

    async def _until_told(self, told: asyncio.Event) -> None:
        try:
            async with self._clock.timeout(TOLD_FIRST_WITHIN_S):
                await told.wait()
        except TimeoutError:
            pass  # nobody listens in time: the answer goes out all the same

    # --- what it does by itself --------------------------------------------------------------------------------------

    async def _finish(self, payments: list[_Payment]) -> None:
        """The later deed of each payment, all in one sync, then the callbacks."""
        while not self._book.writable:
            await self._clock.sleep(_RETRY_S)
        for payment in payments:
            did = _then(payment.rule)
            self._write(payment.slip, did)
            self._know(payment.slip.end_to_end_id, (did, *_money(payment.slip), payment.line))
        await self._on_disk()
        for payment in payments:
            standing = payment.standing(_then(payment.rule))
            if payment.rule.callbacks > 0:
                self._callbacks.push(standing, payment.told)
            for _ in range(1, payment.rule.callbacks):
                self._callbacks.push_soon(standing)

    async def _on_disk(self) -> None:
        while True:
            try:
                return await self._book.synced()
            except BookFault:
                await self._clock.sleep(_RETRY_S)  # the lines wait for room on the disk, and so do the callbacks

    # --- book and memory ---------------------------------------------------------------------------------------------

    def _write(self, slip: Slip, did: Did) -> int:
        amount = slip.amount
        return self._book.add(
            Deed(self._stamp(), slip.end_to_end_id, amount.text(), amount.currency, slip.rail.value, slip.last4, did)
        )

    def _know(self, key: str, latest: _Known) -> None:
        """Fold one deed into what is known of an id: money that moved outweighs what did not, and absence is for ever."""
        known = self._known.get(key)
        if known is not None:
            if latest[0] == Did.REPEAT or known[0] == Did.ABSENT:
                return
            if known[0] in _STICKS and latest[0] not in _STICKS:
                return
        self._known[key] = (Did(latest[0]).value, *latest[1:])

    def _stamp(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def _money(slip: Slip) -> tuple[int, str]:
    return slip.amount.minor, slip.amount.currency


def _then(rule: Rule) -> Did:
    if rule.then is None:
        raise AssertionError("a payment without a later deed does not wait for one")
    return rule.then


def _standing(end_to_end_id: str, known: _Known) -> Standing:
    did, minor, currency, line = Did(known[0]), *known[1:]
    if did is Did.ABSENT:
        return Standing(end_to_end_id, did)
    amount = Money(minor, currency)
    rule = rule_for(amount)
    refused = did is Did.REFUSED
    return Standing(
        end_to_end_id,
        did,
        amount,
        f"SB{line:010d}",
        rule.reason if refused else "",
        rule.elsewhere if refused else False,
    )
