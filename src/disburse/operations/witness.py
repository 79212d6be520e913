"""The witness: whether the database still holds everything that this process was told is committed. Lives here: that judgement.

A worker counts its heartbeats and remembers the last one whose commit was acknowledged. The log of a database is one order, and what
a failover keeps of it is its beginning. So if that heartbeat is there, all that anybody was told before it is there as well; if it is
missing, history was lost, and who goes on pays wages twice.

It is compared by numbers that are stored, never by times. One word against outweighs any word for: whoever misses its heartbeat,
however late it comes, stops everybody (`dispute`). Since a worker that was frozen or cut off proves nothing about what others did
meanwhile, a witness must have been heard lately, and asks for the word of every other worker that it saw alive: it waits for them a
little. It vouches only for what was written while a synchronous standby was waited for: without one a failover may lose what came
after the heartbeat, and nobody here could tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import structlog

from disburse.domain.ports import World
from disburse.operations.installation import Accepted, accept_failover, dispute, read_accepted
from disburse.storage import workers
from disburse.storage.database import Database, Transaction
from disburse.storage.lineage import Lineage, lineage_of, waits_for_standby, write_something
from disburse.storage.workers import Beat

_log = structlog.get_logger("disburse.witness")

FRESH_S: Final = 90.0
"""A witness's last acknowledged heartbeat is at most so old, by its own monotonic clock."""

OTHERS_S: Final = 5.0
"""So long a witness waits for the word of the other workers that it saw alive."""

_ALIVE: Final = 5
"""Another worker is alive if its heartbeat moved within so many of ours."""

_FORGET: Final = 300
"""Who has not moved within so many of ours, and was not seen for a day, is forgotten."""

_DAY: Final = timedelta(days=1)
PERSON: Final = "operator:"


class Word(StrEnum):
    """What a look at the database came to."""

    SAME = "same"
    """It is the one that was accepted."""
    VOUCHED = "vouched"
    """A new timeline, which holds all that was acknowledged: accepted now."""
    WAITING = "waiting"
    """A new timeline that nobody has accepted yet."""
    LOST = "lost"
    """Our own acknowledged heartbeat is missing."""
    DISPUTED = "disputed"
    """Another worker's is."""
    FOREIGN = "foreign"
    """Another database, or a copy."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one committed heartbeat learned."""

    word: Word
    here: Lineage
    beats: dict[str, Beat]
    synchronous: bool


class Witness:
    """One process's memory of its heartbeats, and its judgement. Once `lost` is set the process sends nothing until it is started anew.

    `on_word` is told of each word but SAME, once for a lineage. `needs_standby` is for tests on a server that has none.
    """

    def __init__(self, database: Database, world: World, installation: UUID, *, needs_standby: bool = True) -> None:
        self._database = database
        self._installation = installation
        self._world = world
        self._needs_standby = needs_standby
        self._tried = 0
        self._acknowledged = 0
        self._acknowledged_at = 0.0
        self._synchronous = False
        self._others: dict[str, tuple[int, int]] = {}  # its number, and ours when it moved last
        self._waiting_since: float | None = None
        self._told: tuple[Lineage, Word] | None = None
        self.lost = asyncio.Event()
        self.on_word: Callable[[Word], None] = lambda word: None

    @property
    def unsettled(self) -> bool:
        """Whether a session led to a lineage that nobody has accepted yet, as far as this process knows."""
        return self._waiting_since is not None or self._database.met is not None

    async def beat(self, worker_id: str) -> Word:
        """Say that this worker lives, and see whether its last heartbeats are where they were left. Raises StoreUnavailable."""
        if self.lost.is_set():
            return Word.LOST
        self._tried += 1
        number, at = self._tried, self._world.clock.now()
        began = self._world.clock.monotonic()

        async def work(tx: Transaction) -> _Told:
            here, accepted, beats = await lineage_of(tx), await read_accepted(tx), await workers.all_beats(tx)
            word = self._judge(here, accepted, beats.get(worker_id), number)
            standby = await waits_for_standby(tx)
            later = accepted is not None and here.may_continue(accepted.lineage)
            vouches = word is Word.SAME or (word is Word.WAITING and later and self._may_vouch())
            agreed = word is Word.WAITING and vouches and not self._awaited(here, beats, worker_id)
            if agreed and accepted is not None and await accept_failover(tx, accepted, at, f"worker:{worker_id}"):
                word = Word.VOUCHED
            if word is Word.LOST and accepted is not None and not _by_person(accepted, here) and not self._forgotten(beats, worker_id):
                await dispute(tx, at, f"worker:{worker_id}")
            if word is Word.LOST:
                await write_something(tx)  # a primary that was left behind has no standby: it cannot make us believe this
            if word in (Word.SAME, Word.WAITING, Word.VOUCHED):
                await workers.seen(tx, worker_id, Beat(number, here.timeline if vouches else None))
                if still := self._still(beats):
                    await workers.forget(tx, still, _DAY)
            return _Told(word, here, beats, standby)

        told = await self._database.run(work, anywhere=True)
        if told.word in (Word.SAME, Word.VOUCHED):
            self._acknowledged, self._acknowledged_at = number, began
            self._synchronous = told.synchronous
            self._remember(told.beats, worker_id)
        self._conclude(told.word, told.here, worker_id)
        return told.word

    async def look(self) -> Word:
        """What a process without heartbeats may find: whether others have accepted the database. Raises StoreUnavailable."""
        if self.lost.is_set():
            return Word.LOST

        async def work(tx: Transaction) -> tuple[Word, Lineage]:
            here = await lineage_of(tx)
            return self._compare(here, await read_accepted(tx)), here

        word, here = await self._database.run(work, anywhere=True)
        self._conclude(word, here, None)
        return word

    def _judge(self, here: Lineage, accepted: Accepted | None, own: Beat | None, number: int) -> Word:
        """An unknown commit may be there or not: between the last acknowledged heartbeat and the last one tried all is well."""
        stored = own.number if own is not None else 0
        if self._is_ours(accepted) and not self._acknowledged <= stored <= number:
            return Word.LOST
        return self._compare(here, accepted)

    def _is_ours(self, accepted: Accepted | None) -> bool:
        return accepted is not None and accepted.installation_id == self._installation

    def _compare(self, here: Lineage, accepted: Accepted | None) -> Word:
        if accepted is None:
            return Word.SAME
        if not self._is_ours(accepted) and self._database.trusted not in (None, here):
            return Word.FOREIGN
        if accepted.disputed_by is not None:
            return Word.DISPUTED
        if self._database.trusted is not None and self._database.trusted.may_continue(here):
            return Word.WAITING  # an earlier timeline than we worked on: it is not to be believed, whoever accepted it before
        if here == accepted.lineage:
            return Word.SAME
        return Word.WAITING if here.may_continue(accepted.lineage) else Word.FOREIGN

    def _may_vouch(self) -> bool:
        fresh = self._world.clock.monotonic() - self._acknowledged_at <= FRESH_S
        return self._acknowledged > 0 and fresh and (self._synchronous or not self._needs_standby)

    def _awaited(self, here: Lineage, beats: dict[str, Beat], worker_id: str) -> bool:
        """Whether another worker that was alive may still speak."""
        if self._waiting_since is not None and self._world.clock.monotonic() - self._waiting_since >= OTHERS_S:
            return False
        alive = [name for name, (_, moved) in self._others.items() if self._acknowledged - moved < _ALIVE]
        alive += [name for name in beats if name != worker_id and name not in self._others]
        return any(name not in beats or beats[name].vouches_for != here.timeline for name in alive)

    def _forgotten(self, beats: dict[str, Beat], worker_id: str) -> bool:
        """After half a day of silence others may have forgotten us: then a missing row proves nothing."""
        silent_s = self._world.clock.monotonic() - self._acknowledged_at
        return worker_id not in beats and silent_s > _DAY.total_seconds() / 2

    def _remember(self, beats: dict[str, Beat], worker_id: str) -> None:
        before, ours = self._others, self._acknowledged
        self._others = {
            name: before[name] if name in before and before[name][0] == beat.number else (beat.number, ours)
            for name, beat in beats.items()
            if name != worker_id
        }

    def _still(self, beats: dict[str, Beat]) -> list[str]:
        known = self._others.items()
        return [name for name, (number, moved) in known if self._acknowledged - moved > _FORGET and name in beats and beats[name].number == number]

    def _conclude(self, word: Word, here: Lineage, worker_id: str | None) -> None:
        if word in (Word.SAME, Word.VOUCHED):
            if self._database.trusted is not None:
                self._database.trusted = here
            self._database.met = self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._world.clock.monotonic()
        if word in (Word.LOST, Word.DISPUTED, Word.FOREIGN):
            self._database.trusted = here  # doors go on, as those of any restored database; nothing is sent
            self._database.met = None
            self.lost.set()
        if word is not Word.SAME and self._told != (here, word):
            self._told = (here, word)
            self.on_word(word)
            say = _log.error if self.lost.is_set() else _log.warning
            alert = {"alert": f"history_{word}"} if self.lost.is_set() else {}
            say(_SAID[word], worker=worker_id, timeline=here.timeline, **alert)


def _by_person(accepted: Accepted, here: Lineage) -> bool:
    """Whether a person has accepted this very timeline: then no memory of a process is worth more."""
    return accepted.lineage == here and (accepted.by or "").startswith(PERSON)


_SAID: Final = {
    Word.VOUCHED: "a failover was accepted: this worker's last acknowledged heartbeat is on the new timeline",
    Word.WAITING: "the database is on a new timeline: nothing is written until a witness has accepted it",
    Word.LOST: "in quarantine: the database lost what was acknowledged, and nothing is sent",
    Word.DISPUTED: "in quarantine: a worker misses what was acknowledged to it, and nothing is sent",
    Word.FOREIGN: "in quarantine: this is another database, and nothing is sent",
}
