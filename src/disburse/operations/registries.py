"""A registry from the outside: may it be applied, who has to agree, stop it, see it through. The steps of `domain/registry_states.py`, each in a transaction.

Lives here: `start`, which compares everything with the plan and lets the rows begin or asks persons first; the yes of persons; cancelling.
May not live here: making payouts (`registry_apply.py`), planning (`registry_plan.py`), seeing it through (`registry_work.py`).

Rows and rules are compared before the lock, since that takes seconds of a large file: rows never change, and rules that change at this very
moment could as well have changed a moment later. State, content and digest are decided under the merchant's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from disburse.domain.identifiers import shard_of_payout
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.refusals import Refusal
from disburse.domain.registry_states import (
    FINAL,
    Drift,
    Drifted,
    RegistryState,
    RegistryStep,
    WrongRegistryState,
    advance,
    drift_of_rules,
    rows_digest,
    same,
)
from disburse.operations import policies
from disburse.operations.merchants import find_merchant
from disburse.operations.operators import NeedsOperator, is_person
from disburse.operations.policies import Answered, Item, Need, Say, Standing
from disburse.operations.registry_rules import Terms, rules_of
from disburse.operations.registry_since import asked_since
from disburse.storage import merchants, registries
from disburse.storage.database import Database, Transaction
from disburse.storage.registries import Ends, Registry, Result
from disburse.storage.unit import Unit

__all__ = ["ENDS", "Registry", "Result", "Standings", "Start", "answer", "cancel", "drift", "find", "gaps", "look",
           "of_merchant", "outcome_of", "page", "plan_of", "start", "totals_of"]  # fmt: skip

_S, _T = RegistryState, RegistryStep
_DIGESTS: Final = 20
"""So many chunks are compared by one question."""


class NoSuchRegistry(Refusal):
    """There is no such registry."""


class NotAllGood(Refusal):
    """Some rows cannot be paid, or are asked about."""

    def __init__(self, bad: int, held: int) -> None:
        self.bad, self.held = bad, held
        super().__init__(f"{bad} rows are bad and {held} are held. Nothing was done.")


class NothingToPay(Refusal):
    """The registry has no good row."""


class AppliedBefore(Refusal):
    """The same content was applied before."""

    def __init__(self, other: UUID) -> None:
        self.other = other
        super().__init__(f"The same rows were applied before, as registry {other}. Nothing was done.")


class FundingGap(Refusal):
    """The available balance does not cover the registry."""

    def __init__(self, gaps: Sequence[Money]) -> None:
        self.gaps = tuple(gaps)
        super().__init__(f"The balance lacks {', '.join(str(gap) for gap in gaps)}. Nothing was done.")


class PayoutsNotOn(Refusal):
    """This merchant's payouts are switched off."""


# --- looking -------------------------------------------------------------------------------------------------------------


async def find(database: Database, identifier: UUID, *, merchant: Merchant | None = None) -> Registry:
    """A registry. Raises NoSuchRegistry, also for one of another merchant than the one that is named."""
    found = await database.ask(lambda tx: registries.by_id(tx, shard_of_payout(identifier), identifier))
    if found is None or (merchant is not None and found.merchant_id != merchant.merchant_id):
        raise NoSuchRegistry()
    return found


@dataclass(frozen=True, slots=True)
class Standings:
    """A registry with how its payouts stand and who must agree to it."""

    registry: Registry
    ends: Ends
    approval: Standing | None


async def look(database: Database, identifier: UUID, *, merchant: Merchant | None = None) -> Standings:
    """A registry as it stands. Raises NoSuchRegistry, StoreUnavailable."""
    registry = await find(database, identifier, merchant=merchant)

    async def work(tx: Transaction) -> tuple[Ends, Standing | None]:
        told = await registries.ends(tx, registry.shard, registry.registry_id)
        return told, await policies.standing(tx, registry.shard, registry.registry_id)

    return Standings(registry, *await database.ask(work))


async def page(database: Database, registry: Registry, after: int, limit: int, *, only: str | None = None) -> list[Result]:
    """Rows after a number, in the file's order, with what became of them. Raises StoreUnavailable."""
    return await database.ask(lambda tx: registries.results(tx, registry.shard, registry.registry_id, after, limit, only=only))


async def of_merchant(database: Database, merchant: Merchant, before: UUID | None, limit: int) -> list[Registry]:
    """A merchant's registries, newest first. Raises StoreUnavailable."""
    return await database.ask(lambda tx: registries.of_merchant(tx, merchant.shard, merchant.merchant_id, before, limit))


def outcome_of(row: Result) -> str:
    """What became of a row, in a word: its payout's state, or why there is none."""
    if row.verdict != "good":
        return row.verdict
    if row.fate == "refused":
        return "refused"
    return row.state if row.state is not None else "not_applied"


def plan_of(registry: Registry) -> dict[str, Any]:
    """The stored plan. Raises WrongRegistryState where there is none yet."""
    if registry.plan is None:
        raise WrongRegistryState(registry.state, _T.EXECUTE)
    plan: dict[str, Any] = msgspec.json.decode(registry.plan)
    return plan


def totals_of(registry: Registry) -> list[tuple[str, str, int, int, int]]:
    """Rail, currency, rows, amount and fee in minor units of the good rows."""
    return [(str(rail), str(currency), int(n), int(amount), int(cost)) for rail, currency, n, amount, cost in plan_of(registry)["totals"]]


async def gaps(database: Database, registry: Registry) -> list[Money]:
    """What the merchant's available balance lacks for the whole registry, by currency."""
    needed: dict[str, int] = {}
    for _, currency, _, amount, cost in totals_of(registry):
        needed[currency] = needed.get(currency, 0) + amount + cost
    held = await database.ask(lambda tx: merchants.balances(tx, registry.shard, registry.merchant_id))
    available = {currency: minor for currency, account, minor in held if account == "available"}
    return [
        Money(min(minor - available.get(currency, 0), MAX_MINOR), currency)
        for currency, minor in sorted(needed.items())
        if minor > available.get(currency, 0)
    ]


# --- drift ---------------------------------------------------------------------------------------------------------------


async def drift(terms: Terms, merchant: Merchant, registry: Registry, told: Callable[[int], None] = lambda rows: None) -> list[Drift]:
    """What is not as it was planned: rules, and rows. `told` hears how many chunks were compared."""
    plan = plan_of(registry)
    found = drift_of_rules(plan["rules"], rules_of(terms, merchant, {(rail, currency) for rail, currency, *_ in plan["totals"]}))
    stored: list[bytes] = []
    while True:
        first = len(stored) + 1
        ask = partial(registries.planned_digest, shard=registry.shard, registry=registry.registry_id, first_chunk=first, chunks=_DIGESTS)
        chunks = await terms.desk.database.ask(ask)
        found += [Drift(f"rows of piece {chunk}", was.hex()[:16], (now or b"").hex()[:16] or "gone") for chunk, was, now in chunks if was != now]
        stored += [was for _, was, _ in chunks]
        told(len(stored))
        if len(chunks) < _DIGESTS:
            break
    if not same(rows_digest(stored), registry.rows_digest):
        found.append(Drift("rows", (registry.rows_digest or b"").hex()[:16], rows_digest(stored).hex()[:16]))
    return found


# --- applying ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Apply a registry as its digest says. `actor`: who asked. `again`: although the same content was applied before."""

    registry_id: UUID
    digest: bytes
    only_good: bool
    actor: str
    again: bool = False


async def start(terms: Terms, command: Start, *, merchant: Merchant | None = None, told: Callable[[int], None] = lambda rows: None) -> Registry:
    """Let a registry begin, or ask persons first; one that began before comes back as it stands. It is the registry as it is then.

    Raises Drifted, NotAllGood, NothingToPay, FundingGap, PayoutsNotOn, AppliedBefore, WrongRegistryState, NoSuchRegistry, StoreUnavailable.
    """
    database = terms.desk.database
    registry = await find(database, command.registry_id, merchant=merchant)
    if not same(registry.digest, command.digest):
        raise Drifted([Drift("plan", command.digest.hex()[:16], (registry.digest or b"").hex()[:16] or "not made")])
    if registry.state not in (_S.PLANNED, _S.APPROVED):
        if registry.state in (_S.CANCELLED, _S.UPLOADED):
            raise WrongRegistryState(registry.state, _T.EXECUTE)
        return registry
    only_good = registry.only_good if registry.state is _S.APPROVED else command.only_good
    if not only_good and registry.bad + registry.held:
        raise NotAllGood(registry.bad, registry.held)
    if registry.good == 0:
        raise NothingToPay()
    who = await find_merchant(database, str(registry.merchant_id))
    changed = await drift(terms, who, registry, told)
    changed = changed or await asked_since(terms, who, registry, plan_of(registry).get("pay", ""))
    if changed:
        raise Drifted(changed)
    if who.payouts != "on":
        raise PayoutsNotOn()
    lacking = await gaps(database, registry)
    if lacking:
        raise FundingGap(lacking)
    at = terms.desk.world.clock.now()

    async def work(tx: Transaction) -> Registry | Refusal:
        unit = await Unit.lock(tx, registry.shard, [registry.merchant_id])
        now = await registries.by_id(tx, registry.shard, registry.registry_id)
        if now is None or not same(now.digest, command.digest):
            raise AssertionError("a planned registry changed")
        if now.state is not registry.state:
            return now  # somebody else was quicker, or ours was committed before
        before = await registries.applied_before(tx, now) if now.state is _S.PLANNED else None
        if before is not None and not (command.again or now.again):
            return AppliedBefore(before)
        persons = _persons(who, now, before) if now.state is _S.PLANNED else 0
        if (before is not None or now.again) and persons and command.actor == "cli":
            return NeedsOperator()
        step = _T.ASK_APPROVAL if persons else _T.EXECUTE
        if persons:
            policies.ask(unit, _need(now, before, persons, only_good, at, command.actor))
        moved = advance(now.state, step)
        await registries.move(tx, now, moved, at, only_good=only_good, asked_by=command.actor, repeats=True if before is not None else None)
        unit.event(now.merchant_id, None, f"registry.{moved}", at, command.actor, detail=str(now.registry_id))
        await unit.write()
        return await registries.by_id(tx, now.shard, now.registry_id) or now

    result = await database.run(work)
    if isinstance(result, Refusal):
        raise result
    terms.desk.on_written()
    return result


def _persons(merchant: Merchant, registry: Registry, before: UUID | None) -> int:
    """How many must agree: by the merchant's policies; and at least one where the same content was applied before."""
    items = [Item(rail, currency, amount) for rail, currency, _, amount, _ in totals_of(registry)]
    return max(policies.persons_needed(merchant, items), int(registry.again or before is not None))


def _need(registry: Registry, before: UUID | None, persons: int, only_good: bool, at: Any, actor: str) -> Need:
    sums: dict[str, int] = {}
    for _, currency, _, amount, _ in totals_of(registry):
        sums[currency] = sums.get(currency, 0) + amount
    money = ", ".join(str(Money(minor, currency)) if minor <= MAX_MINOR else f"more than {MAX_MINOR} {currency}" for currency, minor in sorted(sums.items()))
    left_out = f", leaving out {registry.bad + registry.held} rows" if only_good and registry.bad + registry.held else ""
    again = f"; the same rows were applied before, as registry {before}" if before is not None else ""
    again += "; rows without a reference are paid even if they were paid before" if registry.again else ""
    maker = actor if is_person(actor) else registry.actor
    summary = f"registry {registry.file_name}: {registry.good} payouts of {money}{left_out}{again}"
    return Need(registry.registry_id, registry.digest or b"", registry.merchant_id, "registry", persons, summary, maker, at, actor)


# --- persons -------------------------------------------------------------------------------------------------------------


async def _unchanged(unit: Unit, need: Need) -> Refusal | None:
    """A registry can be agreed to while it waits for that, and only as it was planned."""
    registry = await registries.by_id(unit.tx, unit.shard, need.subject_id)
    if registry is None or not same(registry.digest, need.digest):
        return policies.ChangedSince()
    return None if registry.state is _S.AWAITING_APPROVAL else WrongRegistryState(registry.state, _T.APPROVE)


async def _answered(unit: Unit, standing: Standing, say: Say) -> str | Refusal:
    """Enough persons agreed: the registrar may begin. One said no: it is over."""
    registry = await registries.by_id(unit.tx, unit.shard, standing.need.subject_id)
    if registry is None:
        return NoSuchRegistry()
    state = advance(registry.state, _T.APPROVE if standing.approved else _T.CANCEL)
    await registries.move(unit.tx, registry, state, say.at)
    unit.event(registry.merchant_id, None, f"registry.{state}", say.at, say.actor, detail=str(registry.registry_id))
    return str(state)


ENDS: Final = {"registry": (_unchanged, _answered)}
"""What becomes of a registry once persons have agreed, or one has refused (`policies.say`)."""


async def answer(terms: Terms, say: Say) -> Answered:
    """One person's yes or no. Raises what `policies.say` refuses, StoreUnavailable."""
    result = await terms.desk.database.run(lambda tx: policies.say(tx, shard_of_payout(say.subject_id), say, ENDS))
    if isinstance(result, Refusal):
        raise result
    terms.desk.on_written()
    return result


async def cancel(terms: Terms, identifier: UUID, actor: str, *, merchant: Merchant | None = None) -> Registry:
    """Stop a registry. What was not begun is cancelled; of one under way the rest of the rows is given up. Payouts that were made go on.

    Raises WrongRegistryState, NoSuchRegistry, StoreUnavailable.
    """
    database, at = terms.desk.database, terms.desk.world.clock.now()
    registry = await find(database, identifier, merchant=merchant)

    async def work(tx: Transaction) -> Registry | Refusal:
        unit = await Unit.lock(tx, registry.shard, [registry.merchant_id])
        now = await registries.by_id(tx, registry.shard, identifier)
        if now is None:
            return NoSuchRegistry()
        if now.state is _S.CANCELLED or (now.state is _S.EXECUTING and now.left == 0):
            return now
        if now.state is _S.EXECUTING:
            await registries.give_up(tx, now, at)
            kind = "registry.stopped"
        else:
            if now.state in FINAL:
                return WrongRegistryState(now.state, _T.CANCEL)
            await registries.move(tx, now, advance(now.state, _T.CANCEL), at)
            kind = "registry.cancelled"
        unit.event(now.merchant_id, None, kind, at, actor, detail=str(identifier))
        await unit.write()
        return await registries.by_id(tx, registry.shard, identifier) or now

    result = await database.run(work)
    if isinstance(result, Refusal):
        raise result
    return result
