"""The vault: what must not be readable in the database is sealed before it gets there.

Lives here: sealing and opening, and the keyed fingerprints that let equal destinations be found without opening them.
May not live here: SQL, the key file (`storage/keyring.py`), who may open what (only the worker that sends).

A sealed record is: version (1 byte, 1) | key id (4) | nonce (12) | AES-256-GCM ciphertext and tag. The associated
data are the record's first five bytes, what it is for, the merchant and, for a destination, the payout: a record
copied into another row does not open. Every merchant has keys of its own, derived from the master key by HKDF-SHA-256
for each use, so random nonces stay far from their limit of 2^32 records a key, and equal destinations of two
merchants have different fingerprints.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from disburse.domain.ports import Random
from disburse.storage.keyring import Keyring

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEADER_BYTES: Final = 5
_SEALED_AT: Final = _HEADER_BYTES + _NONCE_BYTES
_FINGERPRINT_BYTES: Final = 16
_CACHED: Final = 2048  # derived keys kept: a cipher takes 2.6 KB, making one again 4 microseconds

_HMAC_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))

_DESTINATION: Final = b"destination"
_SECRET: Final = b"secret"
_FINGERPRINT: Final = b"fingerprint"


class SealBroken(Exception):
    """A sealed record does not open: damaged, moved to another row, or of a key this installation has not."""


class Vault:
    """Seals with the keyring's current key, opens with any. One for a process; it holds no state but derived keys."""

    def __init__(self, keyring: Keyring, random: Random) -> None:
        self._keyring = keyring
        self._random = random
        self._header = _VERSION + keyring.current
        self._ciphers: dict[tuple[bytes, bytes, int], AESGCM] = {}
        self._fingerprints: dict[int, tuple[hashlib._Hash, hashlib._Hash]] = {}

    def seal(self, plain: bytes, *, merchant_id: int, payout_id: bytes) -> bytes:
        """Seal a payout's destination. `payout_id` is its UUID's 16 bytes."""
        return self._seal(_DESTINATION, plain, merchant_id, _sixteen(payout_id))

    def open(self, record: bytes, *, merchant_id: int, payout_id: bytes) -> bytes:
        """What was sealed for this merchant and payout. Raises SealBroken."""
        return self._open(_DESTINATION, record, merchant_id, _sixteen(payout_id))

    def seal_secret(self, plain: bytes, *, merchant_id: int) -> bytes:
        """Seal a secret of a merchant that we need back, such as its signing key."""
        return self._seal(_SECRET, plain, merchant_id, b"")

    def open_secret(self, record: bytes, *, merchant_id: int) -> bytes:
        """What was sealed for this merchant. Raises SealBroken."""
        return self._open(_SECRET, record, merchant_id, b"")

    def fingerprint(self, text: bytes, merchant_id: int) -> bytes:
        """16 bytes, equal for equal text of one merchant and for nothing else; telling nothing without the key file.

        HMAC-SHA-256 over the whole text. Rotation of the sealing key does not change it.
        """
        halves = self._fingerprints.get(merchant_id)
        if halves is None:
            halves = _halves(self._derive(_FINGERPRINT, self._keyring.fingerprint, merchant_id))
            _make_room(self._fingerprints)
            self._fingerprints[merchant_id] = halves
        inner, outer = halves[0].copy(), halves[1].copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.digest()[:_FINGERPRINT_BYTES]

    def _seal(self, use: bytes, plain: bytes, merchant_id: int, payout_id: bytes) -> bytes:
        header, nonce = self._header, self._random.bytes(_NONCE_BYTES)
        bound = header + use + b"|" + merchant_id.to_bytes(8, "big") + payout_id
        return header + nonce + self._cipher(use, header[1:], merchant_id).encrypt(nonce, plain, bound)

    def _open(self, use: bytes, record: bytes, merchant_id: int, payout_id: bytes) -> bytes:
        header, nonce, sealed = record[:_HEADER_BYTES], record[_HEADER_BYTES:_SEALED_AT], record[_SEALED_AT:]
        if len(sealed) < _TAG_BYTES or header[:1] != _VERSION or header[1:] not in self._keyring.keys:
            raise SealBroken
        bound = header + use + b"|" + merchant_id.to_bytes(8, "big") + payout_id
        try:
            return self._cipher(use, header[1:], merchant_id).decrypt(nonce, sealed, bound)
        except InvalidTag:
            raise SealBroken from None

    def _cipher(self, use: bytes, key_id: bytes, merchant_id: int) -> AESGCM:
        name = (use, key_id, merchant_id)
        cipher = self._ciphers.get(name)
        if cipher is None:
            cipher = AESGCM(self._derive(use, key_id, merchant_id))
            _make_room(self._ciphers)
            self._ciphers[name] = cipher
        return cipher

    def _derive(self, use: bytes, key_id: bytes, merchant_id: int) -> bytes:
        info = b"disburse vault 1|" + use + b"|" + merchant_id.to_bytes(8, "big")
        return HKDF(SHA256(), 32, None, info).derive(self._keyring.keys[key_id])


def _halves(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """HMAC-SHA-256 of a key with no text yet: to copy these two and go on takes a third of the time of making them anew."""
    if len(key) > _HMAC_BLOCK:
        raise AssertionError("a key of ours is never longer than a block")
    padded = key.ljust(_HMAC_BLOCK, b"\0")
    return hashlib.sha256(padded.translate(_INNER)), hashlib.sha256(padded.translate(_OUTER))


def _sixteen(payout_id: bytes) -> bytes:
    if len(payout_id) != 16:
        raise AssertionError("a payout id has 16 bytes")
    return payout_id


def _make_room(cache: dict[Any, Any]) -> None:
    """Forget everything derived when the cache is full."""
    if len(cache) >= _CACHED:
        cache.clear()
