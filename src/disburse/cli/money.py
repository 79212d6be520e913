"""`disburse top-up` and `disburse balance`: a merchant's money, coming in and as it stands."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.corrections import reverse
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.words import read_reference
from disburse.domain.merchant import Merchant
from disburse.domain.money import minor_text, read_currency, read_positive_amount
from disburse.domain.refusals import Refusal
from disburse.operations.merchants import TopUp, draw_top_up, find_merchant
from disburse.storage.database import Transaction
from disburse.storage.merchants import balances
from disburse.wiring import House

_MEANING: Final = {
    "funding": "came in from outside, so it is negative",
    "available": "may be paid out",
    "held": "set aside for payouts, with their fees",
    "in_flight": "on its way through",
    "in_doubt": "perhaps paid, perhaps not, by",
    "paid": "paid by",
    "fees": "charged",
    "suspense": "contradictions of",
}


app = group("top-up")
app.command(reverse)


@app.default
def top_up(
    merchant: str,
    amount: str,
    currency: str,
    /,
    *,
    reference: Annotated[
        str | None, Parameter(help="Names this payment: the same reference is booked once, for ever.")
    ] = None,
    place: Place = HERE,
) -> None:
    """Book money that came in for a merchant.

    Parameters
    ----------
    merchant:
        Its id or login.
    amount:
        Such as 1000 or 1000.50.
    currency:
        Such as RUB, USDT, or TST (test money).
    """
    money = read_positive_amount(amount, read_currency(currency))
    name = read_reference(reference) if reference is not None else None

    async def work(house: House) -> tuple[TopUp, bool, int]:
        who = await actor(house)
        found = await find_merchant(house.database, merchant)
        command = draw_top_up(house.world, found, money, actor=who, reference=name)
        fresh = await house.desk.top_up(found, command)
        if isinstance(fresh, Refusal):
            raise fresh
        rows = await _balances(house, found)
        return (
            command,
            fresh,
            next((minor for of, account, minor in rows if (of, account) == (currency, "available")), 0),
        )

    command, fresh, left = run(place, work)
    available = minor_text(left, currency)
    if place.json:
        show.say_json({
            "merchant_id": command.merchant_id, "reference": command.reference, "amount": money.text(),
            "currency": currency, "booked": fresh, "available": available,
        })  # fmt: skip
        return
    if fresh:
        show.say(f"Booked {money} for merchant {command.merchant_id} under the reference {command.reference}.")
    else:
        show.say(f"The reference {command.reference} was booked before, with the same content: nothing changed.")
    show.say(f"Available: {available} {currency}.")


def balance(merchant: str, /, *, place: Place = HERE) -> None:
    """Show a merchant's money, account by account.

    Parameters
    ----------
    merchant:
        Its id or login.
    """

    async def work(house: House) -> tuple[Merchant, list[tuple[str, str, int]]]:
        found = await find_merchant(house.database, merchant)
        return found, await _balances(house, found)

    found, rows = run(place, work)
    if place.json:
        show.say_json({"merchant_id": found.merchant_id, "login": found.login, "balances": _by_currency(rows)})
        return
    if not rows:
        show.say(f"{found.login} has no money yet. Next: disburse top-up {found.merchant_id} AMOUNT CURRENCY")
        return
    lines = [(currency, account, minor_text(minor, currency), _meaning(account)) for currency, account, minor in rows]
    show.table(
        ("currency", "account", "amount", "what it is"), lines, title=f"{found.name} ({found.login})", right=("amount",)
    )


async def _balances(house: House, merchant: Merchant) -> list[tuple[str, str, int]]:
    async def work(tx: Transaction) -> list[tuple[str, str, int]]:
        return await balances(tx, merchant.shard, merchant.merchant_id)

    return await house.database.run(work)


def _by_currency(rows: list[tuple[str, str, int]]) -> dict[str, dict[str, Any]]:
    """Amounts by currency and account; `available` and `held` are always there."""
    shown: dict[str, dict[str, Any]] = {}
    for currency, account, minor in rows:
        zero = minor_text(0, currency)
        shown.setdefault(currency, {"available": zero, "held": zero})[account] = minor_text(minor, currency)
    return shown


def _meaning(account: str) -> str:
    kind, _, connector = account.partition(":")
    return f"{_MEANING.get(kind, '')} {connector}".strip()
