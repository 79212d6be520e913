"""A merchant that pays by file: it uploads, looks and applies, with a colleague who does the same at the same time.

Lives here: the file, the two programs, and what they do when they hear nothing. What a file says the auditor is told by whoever wrote it
(`auditor/registries.py`). May not live here: judgement, how rows become payouts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any, Final
from uuid import UUID

from disburse.domain.money import Money
from disburse.domain.refusals import Refusal
from disburse.operations.merchants import add_merchant, draw_top_up
from disburse.operations.policies import Say, say
from disburse.operations.registries import ENDS
from disburse.protocols.wire import WireAnswer, WireRequest
from disburse.simulation.auditor.registries import File
from disburse.simulation.auditor.rulebook import Word
from disburse.simulation.clients import CARDS
from disburse.simulation.process import Process
from disburse.simulation.stage import Day
from disburse.storage.database import StoreUnavailable
from disburse.wiring import House

_WAITING: Final = """SELECT n.subject_id, n.digest, n.summary FROM approval_needs n JOIN registries r ON r.shard = $1 AND r.registry_id = n.subject_id
    WHERE n.shard = $1 AND n.kind = 'registry' AND r.state = 'awaiting_approval' ORDER BY n.subject_id"""
_OPEN: Final = """SELECT count(*) FROM registries r WHERE r.shard = $1 AND r.state IN ('awaiting_approval', 'approved', 'executing')
    AND NOT EXISTS (SELECT FROM payouts p WHERE p.shard = $1 AND p.merchant_id = r.merchant_id AND p.frozen IS NOT NULL)"""
ASK_AGAIN: Final = 40


async def set_up(day: Day, house: House, clerk: Process) -> None:
    """In the morning: the merchant, its money, its file, and two colleagues who both mean to see to it."""
    stream = day.streams["registries"]
    text, good, rows = _file(stream)
    persons = stream.choice((0, 0, 1, 2))
    policies = json.dumps([["any", "RUB", max(good), persons]]) if persons else "[]"
    made = await add_merchant(
        house.database, house.world, house.vault, name="files", login="files@example.com", actor="operator:clerk", pci_dss=True,
        settings={"policies": policies},
    )  # fmt: skip
    merchant = made.merchant
    file = File(merchant.merchant_id, good, rows, persons, max(good))
    day.files.append(file)
    tops = [(int(sum(good) * stream.choice((0.5, 1.0, 1.0))), 0.0), (2 * sum(good), stream.uniform(0, day.knobs.safety_s))]
    for place, (minor, at) in enumerate(tops):
        clerk.start(_top_up(house, merchant, minor, at, f"f{place}"))
    for place in range(stream.choice((1, 2, 2))):
        process = day.house.process(f"colleague-{place}", mortal=False)
        colleague = Colleague(day, process, made.api_key, file, text, stream)
        day.working.append(process.start(colleague.run(stream.uniform(5.0, day.knobs.safety_s * 0.5))))


async def _top_up(house: House, merchant: Any, minor: int, at: float, reference: str) -> None:
    await asyncio.sleep(at)
    top_up = draw_top_up(house.world, merchant, Money(minor, "RUB"), actor="operator:clerk", reference=reference)
    for _ in range(100):
        with contextlib.suppress(Exception):
            await house.desk.top_up(merchant, top_up)
            return
        await asyncio.sleep(1)


def _file(stream: random.Random) -> tuple[str, tuple[int, ...], int]:
    """A file, the amounts of its good rows, each another, and how many rows it has."""
    lines, good = ["reference,rail,destination,bank,amount,currency"], []
    for place in range(stream.randint(3, 6)):
        minor = 100_00 * (place + 1) + stream.randrange(1, 100_00)
        reference = f"f-{place}" if stream.random() < 0.6 else ""
        amount = f"{minor // 100}.{minor % 100:02d}"
        if place and stream.random() < 0.2:
            lines.append(f"{reference},card,4111111111111112,,{amount},RUB")  # a wrong check digit
            continue
        good.append(minor)
        lines.append(f"{reference},card,{stream.choice(CARDS)},,{amount},RUB")
    return "\n".join(lines) + "\n", tuple(good), len(lines) - 1


class Colleague:
    """One program of the merchant: it plans the file and has it applied, whatever the other one does."""

    def __init__(self, day: Day, process: Process, api_key: str, file: File, text: str, stream: random.Random) -> None:
        self._day = day
        self._process = process
        self._api_key = api_key
        self._file = file
        self._text = text
        self._stream = stream

    async def run(self, at: float) -> None:
        """Upload, apply, and look until it is under way, or plainly the other one's."""
        await asyncio.sleep(at)
        planned = await self._until("/v1/registries", "name=wages.csv", self._text.encode(), "text/csv", (201,))
        if planned is None:
            return
        name = planned["id"]
        self._file.known.append(name)
        await asyncio.sleep(self._stream.choice((0.0, 1.0, 20.0)))
        again = False
        for _ in range(ASK_AGAIN):
            body = json.dumps({"digest": planned["digest"], "only_good": True, "again": again}).encode()
            told = await self._until(f"/v1/registries/{name}/apply", "", body, "application/json", (200, 409))
            problem = str(told.get("type")).rpartition(":")[2] if told is not None else ""
            if told is None or told.get("state") == "cancelled" or problem == "wrong_state":
                return
            if told.get("state") in ("approved", "executing", "completed", "completed_with_errors"):
                self._file.applied[name] = None
                self._day.sometimes["a file was applied again" if again else "a file was applied"] += 1
                return
            if problem == "applied_before" and not again:
                if self._stream.random() < 0.5:
                    return
                again = True  # to make up for what the other one left: persons have to agree, and what was paid is found
            await asyncio.sleep(self._stream.uniform(5.0, 15.0))

    async def _until(self, path: str, query: str, body: bytes, kind: str, wanted: tuple[int, ...]) -> dict[str, Any] | None:
        """The same request until it gets one of these statuses."""
        headers = {"authorization": f"Bearer {self._api_key}", "content-type": kind}
        for turn in range(ASK_AGAIN):
            request = WireRequest("POST", path, query.encode(), headers, body)
            server = self._stream.choice(self._day.servers)
            answer = await self._day.net.exchange(self._process, server, request, deadline_s=35.0)
            if isinstance(answer, WireAnswer) and answer.status in wanted:
                with contextlib.suppress(ValueError):
                    told = json.loads(answer.body)
                    if isinstance(told, dict) and ("id" in told or str(told.get("type")).startswith("urn:disburse:")):
                        return told
            await asyncio.sleep(self._stream.uniform(0.5, 5.0) * min(turn + 1, 5))
        return None


async def agree(day: Day, house: House, persons: tuple[str, ...]) -> None:
    """Persons look at registries that wait for them; when the day has healed they agree to what is left."""
    stream = day.streams["registries"]
    while not day.closed:
        await asyncio.sleep(5.0 if day.healed else stream.expovariate(1 / 8.0))
        rows = day.backend.look(_WAITING, 0)
        if not rows:
            continue
        row, person = stream.choice(rows), stream.choice(persons)
        right = day.healed or stream.random() < 0.8
        digest, shown = (row[1], row[2]) if right else (bytes(32), "")  # else a paper that is none of it
        yes = day.healed or stream.random() < 0.9
        word = Word(person, str(row[0]), shown, yes)
        day.rulebook.words.append(word)
        command = Say(UUID(str(row[0])), digest, yes, "" if yes else "not this month", house.world.clock.now(), person)
        with contextlib.suppress(StoreUnavailable):
            told = await house.database.run(lambda tx, command=command: say(tx, 0, command, ENDS))  # type: ignore[misc]
            word.taken = not isinstance(told, Refusal)
            day.sometimes["a registry was answered" if word.taken else f"not taken: {type(told).__name__}"] += 1


def undecided(day: Day) -> int:
    """Registries that wait or are under way, those aside that have a frozen payout, and colleagues who still work."""
    return int(day.backend.look(_OPEN, 0)[0][0]) + sum(not one.done() for one in day.working)
