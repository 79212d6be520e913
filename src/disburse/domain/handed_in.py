"""What a person hands in as evidence, as it may be kept. Pure. Lives here: bounding it, and taking out what must not be stored.

The digest is of all that was handed in, byte by byte, so that the paper kept elsewhere can be shown to be the one that was
looked at. Of the text so much is kept as a reader needs; a card number in it is not (invariant S1).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from disburse.domain.checks import card_fault

LONGEST: Final = 4000
"""Characters kept."""

_RUN: Final = re.compile(r"[0-9](?:[ \u00a0-]?[0-9]){12,}")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class HandedIn:
    """Evidence as it is kept: its text, and digest (SHA-256) and size of the whole of it."""

    text: str
    digest: bytes
    size: int


def hand_in(raw: bytes, name: str = "") -> HandedIn:
    """Evidence made fit to be kept. What is no text (a picture, a PDF) is kept by name, size and digest alone."""
    digest = hashlib.sha256(raw).digest()
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        text = f"{name or 'a file'}: {len(raw)} bytes that are no text" if raw else ""
    text = without_cards(_CONTROL.sub(" ", text))
    return HandedIn(text if len(text) <= LONGEST else text[: LONGEST - 4] + " ...", digest, len(raw))


def without_cards(text: str) -> str:
    """The text with every card number in it replaced, written in one run or in groups."""
    return _RUN.sub(lambda match: _without(match[0]), text)


def _without(run: str) -> str:
    parts = re.split(r"([ \u00a0-])", run)  # groups of digits, with what stands between them
    for first in range(0, len(parts), 2):
        for last in range(len(parts), first, -2):
            digits = "".join(parts[first:last:2])
            if 13 <= len(digits) <= 19 and card_fault(digits) is None:
                return "".join(parts[:first]) + "(a card number)" + without_cards("".join(parts[last:]))
    return run
