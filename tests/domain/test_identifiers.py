"""Ids: each carries its bucket and finds its rows; the one a provider sees is derived, so a lost database makes it again."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.domain.identifiers import (
    MERCHANTS,
    SHARDS,
    base_of,
    end_to_end_id,
    payout_id,
    payout_ids,
    read_end_to_end_id,
    shard_of_lookup,
    shard_of_payout,
    unitpay_number,
)

INSTALLATION = UUID("5f0c1d9e-8a34-4c53-9d0b-0a8a3f6d2c11")
PAYOUT = UUID("019aa5f5-2f00-7abc-8000-000000000001")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, in lower case

shards = st.integers(0, SHARDS - 1)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
randoms = st.binary(min_size=10, max_size=10)
merchants = st.integers(1, MERCHANTS - 1)
references = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
surfaces = st.sampled_from(["unitpay", "own"])


# --- the payout's own id -----------------------------------------------------------------------------------------


@given(shards, moments, randoms)
def test_a_payout_id_is_a_uuid_of_version_7(shard: int, now: datetime, random: bytes) -> None:
    """It is a version 7 UUID that holds its moment and its bucket."""
    made = payout_id(shard, now, random)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert shard_of_payout(made) == shard
    assert abs((made.int >> 80) - now.timestamp() * 1000) <= 1


@given(shards, shards, moments, st.integers(2, 10**12), randoms, randoms)
def test_payout_ids_are_ordered_by_time(
    one: int, other: int, now: datetime, later_ms: int, first: bytes, second: bytes
) -> None:
    """An id made later is greater, whatever the buckets and the randomness."""
    try:
        later = now + timedelta(milliseconds=later_ms)
    except OverflowError:
        return
    assert payout_id(one, now, first) < payout_id(other, later, second)


@given(shards, moments, randoms)
def test_randomness_is_used(shard: int, now: datetime, random: bytes) -> None:
    """Each of 64 random bits makes another id of the same moment and bucket."""
    others = [(int.from_bytes(random) ^ 1 << bit).to_bytes(10) for bit in range(64)]
    assert len({payout_id(shard, now, one) for one in [random, *others]}) == 65


@given(st.uuids())
def test_a_foreign_uuid_has_some_bucket(foreign: UUID) -> None:
    """Any UUID yields a bucket that exists; its payout is simply not found there."""
    assert 0 <= shard_of_payout(foreign) < SHARDS


@given(st.binary(max_size=64))
def test_look_ups_are_spread_by_sha256(asked_by: bytes) -> None:
    """The bucket of a look-up row is the first ten bits of SHA-256 of what is asked by (design.md section 5)."""
    bits = f"{int(hashlib.sha256(asked_by).hexdigest(), 16):0256b}"
    assert shard_of_lookup(asked_by) == int(bits[:10], 2)


# --- UnitPay's number --------------------------------------------------------------------------------------------


@given(st.integers(1, 2**33 - 1), merchants)
def test_a_unitpay_number_fits_a_double(counter: int, merchant: int) -> None:
    """The number stays below 2**53 for eight thousand million payouts of each merchant, and finds its merchant."""
    number = unitpay_number(counter, merchant)
    assert 0 < number < 2**53
    assert divmod(number, MERCHANTS) == (counter, merchant)


def test_the_last_unitpay_number() -> None:
    """The greatest counter and merchant make the greatest number below 2**53."""
    assert unitpay_number(2**33 - 1, MERCHANTS - 1) == 2**53 - 1


# --- the id a provider sees --------------------------------------------------------------------------------------


@given(shards, merchants, surfaces, references, st.uuids())
def test_a_base_is_two_letters_and_130_bits(
    shard: int, merchant: int, surface: str, reference: str, payout: UUID
) -> None:
    """A base is 28 characters of base 32: two that carry the bucket, and the first 130 bits of the digest."""
    base = base_of(shard, INSTALLATION, merchant, surface, reference, payout)
    assert re.fullmatch(r"[a-z2-7]{28}", base)
    assert ALPHABET.index(base[0]) * 32 + ALPHABET.index(base[1]) == shard
    digest = hashlib.sha256(f"{INSTALLATION}\n{merchant}\n{surface}\nref:{reference}".encode()).digest()
    bits = f"{int.from_bytes(digest):0256b}"[:130]
    assert "".join(f"{ALPHABET.index(letter):05b}" for letter in base[2:]) == bits


@given(shards, merchants, surfaces, references, st.uuids(), st.uuids())
def test_the_same_obligation_has_the_same_base(
    shard: int, merchant: int, surface: str, reference: str, one: UUID, other: UUID
) -> None:
    """A base comes from the obligation and not from the row: a payout made again has the id its provider knows."""
    again = [base_of(shard, INSTALLATION, merchant, surface, reference, payout) for payout in (one, other)]
    assert again[0] == again[1]


OBLIGATION = (7, INSTALLATION, 42, "unitpay", "wage-1", PAYOUT)


@pytest.mark.parametrize(
    "other",
    [
        (8, INSTALLATION, 42, "unitpay", "wage-1", PAYOUT),
        (7, PAYOUT, 42, "unitpay", "wage-1", PAYOUT),
        (7, INSTALLATION, 43, "unitpay", "wage-1", PAYOUT),
        (7, INSTALLATION, 42, "own", "wage-1", PAYOUT),
        (7, INSTALLATION, 42, "unitpay", "wage-2", PAYOUT),
        (7, INSTALLATION, 42, "unitpay", "Wage-1", PAYOUT),
        (7, INSTALLATION, 42, "unitpay", "wage-1 ", PAYOUT),
        (7, INSTALLATION, 42, "unitpay", "", PAYOUT),
        (7, INSTALLATION, 42, "unitpay", None, PAYOUT),
        (7, INSTALLATION, 42, "unitpay", f"id:{PAYOUT}", PAYOUT),
    ],
)
def test_another_obligation_has_another_base(other: tuple[int, UUID, int, str, str | None, UUID]) -> None:
    """Bucket, installation, merchant, surface and reference all count, letter by letter."""
    assert base_of(*OBLIGATION) != base_of(*other)
    assert base_of(*other) == base_of(*other)


def test_without_a_reference_the_payouts_id_counts() -> None:
    """A payout without a reference is an obligation of its own, and no reference can be spelled to hit it."""
    without = base_of(7, INSTALLATION, 42, "own", None, PAYOUT)
    assert without != base_of(7, INSTALLATION, 42, "own", None, INSTALLATION)
    assert without != base_of(7, INSTALLATION, 42, "own", str(PAYOUT), PAYOUT)
    assert without != base_of(7, INSTALLATION, 42, "own", f"id:{PAYOUT}", PAYOUT)


def test_a_base_is_what_it_was() -> None:
    """The derivation is a promise to providers: it must never change, so one is written down."""
    assert base_of(*OBLIGATION) == "ah2ubalqidfejhvx7degduvsxvdy"


@given(shards, merchants, references, st.integers(1, 999_999))
def test_an_end_to_end_id_is_read_back(shard: int, merchant: int, reference: str, attempt: int) -> None:
    """Bucket, base and attempt number come out of the id as they went in."""
    base = base_of(shard, INSTALLATION, merchant, "own", reference, PAYOUT)
    assert read_end_to_end_id(end_to_end_id(base, attempt)) == (shard, base, attempt)


BASE = "ah" + "a" * 26


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-1",
        BASE,
        f"{BASE}-",
        f"{BASE}-x",
        f"{BASE}-1x",
        f"{BASE}--1",
        f"{BASE}- 1",
        f"{BASE}-+1",
        f"{BASE}-1.0",
        f"{BASE}-\u0661",  # a digit, but an Arabic one
        f"{BASE}-\u00b2",
        f"{BASE}-1234567",
        f"{BASE}-0",
        f"{BASE}-01",
        f"{BASE.upper()}-1",
        f"{BASE[:-1]}-1",
        f"{BASE}a-1",
        f"{BASE[:-1]}1-1",  # 1 and 0 are not in the alphabet
        f"{BASE[:-1]}\u0430-1",  # a Cyrillic a
        f" {BASE}-1",
        f"{BASE}-1\n",
        str(PAYOUT),
    ],
)
def test_a_foreign_id_is_nobodys(text: str) -> None:
    """What we cannot have made is not read as ours."""
    assert read_end_to_end_id(text) is None


@given(st.text(max_size=40))
def test_any_text_is_read_or_not(text: str) -> None:
    """Reading never raises, whatever a provider sends."""
    read = read_end_to_end_id(text)
    assert read is None or (0 <= read[0] < SHARDS and text.startswith(read[1]))


def test_many_ids_of_one_moment() -> None:
    """Ids made together are those that would have been made one by one."""
    noise = bytes(range(30))
    now = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
    assert payout_ids(1023, now, noise, 3) == [payout_id(1023, now, noise[at : at + 10]) for at in (0, 10, 20)]
