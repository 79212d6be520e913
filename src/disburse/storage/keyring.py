"""The key file: the master keys of one installation, outside the database and its backups.

Lives here: `Keyring` and how its file is made, read and changed. May not live here: what the keys are used for
(`storage/vault.py`).

The file is JSON, mode 0600: a few 256-bit keys under ids of four bytes, the id new records are sealed with
("current"), and the id fingerprints are made with ("fingerprint"). Keys are added and made current, never removed: a
record names the key it was sealed with, and whoever loses the file loses every destination in the database, also in
its backups.

The fingerprint key stays the first one for life. Sealed records can be read under any key of the file, but a
fingerprint can only be compared with another of the same key, and references never expire.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from disburse.domain.ports import Random

_KEY_BYTES = 32
_ID_BYTES = 4
_LARGEST_FILE = 1 << 20


class KeyFileError(Exception):
    """The key file cannot be used. The text names the file, what is wrong, and what to do; never a key."""

    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"The key file {path} {why}")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    current: str
    fingerprint: str
    keys: dict[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """The keys of one file, by id: `current` seals, `fingerprint` makes fingerprints. The repr holds ids only."""

    keys: Mapping[bytes, bytes]
    current: bytes
    fingerprint: bytes

    def __post_init__(self) -> None:
        if any(len(key_id) != _ID_BYTES or len(key) != _KEY_BYTES for key_id, key in self.keys.items()):
            raise AssertionError("key ids have four bytes and keys 32")
        if self.current not in self.keys or self.fingerprint not in self.keys:
            raise AssertionError("the current and the fingerprint key are among the keys")

    def __repr__(self) -> str:
        return f"Keyring({len(self.keys)} keys, current {self.current.hex()}, fingerprint {self.fingerprint.hex()})"

    @classmethod
    def create(cls, path: Path, random: Random) -> Keyring:
        """Make a file with one fresh key, whole or not at all. Raises KeyFileError when it is there already."""
        key_id = random.bytes(_ID_BYTES)
        ring = cls({key_id: random.bytes(_KEY_BYTES)}, current=key_id, fingerprint=key_id)
        beside = path.with_name(f".{path.name}.{random.bytes(8).hex()}")
        _write(beside, ring._encode())
        try:
            os.link(beside, path)  # unlike a rename, this never replaces a file that is there
        except FileExistsError:
            raise KeyFileError(path, "is there already; it is never overwritten.") from None
        finally:
            beside.unlink()
        _sync_directory(path)
        return ring

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the file. Raises KeyFileError when it is missing, open to others than its owner, or damaged."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise KeyFileError(path, "is missing. Restore it from where you keep it apart from the database.") from None
        except OSError as problem:
            raise KeyFileError(path, f"cannot be opened ({problem.strerror}).") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(path, "is not a plain file.")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise KeyFileError(path, f"is open to others than its owner (mode {mode:04o}). Run: chmod 600 {path}")
            text = os.read(descriptor, _LARGEST_FILE)
        finally:
            os.close(descriptor)
        return cls._decode(path, text)

    @classmethod
    def add_key(cls, path: Path, random: Random) -> tuple[Keyring, bytes]:
        """Add a fresh key to the file without using it yet; the ring and the new id. Raises KeyFileError.

        Rotation is two steps so that no process meets a record it cannot read: add, restart every process, then
        `switch`.
        """
        ring = cls.load(path)
        key_id = random.bytes(_ID_BYTES)
        if key_id in ring.keys:
            raise AssertionError("a fresh key id is not a used one")
        ring = replace(ring, keys={**ring.keys, key_id: random.bytes(_KEY_BYTES)})
        ring._replace_file(path)
        return ring, key_id

    @classmethod
    def switch(cls, path: Path, key_id: bytes) -> Keyring:
        """From now on seal with this key of the file. Raises KeyFileError, also when the file has no such key."""
        ring = cls.load(path)
        if key_id not in ring.keys:
            raise KeyFileError(path, f"has no key {key_id.hex()}.")
        ring = replace(ring, current=key_id)
        ring._replace_file(path)
        return ring

    def _replace_file(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}.new")
        try:
            _write(beside, self._encode())
        except FileExistsError:
            why = f"is being changed by another command. If none is running, one was killed: delete {beside}"
            raise KeyFileError(path, why) from None
        beside.replace(path)
        _sync_directory(path)

    def _encode(self) -> bytes:
        keys = {key_id.hex(): base64.b64encode(key).decode("ascii") for key_id, key in self.keys.items()}
        file = _File(format=1, current=self.current.hex(), fingerprint=self.fingerprint.hex(), keys=keys)
        return msgspec.json.format(msgspec.json.encode(file)) + b"\n"

    @classmethod
    def _decode(cls, path: Path, text: bytes) -> Keyring:
        try:
            file = msgspec.json.decode(text, type=_File)
            keys = {bytes.fromhex(key_id): base64.b64decode(key, validate=True) for key_id, key in file.keys.items()}
            if file.format != 1:
                raise KeyFileError(path, f"has format {file.format}; this program reads format 1.")
            return cls(keys, bytes.fromhex(file.current), bytes.fromhex(file.fingerprint))
        except (msgspec.MsgspecError, binascii.Error, ValueError, AssertionError):
            # Not chained: the cause could quote the file.
            raise KeyFileError(path, "is damaged. Restore it from where you keep it apart from the database.") from None


def _write(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600 and wait until it is on the disk. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
