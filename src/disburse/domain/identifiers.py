"""Names of things: ids that carry their bucket, and the id a provider sees.

Lives here: how ids are built and read back. May not: draw randomness or read a clock; both come in as arguments.

A *shard* is a logical bucket, 0..1023, stored on the merchant for life. Every id carries it, so any id finds its rows without
a look-up. The end-to-end id is derived and not drawn: a database that lost its tail makes the same id for the same obligation,
and a provider that deduplicates still protects the money (reliability, section 0.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from struct import Struct
from typing import NewType
from uuid import UUID

Shard = NewType("Shard", int)
MerchantId = NewType("MerchantId", int)
PayoutId = NewType("PayoutId", UUID)

SHARDS = 1024
MERCHANTS = 1 << 20
"""Merchant numbers stay below this, so that a UnitPay payoutId (counter * 2**20 + number) stays below 2**53."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_LETTER_SET = frozenset(_LETTERS)
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
"""Ten bits as two characters of base 32."""
_SIXTEEN_BYTES, _TEN_BYTES = Struct(">QQ").pack, Struct(">QH")
_EIGHT_BYTES, _TWO_BYTES = Struct(">Q").unpack_from, Struct(">H").unpack_from


def payout_id(shard: int, now: datetime, random: bytes) -> PayoutId:
    """A time-ordered UUID (version 7 layout) whose first ten bits after the variant are the bucket. `random`: ten bytes."""
    stamp = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    noise = int.from_bytes(random[:10])
    high = noise & 0xFFF
    low = (noise >> 12) & ((1 << 52) - 1)
    return PayoutId(UUID(int=stamp << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | (shard & 1023) << 52 | low))


def payout_ids(shard: int, now: datetime, random: bytes, count: int) -> list[PayoutId]:
    """So many ids of one moment, as `payout_id` makes them. `random`: ten bytes for each."""
    return [PayoutId(UUID(bytes=one)) for one in raw_payout_ids(shard, now, random, count)]


def raw_payout_ids(shard: int, now: datetime, random: bytes, count: int) -> list[bytes]:
    """So many ids of one moment, as their 16 bytes. `random`: ten bytes for each."""
    high = (int(now.timestamp() * 1000) & ((1 << 48) - 1)) << 16 | 0x7 << 12
    low, drawn = 0b10 << 62 | (shard & 1023) << 52, _TEN_BYTES.iter_unpack(random[: 10 * count])
    return [_SIXTEEN_BYTES(high | end & 0xFFF, low | (front << 4 | end >> 12) & ((1 << 52) - 1)) for front, end in drawn]


def first_id_of(at: datetime) -> UUID:
    """Ids drawn before a time sort before this one, and later ones behind it."""
    return UUID(int=(int(at.timestamp() * 1000) & ((1 << 48) - 1)) << 80)


def shard_of_payout(identifier: UUID) -> Shard:
    """The bucket inside a payout id. Any UUID yields one; a foreign id simply is not found there."""
    return Shard(identifier.int >> 52 & 1023)


def shard_of_lookup(asked_by: bytes) -> Shard:
    """The bucket of a look-up row: the first ten bits of SHA-256 of what is asked by (design section 5)."""
    return Shard(int.from_bytes(hashlib.sha256(asked_by).digest()[:2]) >> 6)


def unitpay_number(counter: int, merchant: int) -> int:
    """UnitPay's payoutId: the merchant's payout counter times 2**20 plus the merchant's number."""
    return counter * MERCHANTS + merchant


def base_of(shard: int, installation: UUID, merchant: int, surface: str, reference: str | None, payout: UUID) -> str:
    """What all attempts of one obligation share in their end-to-end ids: the bucket in two characters, then 130 bits.

    Derived from installation, merchant, surface and reference; without a reference from the payout's id.
    """
    own = f"ref:{reference}" if reference is not None else f"id:{payout}"
    return _base(shard, f"{installation}\n{merchant}\n{surface}\n{own}".encode())


def bases_of(shard: int, installation: UUID, merchant: int, surface: str) -> Callable[[str], str]:
    """`base_of` for many references of one merchant."""
    front = f"{installation}\n{merchant}\n{surface}\nref:".encode()
    return lambda reference: _base(shard, front + reference.encode())


def _base(shard: int, text: bytes) -> str:
    """The digest's first 130 bits as thirteen pairs, six of 60 bits each and one of ten: small numbers cost half of what one large number does."""
    digest, pairs = hashlib.sha256(text).digest(), _PAIRS
    (a,), (b,), (c,) = _EIGHT_BYTES(digest), _EIGHT_BYTES(digest, 7), _TWO_BYTES(digest, 15)
    return (
        f"{pairs[shard]}"
        f"{pairs[a >> 54]}{pairs[a >> 44 & 1023]}{pairs[a >> 34 & 1023]}{pairs[a >> 24 & 1023]}{pairs[a >> 14 & 1023]}{pairs[a >> 4 & 1023]}"
        f"{pairs[b >> 50 & 1023]}{pairs[b >> 40 & 1023]}{pairs[b >> 30 & 1023]}{pairs[b >> 20 & 1023]}{pairs[b >> 10 & 1023]}{pairs[b & 1023]}"
        f"{pairs[c >> 6]}"
    )


def end_to_end_id(base: str, attempt: int) -> str:
    """The id of one attempt as the provider sees it."""
    return f"{base}-{attempt}"


def read_end_to_end_id(text: str) -> tuple[Shard, str, int] | None:
    """The bucket, base and attempt number inside an end-to-end id; None when it is not one of ours."""
    base, _, number = text.rpartition("-")
    if len(base) != 28 or not number.isascii() or not number.isdigit() or len(number) > 6:
        return None
    if number.startswith("0"):  # attempts count from one, and we never write it in two ways
        return None
    if not _LETTER_SET.issuperset(base):
        return None
    return Shard(_LETTERS.index(base[0]) << 5 | _LETTERS.index(base[1])), base, int(number)
