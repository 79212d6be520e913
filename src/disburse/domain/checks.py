"""Check digits: the arithmetic by which a mistyped card, account or address betrays itself.

Lives here: pure functions over text that already has the right shape (ASCII, the right length). May not live here:
what a shape is, what is refused and in which words (`domain/destinations.py`).
"""

from __future__ import annotations

import base58
from Crypto.Hash import keccak

_TRON_MAIN = b"\x41"
_KEY_WEIGHTS = (7, 1, 3)
_DOUBLED = bytes.maketrans(b"0123456789", bytes(digit * 2 if digit < 5 else digit * 2 - 9 for digit in range(10)))


def card_fault(digits: str) -> str | None:
    """Why these digits cannot be a real card, or None. ISO/IEC 7812: 13 to 19 digits, the last a Luhn check digit.

    No issuer has numbers that begin with 0; without that rule a row of zeros would pass, as its check digit is right.
    """
    if not 13 <= len(digits) <= 19:
        return "has not 13 to 19 digits"
    if digits[0] == "0":
        return "begins with a zero"
    return None if passes_luhn(digits) else "fails its check digit"


def passes_luhn(digits: str) -> bool:
    """Whether the last of these ASCII digits is the Luhn check digit of the others.

    Ours and not the library's (which the tests hold it against): every card passes here, and it takes a twentieth of the time.
    """
    values = digits.encode("ascii")[::-1]
    return (sum(values[::2]) - 48 * len(values[::2]) + sum(values[1::2].translate(_DOUBLED))) % 10 == 0


def is_tron_address(text: str) -> bool:
    """Whether base58 text is a main-net address: byte 0x41, twenty more, and a right double SHA-256 checksum."""
    try:
        decoded = base58.b58decode_check(text)
    except ValueError:
        return False
    return len(decoded) == 21 and decoded[:1] == _TRON_MAIN


def checksummed_ethereum_address(forty_hex_digits: str) -> str:
    """The address with "0x" and EIP-55 capitals: a letter is a capital where the Keccak digest's digit is 8 or more."""
    lower = forty_hex_digits.lower()
    digest = keccak.new(digest_bits=256, data=lower.encode("ascii")).hexdigest()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(lower, digest, strict=False))


def is_bank_account(account: str, bik: str) -> bool:
    """Whether a 20-digit account fits its 9-digit BIK by the Bank of Russia's control key.

    The key is over the BIK's last three digits and the account. Where the Bank of Russia itself keeps the account
    (its own offices, whose BIK ends in 000 to 002; correspondent accounts 301xx; the treasury's single accounts
    401xx) a zero and the BIK's fifth and sixth digits stand in front instead. Digits are weighted 7, 1, 3 over and
    over; the sum ends in 0.
    """
    kept_by_the_bank_of_russia = bik[6:] in ("000", "001", "002") or account[:3] in ("301", "401")
    prefix = "0" + bik[4:6] if kept_by_the_bank_of_russia else bik[6:]
    return sum(int(digit) * _KEY_WEIGHTS[place % 3] for place, digit in enumerate(prefix + account)) % 10 == 0
