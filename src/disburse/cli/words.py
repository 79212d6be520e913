"""Reading what a person typed: names, logins, references, fees. Pure. Lives here: the strict checks that no door makes.

Everything raises BadUsage with what would be right. Nothing that is refused is repeated unless it can be printed.
"""

from __future__ import annotations

import re
from typing import Final

from disburse.cli.mistakes import BadUsage
from disburse.domain.destinations import Rail
from disburse.domain.fees import FeeRule

LONGEST_NAME: Final = 254
LONGEST_LOGIN: Final = 254
LONGEST_REFERENCE: Final = 255

# Deliberately plain: ASCII, one @, a dotted domain. Whatever this refuses, nobody receives mail at.
_LOGIN: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
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
