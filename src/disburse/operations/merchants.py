"""Merchants: made, changed, funded, recognised. What a merchant may do is in `storage/merchants.py`'s `Merchant`.

Secrets are made here, shown once, and kept as digests. The rows by which a merchant is found (login, tokens, keys) are
written in transactions of their own, since they may lie in another bucket than the merchant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from disburse.domain import ledger
from disburse.domain.identifiers import MERCHANTS, payout_id
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR, Money
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.operations.payouts import NoSuchMerchant
from disburse.operations.secrets import digest, new_secret
from disburse.storage import api_keys, merchants
from disburse.storage.api_keys import ApiKey
from disburse.storage.database import Database, Transaction
from disburse.storage.limits import set_ruled
from disburse.storage.unit import Unit
from disburse.storage.vault import Vault


class LoginTaken(Refusal):
    """Another merchant has this login."""


class TooManyMerchants(Refusal):
    """An installation holds at most 1,048,575 merchants."""


class ReferenceReused(Refusal):
    """A top-up with this reference and another amount or currency exists."""


class AccountFull(Refusal):
    """An account holds at most 10**15 minor units of a currency, what is reserved for payouts included."""

    def __init__(self) -> None:
        super().__init__("With this top-up the account would hold more than it can.")


@dataclass(frozen=True, slots=True)
class NewMerchant:
    """A merchant just made, with its secrets in clear: they are shown once and can be replaced, never read again."""

    merchant: Merchant
    password: str
    unitpay_secret_key: str
    unitpay_test_key: str
    bearer_token: str
    sign_secret_key: str
    api_key: str

    def __repr__(self) -> str:
        return f"NewMerchant({self.merchant.merchant_id})"


async def add_merchant(
    database: Database,
    world: World,
    vault: Vault,
    *,
    name: str,
    login: str,
    actor: str,
    pci_dss: bool = False,
    sbp_bank: str | None = None,
    shard: int = 0,
    settings: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> NewMerchant:
    """Make a merchant. Raises LoginTaken. `secrets` replaces made ones, for tests that replay documented requests."""
    login = login.strip().lower()

    async def number(tx: Transaction) -> int:
        if await merchants.find(tx, "login", digest(login)) is not None:
            raise LoginTaken()
        return await merchants.next_number(tx)

    merchant_id = await database.run(number)
    if merchant_id >= MERCHANTS:
        raise TooManyMerchants()
    names = ("password", "unitpay_secret_key", "unitpay_test_key", "bearer_token", "sign_secret_key")
    made = {**{one: new_secret(world.random) for one in names}, "api_key": new_secret(world.random, "dsb_"), **(secrets or {})}
    merchant = Merchant(
        shard=shard, merchant_id=merchant_id, name=name, login=login, payouts="on", pci_dss=pci_dss, require_sign=False,
        sbp_bank=sbp_bank, answer_wait_ms=2000, payout_id_as_number=False, json_by_default=False, state_word=None,
        language="ru", eshop_id=None, project_id=merchant_id, fees="{}", password_digest=digest(made["password"]),
        unitpay_key_digest=digest(made["unitpay_secret_key"]), unitpay_test_key_digest=digest(made["unitpay_test_key"]),
        bearer_digest=digest(made["bearer_token"]), api_key_digest=digest(made["api_key"]),
        sign_key_sealed=vault.seal_secret(made["sign_secret_key"].encode(), merchant_id=merchant_id),
    )  # fmt: skip
    at = world.clock.now()
    first = _first_key(merchant, made["api_key"][-4:], at)

    async def insert(tx: Transaction) -> None:
        if tx.rerun and await merchants.read(tx, shard, merchant_id) is not None:
            return
        await merchants.insert(tx, merchant, at, actor)
        await api_keys.insert(tx, shard, first, actor)
        if settings:
            await merchants.update(tx, shard, merchant_id, settings)
            await set_ruled(tx, shard, merchant_id)

    await database.run(insert)
    keys = {"login": digest(login), "bearer": merchant.bearer_digest, "api_key": merchant.api_key_digest}
    for kind, key in keys.items():
        added = await database.run(lambda tx, kind=kind, key=key: merchants.add_lookup(tx, kind, key, shard, merchant_id))  # type: ignore[misc]
        if not added:
            raise LoginTaken()
    return NewMerchant(merchant, **made)


def _first_key(merchant: Merchant, ending: str, at: datetime) -> ApiKey:
    """The key that a merchant is made with; its id is as the migration made it for merchants that were there before."""
    identifier = UUID(bytes=digest(f"api key {merchant.merchant_id}")[:16])
    return ApiKey(identifier, merchant.merchant_id, "first", merchant.api_key_digest, ending, at, None)


async def set_merchant(
    database: Database, merchant: Merchant, changes: Mapping[str, Any], *, at: datetime, actor: str
) -> None:
    """Change a merchant's settings and tell it in an event."""

    async def work(tx: Transaction) -> None:
        unit = await Unit.lock(tx, merchant.shard, [merchant.merchant_id])
        await merchants.update(tx, merchant.shard, merchant.merchant_id, changes)
        await set_ruled(tx, merchant.shard, merchant.merchant_id)
        detail = ", ".join(sorted(changes))
        unit.event(merchant.merchant_id, None, "merchant.changed", at, actor, detail=detail)
        await unit.write()
        await merchants.settings_changed(tx)

    await database.run(work)


async def find_merchant(database: Database, who: str) -> Merchant:
    """A merchant by id or login. Raises NoSuchMerchant."""

    async def work(tx: Transaction) -> Merchant | None:
        place: tuple[int, int] | None = None
        if who.isascii() and who.isdigit() and len(who) <= 7:
            shard = await tx.fetchval("SELECT shard FROM merchant_settings WHERE merchant_id = $1", int(who))
            place = (shard, int(who)) if shard is not None else None
        place = place or await merchants.find(tx, "login", digest(who.strip().lower()))
        return await merchants.read(tx, *place) if place else None

    merchant = await database.run(work)
    if merchant is None:
        raise NoSuchMerchant()
    return merchant


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money that came in for a merchant. A known reference changes nothing."""

    top_up_id: UUID
    merchant_id: int
    reference: str
    amount: Money
    at: datetime
    actor: str


def draw_top_up(
    world: World, merchant: Merchant, amount: Money, *, actor: str, reference: str | None = None
) -> TopUp:
    """A top-up with its id and time drawn; without a reference its id is its reference."""
    at = world.clock.now()
    identifier = payout_id(merchant.shard, at, world.random.bytes(10))
    return TopUp(identifier, merchant.merchant_id, reference or str(identifier), amount, at, actor)


async def top_up(tx: Transaction, shard: int, commands: Sequence[TopUp]) -> list[bool | Refusal]:
    """Book each top-up once by its reference; False for one that was booked before, a refusal where its content differs.

    Run again after an unknown commit, it knows its own by their ids.
    """
    unit = await Unit.lock(tx, shard, [command.merchant_id for command in commands])
    rows = await tx.fetch(
        """SELECT t.merchant_id, t.reference, t.currency, t.amount_minor, t.top_up_id
           FROM unnest($2::int4[], $3::text[]) AS d (m, r)
           JOIN top_ups t ON t.shard = $1 AND t.merchant_id = d.m AND t.reference = d.r""",
        shard,
        [command.merchant_id for command in commands],
        [command.reference for command in commands],
    )
    known = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    ours = {row[4] for row in rows}  # a run whose commit we did not hear of may have booked ours
    holds = await _on_account(tx, shard, commands)
    results: list[bool | Refusal] = []
    for command in commands:
        key, content = (command.merchant_id, command.reference), (command.amount.currency, command.amount.minor)
        if not unit.knows(command.merchant_id):
            results.append(NoSuchMerchant())
        elif key in known:
            results.append(command.top_up_id in ours if known[key] == content else ReferenceReused())
        elif holds.get((command.merchant_id, content[0]), 0) + content[1] > MAX_MINOR:
            results.append(AccountFull())
        else:
            known[key] = content
            holds[command.merchant_id, content[0]] = holds.get((command.merchant_id, content[0]), 0) + content[1]
            _book(unit, command)
            results.append(True)
    await unit.write()
    return results


async def _on_account(tx: Transaction, shard: int, commands: Sequence[TopUp]) -> dict[tuple[int, str], int]:
    """What these merchants hold by currency, minor units: available, and reserved for payouts without an end."""
    rows = await tx.fetch(
        """SELECT merchant_id, currency, sum(balance_minor)::int8 FROM balances
           WHERE shard = $1 AND merchant_id = ANY ($2::int4[])
             AND (account IN ('available', 'held') OR starts_with(account, 'in_flight:') OR starts_with(account, 'in_doubt:'))
           GROUP BY merchant_id, currency""",
        shard,
        [command.merchant_id for command in commands],
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _book(unit: Unit, command: TopUp) -> None:
    amount = command.amount
    posting = ledger.top_up(command.merchant_id, amount.currency, amount.minor, command.top_up_id)
    unit.post([posting], command.at, command.actor)
    unit.add("top_ups", (unit.place(command.merchant_id), command.reference, command.top_up_id, amount.currency, amount.minor, command.at,
                         command.actor))  # fmt: skip
    unit.event(command.merchant_id, None, "top_up", command.at, command.actor, detail=f"{amount} {command.reference}")
