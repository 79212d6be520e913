"""Drafting a registry's rows: each row's verdict as far as nobody's memory is needed, and all that its payout will be. Touches no database.

Lives here: `Drafter`, which makes a `Piece` of some judged rows. A piece is bytes and plain values, so that another process can draft it (`cli/registry_helper.py`).
May not live here: what a row's text means (`domain/registry.py`), storing, and what other rows and payouts say against a row (`registry_plan.py`).

A row gets faults here that only the house can know: no provider, an amount below the minimum, a reference that another row has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from disburse.domain import registry as registry_rows
from disburse.domain.destinations import Destination
from disburse.domain.duplicates import Trace
from disburse.domain.fees import FREE, FeeRule, fee
from disburse.domain.identifiers import bases_of, raw_payout_ids
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR, Money, minor_text
from disburse.domain.refusals import Fault
from disburse.domain.registry_states import bad_row_text, chunk_digest, reference_of_row, row_text
from disburse.domain.routing import TEST_CURRENCY, Freight, Why, decide
from disburse.operations.desk import SURFACE, content_of
from disburse.operations.duplicates import Guard
from disburse.operations.registry_rules import Terms
from disburse.storage.registries import Registry
from disburse.storage.registry_copy import RowWriter, name_row

LARGEST: Final = 1_000
"""So many rows are one piece at most."""


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


class Piece(msgspec.Struct, array_like=True):
    """Some rows in order, drafted; the lists have an entry for each.

    `rows`: as they are copied. `texts`: what is hashed, of which `digest` is. `bases`, `contents`: empty for a bad row. `names`: keyed names to copy.
    `totals`: of good rows, by rail and currency: how many, amount and fee. `shown`: bad rows for people. `traces`: of good rows, for the guard.
    """

    first: int
    rows: list[bytes] = []
    texts: list[str] = []
    bases: list[str] = []
    contents: list[bytes] = []
    names: list[bytes] = []
    traces: list[Trace] = []
    totals: list[tuple[str, str, int, int, int]] = []
    shown: list[dict[str, Any]] = []
    digest: bytes = b""


class Drafter:
    """Drafts the rows of one registry, in order."""

    def __init__(self, terms: Terms, merchant: Merchant, registry: Registry, guard: Guard) -> None:
        self._terms, self._merchant, self._registry, self._guard = terms, merchant, registry, guard
        self._desk = desk = terms.desk
        self._routes: dict[tuple[str, str], str] = {}
        self._fees: dict[str, FeeRule] = {}
        self._own = str(registry.registry_id) if registry.again else None
        self._writer = RowWriter(merchant.shard, registry.registry_id.bytes)
        self._base = bases_of(merchant.shard, desk.installation, merchant.merchant_id, SURFACE)
        self._plain = not desk.rules and not any(route.limits for route in desk.routes)

    def draft(self, judged: Judged) -> Piece:
        """Draw, derive and seal what the rows will need. Rows with faults are kept with them."""
        piece, places = Piece(judged[0][0].number if judged else 0), dict[str, int]()
        totals: dict[tuple[str, str], list[int]] = {}
        ids = raw_payout_ids(self._merchant.shard, self._registry.created_at, self._desk.world.random.bytes(10 * len(judged)), len(judged))
        for identifier, (row, meaning) in zip(ids, judged, strict=True):
            money, to = meaning.money, meaning.destination
            if meaning.faults or money is None or to is None:
                self._bad(piece, row, meaning.faults)
                continue
            rail = to.rail.value
            route, cost = self._route(rail, money, to.bank), self._fee(rail, money)
            if route is None or cost or self._terms.minimums:
                faults = self._house_faults(money, to, cost, route)
                if faults:
                    self._bad(piece, row, faults)
                    continue
            reference = row.reference or reference_of_row(self._registry.file_digest, row.number, self._own)
            base = self._base(reference)
            if base in places:
                self._bad(piece, row, [twice(places[base])])
                continue
            places[base] = row.number
            self._good(piece, row, money, to, (reference, base, route, cost), identifier, meaning.execute_at)
            total = totals.get((rail, money.currency))
            if total is None:
                total = totals[rail, money.currency] = [0, 0, 0]
            total[0] += 1
            total[1] += money.minor
            total[2] += cost
        piece.totals = [(rail, currency, *sums) for (rail, currency), sums in totals.items()]  # type: ignore[misc]
        piece.digest = chunk_digest(piece.texts)
        return piece

    def _good(
        self, piece: Piece, row: RowText, money: Money, to: Destination, named: tuple[str, str, str | None, int], identifier: bytes,
        execute_at: datetime | None,
    ) -> None:  # fmt: skip
        vault, number, rail = self._desk.vault, self._merchant.merchant_id, to.rail.value
        reference, base, route, cost = named
        payee = to.fingerprint_text()
        fingerprint, destination = vault.fingerprint(content_of(payee, money), number), vault.fingerprint(payee, number)
        piece.rows.append(self._writer.good(
            row.number, row.line, reference, rail, money.currency, money.minor, cost, row.amount_text, to.display(), row.comment, route,
            identifier, base, fingerprint, destination, vault.seal(to.to_bytes(), merchant_id=number, payout_id=identifier), execute_at,
        ))  # fmt: skip
        piece.texts.append(row_text(row.number, identifier, rail, money.currency, money.minor, cost, fingerprint, base, "good"))
        piece.bases.append(base)
        piece.contents.append(fingerprint + (row.reference or "").encode() + b"\n")
        trace = self._guard.trace(row.number, to, destination, money, row.comment)
        piece.traces.append(trace)
        if trace.short:
            piece.names.append(name_row(self._merchant.shard, identifier, trace.person, trace.patronymic, trace.short))

    def _bad(self, piece: Piece, row: RowText, faults: Sequence[Fault]) -> None:
        told = [{"field": one.field, "value": one.value, "why": one.why} for one in faults]
        reference = row.reference if row.reference is not None and row.reference.isprintable() and len(row.reference) <= 200 else None
        piece.rows.append(self._writer.bad(row.number, row.line, reference, faults_text(told)))
        piece.texts.append(bad_row_text(row.number))
        piece.bases.append("")
        piece.contents.append(b"")
        piece.shown.append({"row": row.number, "line": row.line, "reference": reference, "verdict": "bad", "faults": told})

    # --- what the house says -------------------------------------------------------------------------------------------

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
        chosen = decide(self._desk.routes, self._freight(rail, money, bank), self._desk.rules).chosen
        if self._plain and chosen is not None:
            self._routes[rail, money.currency] = chosen
        return chosen

    def _why_no_route(self, rail: str, money: Money, bank: str | None) -> str | None:
        """What is wrong with the amount, where an amount is what every provider refuses."""
        told = decide(self._desk.routes, self._freight(rail, money, bank), self._desk.rules).objections
        for one in told:
            if one.why in (Why.BELOW, Why.ABOVE):
                return f"is {one.why} {one.detail}, {'the least' if one.why is Why.BELOW else 'the most'} that {one.connector} takes on {rail}"
        return None


def twice(number: int) -> Fault:
    """What is wrong with a row whose reference an earlier row has."""
    return Fault("reference", f"is the same as in row {number}")


def faults_text(told: Sequence[dict[str, Any]]) -> str:
    """Faults or questions as they are stored."""
    return json.dumps(told, ensure_ascii=False)
