"""Planning a registry: each row's verdict, all that its payout will be, and a digest over everything. Nothing is held and nothing is paid.

Lives here: `Planner`, which is given drafted pieces and writes each down at once, so that memory does not grow with the file.
May not live here: reading files (`protocols/registry_*`), what a row's text means (`domain/registry.py`), drafting (`registry_draft.py`), doing any of
it (`registry_apply.py`), which rows are asked about (`domain/duplicates.py`).

A row is bad when its reference is that of an earlier row, or belongs to a payout with other content. A reference whose payout is there already with the
same content is no fault: that payout stands for the row, and it is counted as known. A row is held when the guard asks about it, unless whoever plans
the file names the row as one to pay all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from disburse.domain.duplicates import Question, Trace
from disburse.domain.identifiers import payout_id
from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Fault, Refusal
from disburse.domain.registry_states import (
    NOBODY,
    LetPass,
    Plan,
    RegistryState,
    Total,
    bad_row_text,
    chunk_digest,
    digest_of_text,
    rows_digest,
    same,
)
from disburse.operations import repeats
from disburse.operations.duplicates import Guard, catch_up
from disburse.operations.registry_draft import Drafter, Piece, faults_text, twice
from disburse.operations.registry_left import SILENT, cancel_unplanned
from disburse.operations.registry_rules import Terms, rules_of
from disburse.operations.repeats import RequestName
from disburse.storage import keys, registries
from disburse.storage.database import Hope, StoreUnavailable, Transaction
from disburse.storage.registries import Namesake, Registry
from disburse.storage.registry_copy import as_bad, as_held, line_of, reference_of
from disburse.storage.unit import Unit

__all__ = ["EmptyRegistry", "Piece", "PlanGivenUp", "PlannedMeanwhile", "Planner", "Registry", "begin", "plan_all"]

SHOWN: Final = 10_000
"""So many rows that are not good are kept for the plan's file; all are in the database."""


class EmptyRegistry(Refusal):
    """The file has no rows."""


class PlanGivenUp(Refusal):
    """The registry was cancelled while it was planned, or its planning stood still for an hour: nothing of it is left. Plan the file again."""


class PlannedMeanwhile(Refusal):
    """Another request with the same Idempotency-Key has planned this file meanwhile."""


Found = dict[str, Namesake]


class Planner:
    """Plans one registry of a merchant. Give it pieces of rows by `store`, in order; then `finish`. `drafter` makes pieces.

    `name`: the request's Idempotency-Key, which is kept with the plan: whoever was quicker with it has planned the file.
    """

    def __init__(self, terms: Terms, merchant: Merchant, registry: Registry, pay: LetPass, name: RequestName | None = None) -> None:
        self._terms, self._merchant, self._registry, self._pay, self._name = terms, merchant, registry, pay, name
        self._database = terms.desk.database
        self._guard = Guard(terms.desk.vault, merchant, registry.created_at)
        self._hope = Hope()
        self._writing: asyncio.Task[None] | None = None
        self._chunks: list[bytes] = []
        self._content = hashlib.sha256()
        self._totals: dict[tuple[str, str], list[int]] = {}
        self.rows = self.good = self.bad = self.held = self.known = 0
        self.shown: list[dict[str, Any]] = []
        self.drafter = Drafter(terms, merchant, registry, self._guard)

    async def store(self, piece: Piece) -> None:
        """Judge a piece by what is stored, while the one before is being written; then begin to write it. Raises StoreUnavailable."""
        if not piece.rows:
            return
        hopeful = self._hope.tries()
        if not hopeful:
            await self.written()
        found, past = await self._look(piece, rows=not hopeful)
        await self.written()
        self._writing = asyncio.create_task(self._write(piece, found, past, hopeful))
        await self._terms.desk.world.clock.sleep(0)  # let it begin

    async def written(self) -> None:
        """Wait until all pieces are written that were given. Raises StoreUnavailable."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    async def stop(self) -> None:
        """Leave what is being written."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _look(self, piece: Piece, *, rows: bool) -> tuple[Found, list[Trace]]:
        """What stands under the references of a piece already (among `rows` of the registry, too), and which payouts its rows may repeat."""
        shard, registry, bases = self._registry.shard, self._registry.registry_id, [base for base in piece.bases if base]

        async def work(tx: Transaction) -> tuple[Found, list[Trace]]:
            found = await registries.namesakes(tx, shard, bases) if bases else {}
            if rows and bases:
                found |= await registries.earlier_rows(tx, shard, registry, bases, piece.first)
            return found, await self._guard.look(tx, piece.traces) if piece.traces and not self._registry.again else []

        return await self._database.ask(work)

    async def _write(self, piece: Piece, found: Found, past: list[Trace], hopeful: bool) -> None:
        """Write a piece down, in one transaction. Hopefully none of its references is that of an earlier row: then nobody looked."""
        kept = self._keep(piece, found, past)
        try:
            await self._add(kept)
        except registries.ReferenceTwice:
            self._hope.ended(well=False)
            kept = self._keep(piece, (await self._look(piece, rows=True))[0], past)
            await self._add(kept)
        else:
            if hopeful:
                self._hope.ended(well=True)
        self._guard.passed(kept.traces)
        self._count(kept)

    async def _add(self, kept: _Kept) -> None:
        shard, registry, chunk = self._registry.shard, self._registry.registry_id, len(self._chunks) + 1

        async def work(tx: Transaction) -> None:
            if not (tx.rerun and await registries.has_chunk(tx, shard, registry, chunk)):
                last = kept.first + len(kept.rows) - 1
                await registries.add_chunk(tx, shard, registry, chunk, kept.first, last, kept.rows, kept.names, kept.good, kept.digest)
                if not await registries.still_uploaded(tx, shard, registry, await tx.database_now() + SILENT):
                    raise PlanGivenUp()

        await self._database.run(work)

    def _keep(self, piece: Piece, found: Found, past: list[Trace]) -> _Kept:
        """The rows as they are stored, now that it is known what was there before."""
        first, bases = piece.first, piece.bases
        traces = [one for one in piece.traces if bases[one.row - first] not in found] if found else piece.traces
        asked = self._guard.ask(traces, past) if traces else {}
        held = {row: question for row, question in asked.items() if row not in self._pay}
        if not found and not held:
            totals = {(rail, currency): sums for rail, currency, *sums in piece.totals}
            good = len(piece.traces)
            return _Kept(first, piece.rows, piece.texts, piece.contents, piece.names, traces, totals, piece.shown, piece.digest, good)
        return _judged(piece, found, held, [one for one in traces if one.row not in held])

    def _count(self, kept: _Kept) -> None:
        self._chunks.append(kept.digest)
        self.rows += len(kept.rows)
        self.good += kept.good
        self.held += kept.held
        self.bad += len(kept.rows) - kept.good - kept.held
        self.known += kept.known
        self._content.update(b"".join(kept.contents))
        for key, sums in kept.totals.items():
            total = self._totals.setdefault(key, [0, 0, 0])
            for place, more in enumerate(sums):
                total[place] += more
        self.shown += kept.shown[: max(SHOWN - len(self.shown), 0)]

    async def give_up(self) -> None:
        """Leave no registry behind that waits for more rows; the housekeeper forgets those that it has. Raises StoreUnavailable."""
        await self.stop()
        await cancel_unplanned(self._database, self._registry, self._terms.desk.world.clock.now(), self._registry.actor)
        self._terms.desk.on_written()

    async def finish(self) -> Registry:
        """Seal the plan. Returns the registry, planned. Raises EmptyRegistry, PlanGivenUp, PlannedMeanwhile, KeyReused, StoreUnavailable."""
        await self.written()
        if not self.rows:
            raise EmptyRegistry()
        registry = self._registry
        totals = tuple(Total(rail, currency, *sums) for (rail, currency), sums in sorted(self._totals.items()))
        plan = Plan(
            str(registry.registry_id), registry.merchant_id, registry.file_name, registry.file_digest.hex(), registry.file_bytes,
            registry.again, self.rows, self.good, self.bad, self.held, totals,
            rules_of(self._terms, self._merchant, self._totals), self._content.hexdigest(), rows_digest(self._chunks).hex(), str(self._pay),
        )  # fmt: skip
        text, at = plan.to_text(), self._terms.desk.world.clock.now()
        planned = replace(
            registry, state=RegistryState.PLANNED, rows_read=self.rows, good=self.good, bad=self.bad, held=self.held,
            content=self._content.digest(), rows_digest=rows_digest(self._chunks), digest=digest_of_text(text), plan=text, updated_at=at,
        )  # fmt: skip

        async def work(tx: Transaction) -> Registry | None:
            await Unit.lock(tx, registry.shard, [registry.merchant_id])  # somebody may cancel it at this very moment
            known = await repeats.known_as(tx, self._merchant, self._name)
            if known is not None and known.subject_id != registry.registry_id:
                raise PlannedMeanwhile()
            done = await registries.set_planned(tx, planned, at)
            if done and self._name is not None:
                await keys.add(tx, registry.shard, registry.merchant_id, self._name.digest,
                               keys.Known(self._name.fingerprint, None, None, None, registry.registry_id), at, registry.actor)  # fmt: skip
            if done or tx.rerun:
                return await registries.by_id(tx, registry.shard, registry.registry_id)
            return None

        found = await self._database.run(work)
        if found is None or found.digest is None:
            raise PlanGivenUp()
        if not same(found.digest, planned.digest):
            raise AssertionError("a registry changed while it was planned")
        return found


@dataclass(slots=True)
class _Kept:
    """A piece as it is stored, with its sums. `traces`: rows that may be paid, which rows below may repeat."""

    first: int
    rows: list[bytes]
    texts: list[str]
    contents: list[bytes]
    names: list[bytes]
    traces: list[Trace]
    totals: dict[tuple[str, str], list[int]]
    shown: list[dict[str, Any]]
    digest: bytes
    good: int
    held: int = 0
    known: int = 0


def _judged(piece: Piece, found: Found, held: Mapping[int, Question], traces: list[Trace]) -> _Kept:
    """A piece of which some rows are not what they were drafted as, or have a payout."""
    totals = {(rail, currency): list(sums) for rail, currency, *sums in piece.totals}
    kept = _Kept(piece.first, [*piece.rows], [*piece.texts], [*piece.contents], piece.names, traces, totals, [*piece.shown], b"", len(piece.traces))
    for place, base in enumerate(piece.bases):
        namesake, number, row = found.get(base), piece.first + place, kept.rows[place]
        if namesake is not None and namesake.number is None and kept.contents[place].startswith(namesake.fingerprint):
            kept.known += 1
        elif namesake is not None:
            fault = twice(namesake.number) if namesake.number is not None else _OTHER_CONTENT
            told = [{"field": fault.field, "value": reference_of(row), "why": fault.why}]
            _leave_out(kept, place, "bad", told, as_bad(row, faults_text(told)))
        elif number in held:
            question = held[number]
            told = [{"field": "duplicate", "value": str(question.payout or f"row {question.row}"), "why": question.why}]
            kept.held += 1
            _leave_out(kept, place, "held", told, as_held(row, faults_text(told)))
    kept.shown.sort(key=lambda one: int(one["row"]))
    kept.digest = chunk_digest(kept.texts)
    return kept


def _leave_out(kept: _Kept, place: int, verdict: str, told: list[dict[str, Any]], instead: bytes) -> None:
    """A drafted row is not paid: store it so `instead`, take it out of the sums, and show it."""
    row, number = kept.rows[place], kept.first + place
    _, _, _, rail, currency, minor, cost, *_ = kept.texts[place].split("|")
    total = kept.totals[rail, currency]
    for at, less in enumerate((1, int(minor), int(cost))):
        total[at] -= less
    if not total[0]:
        del kept.totals[rail, currency]
    kept.good -= 1
    kept.rows[place] = instead
    kept.contents[place] = b""
    kept.texts[place] = bad_row_text(number) if verdict == "bad" else kept.texts[place].replace("|good|", "|held|", 1)
    kept.shown.append({"row": number, "line": line_of(row), "reference": reference_of(row), "verdict": verdict, "faults": told})


_OTHER_CONTENT: Final = Fault("reference", "belongs to a payout with another payee or amount")


async def begin(
    terms: Terms, merchant: Merchant, *, file_name: str, file_digest: bytes, file_bytes: int, again: bool, actor: str, pay: LetPass = NOBODY,
    name: RequestName | None = None,
) -> Planner:  # fmt: skip
    """Make a registry whose rows will come. `again`: this content is meant to be paid although it was before; `pay`: rows that are not held for a
    question; `name`: the request's Idempotency-Key. Raises StoreUnavailable."""
    at = await terms.desk.database.ask(lambda tx: tx.database_now())  # what earlier payouts are held against: no wrong clock may hide them
    identifier = payout_id(merchant.shard, at, terms.desk.world.random.bytes(10))
    registry = Registry(
        merchant.shard, identifier, merchant.merchant_id, RegistryState.UPLOADED, file_name[-255:], file_digest, file_bytes, again, False,
        0, 0, 0, 0, None, None, None, None, 0, 0, 0, 0, 0, None, None, at, at, actor,
    )  # fmt: skip

    async def work(tx: Transaction) -> None:
        if not (tx.rerun and await registries.by_id(tx, merchant.shard, identifier)):
            await registries.add(tx, registry, await tx.database_now() + SILENT)

    await terms.desk.database.run(work)
    await catch_up(terms.desk.database, terms.desk.vault, merchant, at)
    return Planner(terms, merchant, registry, pay, name)


async def plan_all(planner: Planner, pieces: AsyncIterator[Piece], told: Callable[[int], None] = lambda rows: None) -> Registry:
    """Plan everything: while the database stores one piece, the next is read, judged and drafted. `told` hears how many rows are stored.

    Raises what the pieces raise, EmptyRegistry, PlanGivenUp, StoreUnavailable; what was stored by then stays without a plan, is never applied, and is
    forgotten by the housekeeper: soon after a refusal, else when nothing was heard of the planning for `SILENT`.
    """
    try:
        async for piece in pieces:
            await planner.store(piece)
            told(planner.rows)
        return await planner.finish()
    except Refusal:
        with contextlib.suppress(StoreUnavailable):
            await planner.give_up()
        raise
    finally:
        await planner.stop()
