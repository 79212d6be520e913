"""Planning a registry: each row's verdict, all that its payout will be, and a digest over everything. Nothing is held and nothing is paid.

Lives here: `Planner`, which is given judged rows in pieces and writes each piece down at once, so that memory does not grow with the file.
May not live here: reading files (`protocols/registry_*`), what a row's text means (`domain/registry.py`), doing any of it (`registry_apply.py`).

A row gets faults here that only the house can know: no provider, an amount below the minimum, a reference that another row or a payout with other
content has. A reference whose payout is there already with the same content is no fault: that payout stands for the row, and it is counted as known.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from disburse.domain import registry as registry_rows
from disburse.domain.destinations import Destination
from disburse.domain.fees import FREE, FeeRule, fee
from disburse.domain.identifiers import payout_id, payout_ids
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR, Money, minor_text
from disburse.domain.ports import Clock
from disburse.domain.refusals import Fault, Refusal
from disburse.domain.registry_states import (
    Plan,
    RegistryState,
    Total,
    bad_row_text,
    chunk_digest,
    digest_of_text,
    reference_of_row,
    row_text,
    rows_digest,
    same,
)
from disburse.domain.routing import TEST_CURRENCY, Freight, Why, decide
from disburse.operations.desk import SURFACE, content_of
from disburse.operations.registry_rules import Terms, rules_of
from disburse.storage import registries
from disburse.storage.database import Transaction
from disburse.storage.registries import Namesake, Registry

__all__ = ["EmptyRegistry", "Judged", "Meaning", "Piece", "Planner", "Registry", "RowText", "begin", "plan_all"]

SHOWN: Final = 10_000
"""So many rows that are not good are kept for the plan's file; all are in the database."""


class EmptyRegistry(Refusal):
    """The file has no rows."""


class RowText(registry_rows.RowText, Protocol):
    """A row as it was read, with its place among the rows."""

    @property
    def number(self) -> int: ...


class Meaning(Protocol):
    """A row as it was judged: without faults it has money and a destination."""

    @property
    def money(self) -> Money | None: ...
    @property
    def destination(self) -> Destination | None: ...
    @property
    def execute_at(self) -> datetime | None: ...
    @property
    def faults(self) -> Sequence[Fault]: ...


Judged = Sequence[tuple[RowText, Meaning]]


@dataclass(slots=True)
class _Good:
    """A drafted row: the tuple to copy, and what the sums need."""

    row: tuple[Any, ...]
    rail: str
    currency: str
    amount: int
    fee: int
    base: str
    fingerprint: bytes
    content: bytes


@dataclass(slots=True)
class Piece:
    """Some rows, drafted: in order, each a good one or the tuple of a bad one."""

    rows: list[_Good | tuple[Any, ...]] = field(default_factory=list)
    bases: dict[str, int] = field(default_factory=dict)


class Planner:
    """Plans one registry of a merchant. Give it rows by `draft` and `store`, in order; then `finish`."""

    def __init__(self, terms: Terms, merchant: Merchant, registry: Registry) -> None:
        self._terms = terms
        self._desk = terms.desk
        self._merchant = merchant
        self._registry = registry
        self._chunks: list[bytes] = []
        self._content = hashlib.sha256()
        self._totals: dict[tuple[str, str], list[int]] = {}
        self._routes: dict[tuple[str, str], str] = {}
        self._fees: dict[str, FeeRule] = {}
        self._at = registry.created_at
        self._own = str(registry.registry_id) if registry.again else None
        self.rows = self.good = self.bad = self.held = self.known = 0
        self.shown: list[dict[str, Any]] = []

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self._desk.world.clock

    # --- drafting, which touches no database ---

    def draft(self, judged: Judged) -> Piece:
        """Draw, derive and seal what the rows will need. Rows with faults are kept with them."""
        piece = Piece()
        ids = payout_ids(self._merchant.shard, self._at, self._desk.world.random.bytes(10 * len(judged)), len(judged))
        for identifier, (row, meaning) in zip(ids, judged, strict=True):
            if meaning.faults or meaning.money is None or meaning.destination is None:
                piece.rows.append(self._bad(row, meaning.faults))
                continue
            route = self._route(str(meaning.destination.rail), meaning.money, meaning.destination.bank)
            cost = self._fee(str(meaning.destination.rail), meaning.money)
            faults = self._house_faults(meaning.money, meaning.destination, cost, route)
            good = None if faults else self._good(row, meaning, cost, route, identifier)
            if good is None:
                piece.rows.append(self._bad(row, faults))
            elif good.base in piece.bases:
                piece.rows.append(self._bad(row, [_twice(piece.bases[good.base])]))
            else:
                piece.bases[good.base] = row.number
                piece.rows.append(good)
        return piece

    def _house_faults(self, money: Money, to: Destination, cost: int, route: str | None) -> list[Fault]:
        faults = []
        rail, currency = str(to.rail), money.currency
        if money.minor + cost > MAX_MINOR:
            faults.append(Fault("amount", "is too large", money.text()))
        least = self._terms.minimums.get(rail, 0) if currency == "RUB" else 0
        if money.minor <= least and least:
            faults.append(Fault("amount", f"is not above {minor_text(least, currency)}, the smallest amount on {rail}", money.text()))
        if route is None:
            why = self._why_no_route(rail, money, to.bank)
            faults.append(Fault("amount" if why else "rail", why or f"has no provider for {currency}", money.text() if why else rail))
        return faults

    def _fee(self, rail: str, money: Money) -> int:
        rule = self._fees.get(rail)
        if rule is None:
            rule = self._fees[rail] = self._merchant.fee_rule(rail, self._desk.fees)
        return fee(rule, money).minor if rule is not FREE else 0

    def _freight(self, rail: str, money: Money, bank: str | None) -> Freight:
        return Freight(rail, money.currency, money.minor, self._merchant.merchant_id, bank, money.currency == TEST_CURRENCY)

    def _route(self, rail: str, money: Money, bank: str | None) -> str | None:
        """The route that a payout would take if nothing stood against it. Where no amount or bank matters it is remembered."""
        known = self._routes.get((rail, money.currency))
        if known is not None:
            return known
        if not self._desk.rules and not any(route.limits for route in self._desk.routes):
            chosen = decide(self._desk.routes, self._freight(rail, money, bank)).chosen
            if chosen is not None:
                self._routes[rail, money.currency] = chosen
            return chosen
        return decide(self._desk.routes, self._freight(rail, money, bank), self._desk.rules).chosen

    def _why_no_route(self, rail: str, money: Money, bank: str | None) -> str | None:
        """What is wrong with the amount, where an amount is what every provider refuses."""
        told = decide(self._desk.routes, self._freight(rail, money, bank), self._desk.rules).objections
        for one in told:
            if one.why in (Why.BELOW, Why.ABOVE):
                return f"is {one.why} {one.detail}, {'the least' if one.why is Why.BELOW else 'the most'} that {one.connector} takes on {rail}"
        return None

    def _good(self, row: RowText, meaning: Meaning, cost: int, route: str | None, identifier: UUID) -> _Good:
        desk, merchant, money, to = self._desk, self._merchant, meaning.money, meaning.destination
        if money is None or to is None:
            raise AssertionError("a row without faults has money and a destination")
        number, rail = merchant.merchant_id, str(to.rail)
        payee = to.fingerprint_text()
        fingerprint = desk.vault.fingerprint(content_of(payee, money), number)
        reference = row.reference or reference_of_row(self._registry.file_digest, row.number, self._own)
        base = desk.base(merchant, SURFACE, reference, identifier)
        found = (
            merchant.shard, self._registry.registry_id, row.number, row.line, "good", reference, rail, money.currency, money.minor, cost,
            row.amount_text, to.display(), row.comment, route, identifier, base, fingerprint,
            desk.vault.fingerprint(payee, number),
            desk.vault.seal(to.to_bytes(), merchant_id=number, payout_id=identifier.bytes), meaning.execute_at, None, None,
        )  # fmt: skip
        content = fingerprint + (row.reference or "").encode() + b"\n"
        return _Good(found, rail, money.currency, money.minor, cost, base, fingerprint, content)

    def _bad(self, row: RowText, faults: Sequence[Fault]) -> tuple[Any, ...]:
        told = [{"field": one.field, "value": one.value, "why": one.why} for one in faults]
        nothing = (None,) * 10
        reference = row.reference if row.reference is not None and row.reference.isprintable() and len(row.reference) <= 200 else None
        return (
            self._merchant.shard, self._registry.registry_id, row.number, row.line, "bad", reference, None, None, None, None,
            *nothing, json.dumps(told, ensure_ascii=False), None,
        )  # fmt: skip

    # --- storing ---

    async def store(self, piece: Piece) -> None:
        """Write a piece down, in one transaction. Raises StoreUnavailable."""
        if not piece.rows:
            return
        chunk = len(self._chunks) + 1
        shard, registry = self._registry.shard, self._registry.registry_id
        kept: list[_Kept] = []

        async def work(tx: Transaction) -> None:
            found = await registries.namesakes(tx, shard, registry, list(piece.bases)) if piece.bases else {}
            if tx.rerun and await registries.has_chunk(tx, shard, registry, chunk):
                found = {base: one for base, one in found.items() if one.number is None or one.number not in piece.bases.values()}
                kept[:] = [self._keep(piece, found)]
                return
            kept[:] = [self._keep(piece, found)]
            await registries.add_chunk(tx, shard, registry, chunk, kept[0].rows, kept[0].good, kept[0].digest)

        await self._desk.database.run(work)
        self._count(kept[0])

    def _keep(self, piece: Piece, found: dict[str, Namesake]) -> _Kept:
        """The rows as they are stored, now that their namesakes are known."""
        kept = _Kept()
        for one in piece.rows:
            if isinstance(one, _Good):
                namesake = found.get(one.base)
                if namesake is None or namesake.fingerprint == one.fingerprint:
                    kept.add_good(one, known=namesake is not None)
                    continue
                fault = _twice(namesake.number) if namesake.number is not None else _OTHER_CONTENT
                row = one.row
                told = json.dumps([{"field": fault.field, "value": row[5], "why": fault.why}], ensure_ascii=False)
                one = (*row[:4], "bad", row[5], *(None,) * 14, told, None)
            kept.add_bad(one)
        kept.digest = chunk_digest(kept.texts)
        return kept

    def _count(self, kept: _Kept) -> None:
        self._chunks.append(kept.digest)
        self.rows += len(kept.rows)
        self.good += kept.good
        self.bad += len(kept.rows) - kept.good
        self.known += kept.known
        for content in kept.contents:
            self._content.update(content)
        for key, sums in kept.totals.items():
            total = self._totals.setdefault(key, [0, 0, 0])
            for place, more in enumerate(sums):
                total[place] += more
        for row in kept.rows:
            if row[4] != "good" and len(self.shown) < SHOWN:
                self.shown.append({"row": row[2], "line": row[3], "reference": row[5], "verdict": row[4], "faults": json.loads(row[20] or "[]")})

    async def finish(self) -> Registry:
        """Seal the plan. Returns the registry, planned. Raises EmptyRegistry, StoreUnavailable."""
        if not self.rows:
            raise EmptyRegistry()
        registry = self._registry
        totals = tuple(Total(rail, currency, *sums) for (rail, currency), sums in sorted(self._totals.items()))
        plan = Plan(
            str(registry.registry_id), registry.merchant_id, registry.file_name, registry.file_digest.hex(), registry.file_bytes,
            registry.again, self.rows, self.good, self.bad, self.held, totals,
            rules_of(self._terms, self._merchant, self._totals), self._content.hexdigest(), rows_digest(self._chunks).hex(),
        )  # fmt: skip
        text, at = plan.to_text(), self._desk.world.clock.now()
        planned = replace(
            registry, state=RegistryState.PLANNED, rows_read=self.rows, good=self.good, bad=self.bad, held=self.held,
            content=self._content.digest(), rows_digest=rows_digest(self._chunks), digest=digest_of_text(text), plan=text, updated_at=at,
        )  # fmt: skip

        async def work(tx: Transaction) -> Registry | None:
            if await registries.set_planned(tx, planned, at) or tx.rerun:
                return await registries.by_id(tx, registry.shard, registry.registry_id)
            return None

        found = await self._desk.database.run(work)
        if found is None or not same(found.digest, planned.digest):
            raise AssertionError("a registry changed while it was planned")
        return found


@dataclass(slots=True)
class _Kept:
    """A piece as it is stored, with its sums."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    totals: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    good: int = 0
    known: int = 0
    digest: bytes = b""

    def add_good(self, one: _Good, *, known: bool) -> None:
        row = one.row
        self.rows.append(row)
        self.texts.append(row_text(row[2], row[14].bytes, one.rail, one.currency, one.amount, one.fee, one.fingerprint, one.base, "good"))
        self.good += 1
        self.known += known
        self.contents.append(one.content)
        total = self.totals.get((one.rail, one.currency))
        if total is None:
            total = self.totals[one.rail, one.currency] = [0, 0, 0]
        total[0] += 1
        total[1] += one.amount
        total[2] += one.fee

    def add_bad(self, row: tuple[Any, ...]) -> None:
        self.rows.append(row)
        self.texts.append(bad_row_text(row[2]))


def _twice(number: int) -> Fault:
    return Fault("reference", f"is the same as in row {number}")


_OTHER_CONTENT: Final = Fault("reference", "belongs to a payout with another payee or amount")


async def begin(
    terms: Terms, merchant: Merchant, *, file_name: str, file_digest: bytes, file_bytes: int, again: bool, actor: str
) -> Planner:
    """Make a registry whose rows will come. `again`: this content is meant to be paid although it was before. Raises StoreUnavailable."""
    at = terms.desk.world.clock.now()
    identifier = payout_id(merchant.shard, at, terms.desk.world.random.bytes(10))
    registry = Registry(
        merchant.shard, identifier, merchant.merchant_id, RegistryState.UPLOADED, file_name[-255:], file_digest, file_bytes, again, False,
        0, 0, 0, 0, None, None, None, None, 0, 0, 0, 0, 0, None, None, at, at, actor,
    )  # fmt: skip

    async def work(tx: Transaction) -> None:
        if not (tx.rerun and await registries.by_id(tx, merchant.shard, identifier)):
            await registries.add(tx, registry)

    await terms.desk.database.run(work)
    return Planner(terms, merchant, registry)


async def plan_all(planner: Planner, pieces: Iterable[Judged], told: Callable[[int], None] = lambda rows: None) -> Registry:
    """Plan everything: while the database stores one piece, the next is read, judged and drafted. `told` hears how many rows are stored.

    Raises what the pieces raise, EmptyRegistry, StoreUnavailable; what was stored by then stays without a plan, and is never applied.
    """
    storing: asyncio.Task[None] | None = None
    try:
        for judged in pieces:
            piece = planner.draft(judged)
            if storing is not None:
                await storing
                told(planner.rows)
            storing = asyncio.create_task(planner.store(piece))
            await planner.clock.sleep(0)  # let it begin
        if storing is not None:
            await storing
            told(planner.rows)
    finally:
        if storing is not None and not storing.done():
            storing.cancel()
    return await planner.finish()
