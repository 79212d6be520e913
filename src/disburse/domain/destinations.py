"""Destinations: where money lands, how such details are read, shown, and turned into bytes for sealing.

Lives here: the rails, `Destination`, one reader a rail, the one function that masks. May not live here: which bank is
a member of SBP (`disburse.data`), card schemes (`domain/cards.py`), encryption (`storage/vault.py`), what a provider
accepts.

The full number exists in three places only: in a Destination in memory, sealed in the database, and on the wire to the
provider. So `repr`, `str` and every refusal here are masked, and a Destination cannot be pickled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, SupportsIndex

from disburse.domain.checks import card_fault, checksummed_ethereum_address, is_bank_account, is_tron_address
from disburse.domain.refusals import Refusal


class Rail(StrEnum):
    """The network a payout travels on."""

    CARD = "card"
    SBP = "sbp"
    WEBMONEY = "webmoney"
    QIWI = "qiwi"
    USDT = "usdt"
    ACCOUNT = "account"


class BadDestination(Refusal):
    """The destination cannot be paid to. `field` is "number", "bank" or "name"; `why` reads after the field's name.

    Nothing of what was sent is in it, so it may be logged and answered as it is.
    """

    def __init__(self, rail: Rail, field: str, why: str) -> None:
        self.rail, self.field, self.why = rail, field, why
        super().__init__(f"The {rail} {field} {why}.")


TRC20: Final = "TRC20"
ERC20: Final = "ERC20"

_LONGEST_INPUT: Final = 64  # longer text is refused unread; the longest detail of any rail has 42 characters
_WEBMONEY_LETTERS: Final = "BEFGHKLPRTUVXYZ"  # purse kinds that hold money; credit purses (C, D) do not receive payouts

_CARD: Final = re.compile(r"[0-9]{12,20}")
_PHONE: Final = re.compile(r"7[3-9][0-9]{9}")
_MEMBER: Final = re.compile(r"[0-9]{12}|(?=[0-9]*[A-Za-z])[0-9A-Za-z]{1,20}")  # test members do not have 12 digits
_WALLET: Final = re.compile(r"[0-9]{10,15}")
_PURSE: Final = re.compile(rf"[{_WEBMONEY_LETTERS}][0-9]{{12}}")
_TRON: Final = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_ETHEREUM: Final = re.compile(r"0x([0-9a-fA-F]{40})")
_ACCOUNT: Final = re.compile(r"[0-9]{20}")
_BIK: Final = re.compile(r"[0-2][0-9]{8}")

_CARD_MARKS: Final = str.maketrans("", "", " -")
_PHONE_MARKS: Final = str.maketrans("", "", " -()")


# --- what a destination is ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class Destination:
    """Where one payout lands, normalised; made by the readers below, or `from_bytes`. Its repr and str are masked.

    `bank` is the SBP member or the BIK, `network` the USDT chain, `name` the payee's.
    """

    rail: Rail
    number: str
    bank: str | None = None
    name: str | None = None
    network: str | None = None

    def display(self) -> str:
        """What people may see: a card's first six and last four, and less of what is shorter (see `mask`)."""
        return mask(self.rail, self.number)

    @property
    def last4(self) -> str:
        """The last four characters of the number."""
        return self.number[-4:]

    def __repr__(self) -> str:
        return f"Destination({self.rail} {self.display()})"

    def __str__(self) -> str:
        return self.display()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a destination is not pickled or copied: seal its bytes")

    def named(self, name: str) -> Destination:
        """The same destination with the payee's name, white space folded. Raises BadDestination (field "name").

        2 to 50 characters (intellectmoney.md section 6); controls, surrogates and direction marks are refused.
        """
        spaced = name.replace("\u00a0", " ")
        if len(spaced) > 200 or not spaced.isprintable():
            raise BadDestination(self.rail, "name", "is too long, or has characters that cannot be printed")
        folded = " ".join(spaced.split())
        if not 2 <= len(folded) <= 50:
            raise BadDestination(self.rail, "name", "has not 2 to 50 characters")
        return Destination(self.rail, self.number, self.bank, folded, self.network)

    def to_bytes(self) -> bytes:
        """The bytes to seal: a version byte, then each field as two length bytes and UTF-8 (length 65535: None)."""
        parts = [_RAIL_BYTES[self.rail]]
        for field in (self.number, self.bank, self.name, self.network):
            if field is None:
                parts.append(b"\xff\xff")
            else:
                encoded = field.encode()
                parts += (len(encoded).to_bytes(2, "big"), encoded)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Destination:
        """The destination of `to_bytes`. Raises AssertionError for anything else: a seal vouches for these bytes."""
        try:
            rail, number, bank, name, network = _fields(encoded)
            if rail is None or number is None:
                raise ValueError
            return cls(Rail(rail), number, bank, name, network)
        except ValueError:
            raise AssertionError("these bytes are not a destination of version 1") from None

    def fingerprint_text(self) -> bytes:
        """What a keyed fingerprint is taken over: rail, number and bank, so that one payee spelled two ways is one."""
        return f"destination:1|{self.rail}|{self.number}|{self.bank or ''}".encode()


_RAIL_BYTES: Final = {rail: b"\x01" + len(rail.value).to_bytes(2, "big") + rail.value.encode() for rail in Rail}
"""How the bytes of a destination begin."""


def _fields(encoded: bytes) -> list[str | None]:
    """The fields of `to_bytes`, however many. Raises ValueError."""
    fields: list[str | None] = []
    at = 1
    while at < len(encoded):
        length = int.from_bytes(encoded[at : at + 2], "big")
        at += 2
        if length == 0xFFFF:
            fields.append(None)
        else:
            fields.append(encoded[at : at + length].decode())
            at += length
    if encoded[:1] != b"\x01" or at != len(encoded):
        raise ValueError
    return fields


def mask(rail: Rail, number: str) -> str:
    """The one way a number is shown. It hides at least six characters of a card and four of anything else.

    A card of 16 digits or more shows its first six and last four, a shorter one fewer in front (reliability.md 4.4:
    one truncation per card, ever). Phones and purses show the first four and last two, accounts five and four,
    addresses four and four.
    """
    if rail is Rail.CARD:
        first, last = max(0, min(6, len(number) - 10)), 4
    elif rail is Rail.ACCOUNT:
        first, last = 5, 4
    elif rail is Rail.USDT:
        first, last = 4, 4
    else:
        first, last = 4, 2
    hidden = len(number) - first - last
    if hidden < 4:
        return "*" * len(number)
    plus = "+" if rail is Rail.SBP else ""
    return f"{plus}{number[:first]}{'*' * hidden}{number[-last:]}"


# --- readers, one a rail -----------------------------------------------------------------------------------------


def read_card(text: str, *, luhn: bool) -> Destination:
    """Read a card number; spaces and hyphens are dropped. Raises BadDestination.

    With `luhn` it must be a real card's number: 13 to 19 digits and a right check digit. Without, 12 to 20 digits
    will do: that is the protocol's check, for a card that can go to a sandbox alone (intellectmoney.md section 9).
    """
    digits = _short(Rail.CARD, text).translate(_CARD_MARKS)
    if _CARD.fullmatch(digits) is None:
        raise BadDestination(Rail.CARD, "number", "has not 12 to 20 digits")
    why = card_fault(digits) if luhn else None
    if why is not None:
        raise BadDestination(Rail.CARD, "number", why)
    return Destination(Rail.CARD, digits)


def read_sbp(phone: str, bank: str | None) -> Destination:
    """Read a phone and the member bank it is paid at. Raises BadDestination for field "number" or "bank".

    The phone: a leading +, spaces, brackets and hyphens are dropped; then 11 digits, a 7 and no 0, 1 or 2 after it. The
    bank: 12 digits, or up to 20 letters and digits as test members have. Whether it is a member is not asked here.
    """
    digits = _phone_digits(Rail.SBP, phone)
    if _PHONE.fullmatch(digits) is None:
        raise BadDestination(Rail.SBP, "number", "is not a phone of 11 digits that begins with 7")
    if bank is None or bank == "":
        raise BadDestination(Rail.SBP, "bank", "is missing")
    if _MEMBER.fullmatch(_short(Rail.SBP, bank, "bank")) is None:
        raise BadDestination(Rail.SBP, "bank", "is not a member id of 12 digits")
    return Destination(Rail.SBP, digits, bank)


def read_qiwi(text: str) -> Destination:
    """Read a wallet number: 10 to 15 digits, written like a phone. Raises BadDestination."""
    digits = _phone_digits(Rail.QIWI, text)
    if _WALLET.fullmatch(digits) is None:
        raise BadDestination(Rail.QIWI, "number", "has not 10 to 15 digits")
    return Destination(Rail.QIWI, digits)


def read_webmoney(text: str) -> Destination:
    """Read a purse: the letter of its kind, in either case, and 12 digits. Raises BadDestination."""
    short = _short(Rail.WEBMONEY, text)
    # Only ASCII is upper-cased: Unicode's upper() would turn look-alikes such as a dotless i into our letters.
    purse = short.upper() if short.isascii() else short
    if _PURSE.fullmatch(purse) is None:
        raise BadDestination(Rail.WEBMONEY, "number", f"is not one of the letters {_WEBMONEY_LETTERS} and 12 digits")
    return Destination(Rail.WEBMONEY, purse)


def read_usdt(text: str) -> Destination:
    """Read a USDT address; its form tells the network. Raises BadDestination.

    TRC20: base58 with its checksum. ERC20: 0x and 40 hexadecimal digits, kept with EIP-55 capitals; text that mixes
    cases must have them right, text all in one case carries no checksum and is taken as it is.
    """
    address = _short(Rail.USDT, text)
    if _TRON.fullmatch(address) is not None:
        if not is_tron_address(address):
            raise BadDestination(Rail.USDT, "number", "fails its checksum")
        return Destination(Rail.USDT, address, network=TRC20)
    match = _ETHEREUM.fullmatch(address)
    if match is None:
        raise BadDestination(Rail.USDT, "number", "is neither a TRC20 nor an ERC20 address")
    digits = match[1]
    right = checksummed_ethereum_address(digits)
    if digits not in (digits.lower(), digits.upper()) and address != right:
        raise BadDestination(Rail.USDT, "number", "fails its checksum")
    return Destination(Rail.USDT, right, network=ERC20)


def read_account(account: str, bik: str | None) -> Destination:
    """Read a Russian bank account and its bank's BIK, spaces dropped. Raises BadDestination for "number" or "bank".

    The account's control key must fit the BIK. Treasury accounts (03...) have no such key and are not served.
    """
    digits = _short(Rail.ACCOUNT, account).replace(" ", "")
    if _ACCOUNT.fullmatch(digits) is None:
        raise BadDestination(Rail.ACCOUNT, "number", "has not 20 digits")
    if bik is None or bik == "":
        raise BadDestination(Rail.ACCOUNT, "bank", "is missing")
    code = _short(Rail.ACCOUNT, bik, "bank").replace(" ", "")
    if _BIK.fullmatch(code) is None:
        raise BadDestination(Rail.ACCOUNT, "bank", "is not a BIK of 9 digits")
    if digits[:2] == "03":
        raise BadDestination(Rail.ACCOUNT, "number", "is a treasury account, which is not served")
    if not is_bank_account(digits, code):
        raise BadDestination(Rail.ACCOUNT, "number", "does not fit its BIK: its control key is wrong")
    return Destination(Rail.ACCOUNT, digits, code)


def _short(rail: Rail, text: str, field: str = "number") -> str:
    if len(text) > _LONGEST_INPUT:
        raise BadDestination(rail, field, "is too long")
    return text


def _phone_digits(rail: Rail, text: str) -> str:
    return _short(rail, text).removeprefix("+").translate(_PHONE_MARKS)
