"""Reading what a person typed: names, logins, references, fees. Pure. Lives here: the strict checks that no door makes.

Everything raises BadUsage with what would be right. Nothing that is refused is repeated unless it can be printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from disburse.cli.mistakes import BadUsage
from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule
from disburse.domain.limits import ALL, PAYEE, Limit, Period
from disburse.domain.money import read_amount, read_currency
from disburse.domain.policies import ANY, Policy
from disburse.storage.zones import zone_of

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LONGEST_NAME: Final = 254
LONGEST_LOGIN: Final = 254
LONGEST_REFERENCE: Final = 255

# Deliberately plain: ASCII, one @, a dotted domain. Whatever this refuses, nobody receives mail at.
_LOGIN: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
_LIMIT: Final = re.compile(
    r"(?P<period>payout|day|month)(?:/(?P<scope>[a-z]+))?:(?P<currency>[A-Z]{3,5})=(?P<value>none|#[0-9]{1,9}|[0-9][0-9.]{0,22})"
)
_APPROVAL: Final = re.compile(r"(?P<rail>[a-z]+):(?P<currency>[A-Z]{3,5}):(?P<above>[0-9][0-9.]{0,22})=(?P<persons>[0-9])")
_FEE: Final = re.compile(
    r"(?P<rail>[a-z]+)=(?:default|(?P<points>[0-9]{1,5})(?::(?P<least>[0-9]{1,15})(?::(?P<most>[0-9]{1,15}))?)?)"
)


def read_name(text: str, what: str) -> str:
    """A name to show: 1 to 254 characters that can be printed, spaces folded."""
    folded = " ".join(text.split())
    if not folded or len(folded) > LONGEST_NAME or not text.isprintable():
        raise BadUsage(f"{what} has 1 to {LONGEST_NAME} characters, all of them printable.")
    return folded


def read_login(text: str) -> str:
    """A login, which is an e-mail address, in lower case."""
    local = text.partition("@")[0]
    if (
        len(text) > LONGEST_LOGIN
        or _LOGIN.fullmatch(text) is None
        or ".." in local
        or local[:1] == "."
        or local[-1:] == "."
    ):
        raise BadUsage(f"A login is an e-mail address of at most {LONGEST_LOGIN} characters, such as pay@shop.example.")
    return text.lower()


def read_reference(text: str) -> str:
    """A top-up's reference."""
    if not text.strip() or text != text.strip() or len(text) > LONGEST_REFERENCE or not text.isprintable():
        raise BadUsage(
            f"A reference has 1 to {LONGEST_REFERENCE} printable characters and neither begins nor ends with a space."
        )
    return text


def read_fee(text: str) -> tuple[str, FeeRule | None]:
    """`RAIL=BPS[:MIN[:MAX]]`, or `RAIL=default` (None): the rail and its rule."""
    match = _FEE.fullmatch(text)
    if match is None:
        raise BadUsage(
            "A fee is RAIL=BPS[:MIN[:MAX]] in basis points and minor units, such as card=150:3000, or RAIL=default."
        )
    rail = match["rail"]
    if rail not in [str(one) for one in Rail]:
        raise BadUsage(f"There is no rail called {rail}. Known: {', '.join(Rail)}.")
    if match["points"] is None:
        return rail, None
    try:
        return rail, FeeRule(
            int(match["points"]), int(match["least"] or 0), int(match["most"]) if match["most"] else None
        )
    except AssertionError as fault:
        raise BadUsage(f"The fee of {rail} is wrong: {fault}.") from None


def read_limit(text: str, known: Sequence[Limit]) -> list[Limit]:
    """These limits with one more: `PERIOD[/RAIL|/payee]:CURRENCY=SUM`, `=#COUNT`, or `=none` to take sum and count away."""
    match = _LIMIT.fullmatch(text)
    scope = (match["scope"] if match is not None else None) or ALL
    if match is None or scope not in (ALL, PAYEE, *[str(rail) for rail in Rail]):
        raise BadUsage(
            "A limit is PERIOD:CURRENCY=SUM or =#COUNT, for one rail or each payee PERIOD/RAIL or PERIOD/payee, such as day/card:RUB=50000.00 "
            "or month/payee:RUB=#3; periods are payout, day, month; =none takes it away."
        )
    period, currency, value = Period(match["period"]), read_currency(match["currency"]), match["value"]
    same = [one for one in known if (one.period, one.scope, one.currency) == (period, scope, currency)]
    others = [one for one in known if one not in same]
    if value == "none":
        if not same:
            raise BadUsage(f"There is no limit {text.partition('=')[0]}.")
        return others
    minor, count = (same[0].sum_minor, same[0].count) if same else (None, None)
    if value.startswith("#"):
        count = int(value[1:])
    else:
        minor = read_amount(value, currency).minor
    if period is Period.PAYOUT and (scope == PAYEE or count is not None):
        raise BadUsage("A limit of one payout has a sum alone, and concerns every payee.")
    return [*others, Limit(period, scope, currency, minor, count)]


def read_approval(text: str, known: Sequence[Policy]) -> list[Policy]:
    """These policies with one more: `RAIL|any:CURRENCY:ABOVE=PERSONS`; 0 persons take it away."""
    match = _APPROVAL.fullmatch(text)
    if match is None or match["rail"] not in (ANY, *[str(rail) for rail in Rail]):
        raise BadUsage("An approval is RAIL:CURRENCY:ABOVE=PERSONS or any:CURRENCY:ABOVE=PERSONS, such as any:RUB:100000=2; =0 takes it away.")
    currency = read_currency(match["currency"])
    above, persons = read_amount(match["above"], currency).minor, int(match["persons"])
    others = [one for one in known if (one.rail, one.currency, one.above_minor) != (match["rail"], currency, above)]
    if persons == 0 and len(others) == len(known):
        raise BadUsage(f"There is no approval {text.partition('=')[0]}.")
    return [*others, Policy(match["rail"], currency, above, persons)] if persons else others


def read_zone(name: str) -> str:
    """A time zone that this machine knows."""
    try:
        zone_of(name)
    except (KeyError, ValueError, OSError):
        raise BadUsage("A time zone is a name such as Europe/Moscow or UTC, and known on this machine.") from None
    return name


def read_id(text: str) -> UUID | None:
    """An id of ours in the one form that we write; None for anything else, which names nothing."""
    return UUID(text) if _ID.fullmatch(text) else None
