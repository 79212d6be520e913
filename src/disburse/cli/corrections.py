"""`disburse top-up reverse` and `disburse withdraw`: money that leaves a merchant's account for outside, by two persons."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from disburse.cli.place import HERE, Place, run
from disburse.cli.second_yes import ask, new_request, person, read_evidence, tell
from disburse.cli.words import read_reference
from disburse.domain.handed_in import HandedIn, hand_in
from disburse.domain.money import read_currency, read_positive_amount
from disburse.operations.approvals import Asked, ReverseTopUp, Withdraw
from disburse.operations.merchants import find_merchant
from disburse.storage.reports_requests import Told
from disburse.wiring import House

Evidence = Annotated[str | None, Parameter(help="Why, and what shows it: a text, or @FILE. The second person reads it.")]


def _handed_in(evidence: str | None) -> HandedIn:
    return hand_in(b"") if evidence is None else read_evidence(evidence)


def reverse(merchant: str, reference: str, /, *, evidence: Evidence = None, place: Place = HERE) -> None:
    """Ask that a top-up be turned round, once and whole. A second person has to agree; the available money has to cover it.

    Parameters
    ----------
    merchant:
        Its id or login.
    reference:
        The top-up's reference.
    """
    name, handed_in = read_reference(reference), _handed_in(evidence)

    async def work(house: House) -> tuple[Asked, Told]:
        who = await person(house)
        found = await find_merchant(house.database, merchant)
        identifier, now = new_request(house, found.shard)
        return await ask(house, found.shard, ReverseTopUp(identifier, found.merchant_id, name, handed_in, now, who))

    tell(*run(place, work), place.json)


def withdraw(
    merchant: str,
    amount: str,
    currency: str,
    /,
    *,
    reference: Annotated[str | None, Parameter(help="Names this withdrawal: the same reference is done once, for ever.")] = None,
    evidence: Evidence = None,
    place: Place = HERE,
) -> None:
    """Ask that money leave a merchant's account for outside. A second person has to agree; the available money has to cover it.

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
    handed_in = _handed_in(evidence)

    async def work(house: House) -> tuple[Asked, Told]:
        who = await person(house)
        found = await find_merchant(house.database, merchant)
        identifier, now = new_request(house, found.shard)
        command = Withdraw(identifier, found.merchant_id, name or str(identifier), money, handed_in, now, who)
        return await ask(house, found.shard, command)

    tell(*run(place, work), place.json)
