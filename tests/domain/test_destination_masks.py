"""What people may see of a destination, the payee's name, and the bytes that are sealed."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.destinations import (
    BadDestination,
    Destination,
    Rail,
    read_account,
    read_card,
    read_qiwi,
    read_sbp,
    read_usdt,
    read_webmoney,
)

TETHER_TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"  # Tether's own contracts, as public as an address can be
TETHER_ETHEREUM = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
DIGITS_16 = "4111111111111111"


ONE_OF_EACH = [
    (read_card(DIGITS_16, luhn=True), "411111******1111"),
    (read_card("6304000000000000000", luhn=True), "630400*********0000"),
    (read_card("41111111111111111111", luhn=False), "411111**********1111"),
    (read_card("378282246310005", luhn=True), "37828******0005"),
    (read_card("4222222222222", luhn=True), "422******2222"),
    (read_card("411111111111", luhn=False), "41******1111"),
    (read_sbp("79510000071", "100000000004"), "+7951*****71"),
    (read_qiwi("70000000000"), "7000*****00"),
    (read_qiwi("7000000000"), "7000****00"),
    (read_webmoney("R123456789012"), "R123*******12"),
    (read_usdt(TETHER_TRON), "TR7N**************************Lj6t"),
    (read_usdt(TETHER_ETHEREUM), "0xdA**********************************1ec7"),
    (read_account("40703810700001449489", "044525700"), "40703***********9489"),
]


@pytest.mark.parametrize("destination, shown", ONE_OF_EACH)
def test_display(destination: Destination, shown: str) -> None:
    """A card shows at most its first six and last four with six hidden between; everything else shows less."""
    assert destination.display() == shown
    assert destination.last4 == destination.number[-4:]


@pytest.mark.parametrize("destination, shown", ONE_OF_EACH)
def test_nothing_printed_holds_the_number(destination: Destination, shown: str) -> None:
    """However a destination is printed, alone or inside something, no more than the mask comes out, and no name."""
    named = destination.named("Иван Петров")
    prints = [repr(named), str(named), f"{named}", f"{named!r:>80}", repr([named]), repr({"to": named})]
    for text in prints:
        assert shown in text
        assert "Петров" not in text
        assert all(len(run) <= 6 for run in re.findall(r"[0-9]+", text))


@pytest.mark.parametrize("rail", list(Rail))
@pytest.mark.parametrize("length", range(1, 25))
def test_a_mask_always_hides(rail: Rail, length: int) -> None:
    """Whatever the length, at least four characters stay hidden, or all of them."""
    shown = Destination(rail, "1" * length).display()
    assert shown.count("*") >= min(length, 4)
    assert len(shown.lstrip("+")) == length


def test_a_destination_is_not_pickled_or_copied() -> None:
    """The number does not slip into a queue, a cache or a crash file by way of pickle."""
    for slip in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            slip(Destination(Rail.CARD, DIGITS_16))


def test_a_refusal_may_be_logged() -> None:
    """Nothing of what was sent is in a refusal, and its text is a sentence."""
    with pytest.raises(BadDestination) as raised:
        read_card("4111111111111112", luhn=True)
    refused = raised.value
    assert not re.search("[0-9]{3}", f"{refused} {refused!r} {refused.args} {vars(refused)}")
    assert str(refused) == "The card number fails its check digit."
    assert refused.name == "bad_destination"


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, kept",
    [("Иван Петров", "Иван Петров"), ("  O’Neil \u00a0 J. ", "O’Neil J."), ("Ян", "Ян"), ("x" * 50, "x" * 50)],
)
def test_names(name: str, kept: str) -> None:
    """A payee's name of 2 to 50 characters is kept, with its white space folded."""
    assert Destination(Rail.CARD, DIGITS_16).named(name) == Destination(Rail.CARD, DIGITS_16, name=kept)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "x" * 51,
        "x" * 10_000,
        "  x  ",
        "a\nb",
        "a\x00b",
        "a\tb",
        "\x1b[31mred",
        "a\u202eb",
        "a\u200bb",
        "\ud800\ud800",
    ],
)
def test_names_refused(name: str) -> None:
    """Short and long names, controls, direction marks and surrogates are refused."""
    with pytest.raises(BadDestination) as refused:
        Destination(Rail.CARD, DIGITS_16).named(name)
    assert refused.value.field == "name"


# --- bytes -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(deadline=None)
@given(st.sampled_from(list(Rail)), texts, st.none() | texts, st.none() | texts, st.none() | texts)
def test_bytes_round_trip(rail: Rail, number: str, bank: str | None, name: str | None, network: str | None) -> None:
    """Whatever the fields, the bytes give the same destination back; None and empty stay different."""
    destination = Destination(rail, number, bank, name, network)
    assert Destination.from_bytes(destination.to_bytes()) == destination


def test_the_bytes_are_a_format() -> None:
    """The encoding of version 1, which sealed records already hold, does not change."""
    encoded = read_sbp("79510000071", "100000000004").to_bytes()
    assert encoded == b"\x01\x00\x03sbp\x00\x0b79510000071\x00\x0c100000000004\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"\x01",
        lambda good: b"\x02" + good[1:],
        lambda good: good[:-1],
        lambda good: good + b"\x00",
        lambda good: good + b"\xff\xff",
        lambda good: good.replace(b"card", b"cart"),
        lambda good: good.replace(b"41111", b"\xff1111"),
        lambda good: b"\x01" + b"\xff\xff" * 5,
    ],
)
def test_other_bytes_are_our_mistake(damage: Callable[[bytes], bytes]) -> None:
    """Bytes that are not of this format never become a destination."""
    with pytest.raises(AssertionError):
        Destination.from_bytes(damage(Destination(Rail.CARD, DIGITS_16).to_bytes()))


def test_fingerprint_text() -> None:
    """One payee spelled two ways has one text, whatever the name; another rail, number or bank has another."""
    payee = read_sbp("+7 (951) 000-00-71", "100000000004")
    same = read_sbp("79510000071", "100000000004").named("Иван Петров")
    assert payee.fingerprint_text() == same.fingerprint_text() == b"destination:1|sbp|79510000071|100000000004"
    others = [replace(payee, bank="100000000005"), replace(payee, number="79510000072"), replace(payee, rail=Rail.QIWI)]
    assert len({payee.fingerprint_text(), *(other.fingerprint_text() for other in others)}) == 4
    address = read_usdt(TETHER_ETHEREUM)
    assert address.fingerprint_text() == read_usdt(TETHER_ETHEREUM.lower()).fingerprint_text()
