"""Persons who agree to payouts: they look, think, and say yes or no; some of them late, twice, to their own work, or with a stale paper.

What a person saw and said goes into the auditor's rulebook before it is handed in, and what came of it afterwards. The mistakes that they
make the product has to refuse. When the day heals they work off what is left, honestly. May not live here: judgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from disburse.domain.refusals import Refusal
from disburse.operations.awaiting import ENDS
from disburse.operations.merchants import find_merchant
from disburse.operations.operators import add_operator
from disburse.operations.policies import Say, say
from disburse.simulation.auditor.rulebook import Word
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

NAMES: Final = ("vera", "gleb", "dina")
_WAITING: Final = """SELECT p.payout_id, n.digest, n.summary FROM payouts p JOIN approval_needs n ON n.shard = $1 AND n.subject_id = p.payout_id
    WHERE p.shard = $1 AND p.state = 'awaiting_approval' ORDER BY p.payout_id"""
_ASKED: Final = """SELECT n.subject_id, n.digest, n.summary FROM approval_needs n WHERE n.shard = $1 AND n.kind = 'payout'
    ORDER BY n.subject_id, n.digest"""
_TO_EXECUTE: Final = """SELECT payout_id, merchant_id, reference FROM payouts WHERE shard = $1 AND state IN ('created', 'unfunded')
    ORDER BY payout_id"""


async def hire(house: House) -> tuple[str, ...]:
    """Give each a token, so that they are known; the names under which they act."""
    made = [await add_operator(house.database, house.world, name=name, actor="cli") for name in NAMES]
    return tuple([f"operator:{one.operator_id}" for one in made])


class Approvers:
    """Three persons who share one program."""

    def __init__(self, day: Day, house: House, persons: tuple[str, ...], stream: random.Random) -> None:
        self._day = day
        self._house = house
        self._persons = persons
        self._stream = stream

    async def run(self) -> None:
        """Work until the day has healed and nothing is left to agree to."""
        deeds: list[Callable[[], Any]] = [self._execute, self._decide, self._decide, self._decide, self._decide, self._err]
        pace_s = self._stream.choice((2.0, 4.0, 12.0))
        while not self._day.closed:
            honest = self._day.healed
            await asyncio.sleep(5.0 if honest else self._stream.expovariate(1 / pace_s))
            with contextlib.suppress(StoreUnavailable):
                await (self._work_off() if honest else self._stream.choice(deeds)())

    async def _execute(self) -> None:
        """Have a payout executed that waits for just that: whoever does it is its maker."""
        rows = self._day.backend.look(_TO_EXECUTE, 0)
        mine = [(row, asked.maker) for row in rows if (asked := self._day.rulebook.asked.get((row[1], row[2]))) and asked.maker]
        if mine:
            row, maker = self._stream.choice(mine)
            merchant = await find_merchant(self._house.database, str(row[1]))
            await self._house.desk.execute(merchant, self._house.desk.act(merchant, row[0], maker))

    async def _decide(self) -> None:
        """Look at what waits, think about it, and say so: by then it may have moved."""
        rows = self._day.backend.look(_WAITING, 0)
        if rows:
            row, person, yes = self._stream.choice(rows), self._stream.choice(self._persons), self._stream.random() < 0.9
            await asyncio.sleep(self._stream.choice((0.0, 0.0, 2.0)))
            await self._say(row, person, yes=yes)

    async def _err(self) -> None:
        """Say yes once more, to what was decided long ago, or to one thing with the paper of another."""
        rows = self._day.backend.look(_ASKED, 0)
        if not rows:
            return
        row, other = self._stream.choice(rows), self._stream.choice(rows)
        paper = _other_paper(row, other) if self._stream.random() < 0.5 else row
        for person in self._stream.sample(self._persons, self._stream.choice((1, 1, 3))):
            await self._say(paper, person, yes=True)

    async def _work_off(self) -> None:
        for row in self._day.backend.look(_WAITING, 0):
            said = {one.person for one in self._day.rulebook.words if one.subject == str(row[0]) and one.taken}
            for person in self._persons:
                if person not in said:
                    await self._say(row, person, yes=True)
        await self._execute()

    async def _say(self, row: Any, person: str, *, yes: bool) -> None:
        subject, digest, shown = row[0], row[1], row[2]
        word = Word(person, str(subject), shown, yes)
        self._day.rulebook.words.append(word)
        command = Say(UUID(str(subject)), digest, yes, "" if yes else "looks odd", self._house.world.clock.now(), person)
        told = await self._house.database.run(lambda tx: say(tx, 0, command, ENDS))
        word.taken = not isinstance(told, Refusal)
        what = "a person agreed" if yes else "a person refused"
        self._day.sometimes[what if word.taken else f"not taken: {type(told).__name__}"] += 1


def _other_paper(row: Any, other: Any) -> tuple[Any, Any, Any]:
    """One subject, with the digest and the text of another."""
    return row[0], other[1], other[2]
