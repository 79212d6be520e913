"""Secrets that we make and how they are kept: letters and digits of at least 128 random bits, stored as SHA-256.

A fast hash is enough for that entropy (reliability, section 4.2). Nothing here compares anything but digests, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac

from disburse.domain.ports import Random

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"  # nothing that is read two ways
_LENGTH = 32  # 57**32 is 186 bits


def new_secret(random: Random, prefix: str = "") -> str:
    """A fresh secret. A prefix lets leak scanners know ours."""
    letters: list[str] = []
    while len(letters) < _LENGTH:
        letters += [_ALPHABET[byte % 57] for byte in random.bytes(_LENGTH * 2) if byte < 228]  # 228 = 4 * 57: no bias
    return prefix + "".join(letters[:_LENGTH])


def digest(secret: str) -> bytes:
    """What is stored of a secret, and what it is looked up by. Any text has one, so nothing a caller sends can fail here."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Whether this is the secret whose digest is stored; in constant time."""
    return hmac.compare_digest(digest(secret), stored)
