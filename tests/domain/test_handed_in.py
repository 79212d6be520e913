"""What a person hands in as evidence: kept bounded, digested whole, and without card numbers."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disburse.domain.handed_in import LONGEST, hand_in, without_cards


@pytest.mark.parametrize(
    "text, kept",
    [
        ("paid on 21.11., line 7", "paid on 21.11., line 7"),
        ("card 4111111111111111 was credited", "card (a card number) was credited"),
        ("4111 1111 1111 1111", "(a card number)"),
        ("4111-1111-1111-1111.", "(a card number)."),
        ("line 12 4111 1111 1111 1111 2026", "line 12 (a card number) 2026"),
        ("4111111111111111 5500005555555559", "(a card number) (a card number)"),
        ("order 4111111111111112", "order 4111111111111112"),  # no card: its check digit is wrong
        ("account 40702810900000012345", "account 40702810900000012345"),  # twenty digits
        ("0000000000000000", "0000000000000000"),
        ("a\x00b\x1b[2J\u202ec", None),
    ],
)
def test_what_is_kept_of_a_text(text: str, kept: str | None) -> None:
    """A text is kept as it is but for card numbers, in one run or in groups, and for what a terminal would obey."""
    told = hand_in(text.encode())
    assert told.text == kept if kept is not None else not set(told.text) & set("\x00\x1b\u202e")
    assert (told.digest, told.size) == (hashlib.sha256(text.encode()).digest(), len(text.encode()))


def test_what_is_no_text_is_kept_by_name_and_digest() -> None:
    """A picture or a PDF is not stored; its name, size and digest are."""
    told = hand_in(b"\xff\xd8\xff\xe0" * 100, "statement.jpg")
    assert told.text == "statement.jpg: 400 bytes that are no text" and told.size == 400
    assert hand_in(b"").text == ""


@given(st.text(max_size=LONGEST * 2), st.binary(max_size=100))
def test_it_always_fits(text: str, raw: bytes) -> None:
    """Whatever is handed in can be stored: bounded, no NUL, no half of a character, and its digest is of all of it."""
    for given_ in (text.encode("utf-8", "surrogatepass"), raw):
        told = hand_in(given_)
        assert len(told.text) <= LONGEST and "\0" not in told.text
        told.text.encode("utf-8")
        assert told.digest == hashlib.sha256(given_).digest()


@given(st.lists(st.sampled_from(["4111111111111111", "5500 0055 5555 5559", "7", "12", "x", "-"]), max_size=8))
def test_no_card_gets_through(words: list[str]) -> None:
    """However card numbers stand among other words and numbers, none is left."""
    kept = without_cards(" ".join(words))
    assert "4111111111111111" not in kept and "5500 0055 5555 5559" not in kept
