"""The vault and its key file: what is sealed opens only where it belongs, rotation loses nothing, no key is printed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from disburse.domain.destinations import Destination, read_card, read_sbp
from disburse.storage.keyring import KeyFileError, Keyring
from disburse.storage.vault import SealBroken, Vault


class CountedRandom:
    """Bytes that repeat from run to run and differ from draw to draw."""

    def __init__(self, seed: str = "") -> None:
        self._seed, self._drawn = seed, 0

    def bytes(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(f"{self._seed}/{self._drawn}".encode()).digest(count)

    def uniform(self, low: float, high: float) -> float:
        return low


PAYOUT = uuid.UUID("01890000-0000-7000-8000-000000000001").bytes
OTHER_PAYOUT = uuid.UUID("01890000-0000-7000-8000-000000000002").bytes
CARD = read_card("4111111111111111", luhn=True)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def vault(key_file: Path) -> Vault:
    return Vault(Keyring.create(key_file, CountedRandom()), CountedRandom("nonces"))


# --- sealing -----------------------------------------------------------------------------------------------------


def test_a_destination_comes_back(vault: Vault) -> None:
    """What was sealed for a payout opens for that payout, and the record does not show it."""
    record = vault.seal(CARD.to_bytes(), merchant_id=7, payout_id=PAYOUT)
    assert Destination.from_bytes(vault.open(record, merchant_id=7, payout_id=PAYOUT)) == CARD
    assert b"4111" not in record


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**63 - 1), st.binary(min_size=16, max_size=16))
def test_anything_comes_back(plain: bytes, merchant_id: int, payout_id: bytes) -> None:
    """Any bytes, for any merchant and payout, come back unchanged."""
    ring = Keyring({b"\0\0\0\1": bytes(range(32))}, b"\0\0\0\1", b"\0\0\0\1")
    vault = Vault(ring, CountedRandom())
    record = vault.seal(plain, merchant_id=merchant_id, payout_id=payout_id)
    assert vault.open(record, merchant_id=merchant_id, payout_id=payout_id) == plain
    secret = vault.seal_secret(plain, merchant_id=merchant_id)
    assert vault.open_secret(secret, merchant_id=merchant_id) == plain


def test_a_moved_record_does_not_open(vault: Vault) -> None:
    """A record copied to another payout, another merchant or another use is refused."""
    record = vault.seal(CARD.to_bytes(), merchant_id=7, payout_id=PAYOUT)
    secret = vault.seal_secret(b"signing key", merchant_id=7)
    moves: list[Callable[[], bytes]] = [
        lambda: vault.open(record, merchant_id=7, payout_id=OTHER_PAYOUT),
        lambda: vault.open(record, merchant_id=8, payout_id=PAYOUT),
        lambda: vault.open_secret(record, merchant_id=7),
        lambda: vault.open_secret(secret, merchant_id=8),
        lambda: vault.open(secret, merchant_id=7, payout_id=PAYOUT),
    ]
    for move in moves:
        with pytest.raises(SealBroken) as broken:
            move()
        assert broken.value.args == ()


def test_every_bit_of_a_record_counts(vault: Vault) -> None:
    """A record with any one bit turned, cut short or made longer is refused."""
    record = vault.seal(CARD.to_bytes(), merchant_id=7, payout_id=PAYOUT)
    turned = [
        record[:place] + bytes([record[place] ^ (1 << bit)]) + record[place + 1 :]
        for place in range(len(record))
        for bit in range(8)
    ]
    for damaged in [*turned, *(record[:length] for length in range(len(record))), record + b"\0"]:
        with pytest.raises(SealBroken):
            vault.open(damaged, merchant_id=7, payout_id=PAYOUT)


def test_the_record_is_a_format(key_file: Path) -> None:
    """A record is version, key id, nonce and AES-256-GCM: the key file and no program of ours can open it."""
    ring = Keyring.create(key_file, CountedRandom())
    record = Vault(ring, CountedRandom("nonces")).seal(b"plain", merchant_id=7, payout_id=PAYOUT)
    version, key_id, nonce, sealed = record[:1], record[1:5], record[5:17], record[17:]
    assert (version, key_id, nonce) == (b"\x01", ring.current, CountedRandom("nonces").bytes(12))
    merchant = (7).to_bytes(8, "big")
    key = HKDF(SHA256(), 32, None, b"disburse vault 1|destination|" + merchant).derive(ring.keys[key_id])
    assert AESGCM(key).decrypt(nonce, sealed, record[:5] + b"destination|" + merchant + PAYOUT) == b"plain"


def test_two_seals_of_one_text_differ(vault: Vault) -> None:
    """Equal destinations do not show as equal records."""
    records = {vault.seal(CARD.to_bytes(), merchant_id=7, payout_id=PAYOUT) for _ in range(10)}
    assert len(records) == 10


def test_a_payout_id_has_sixteen_bytes(vault: Vault) -> None:
    """A payout id in another form is our mistake, found before anything is sealed with it."""
    with pytest.raises(AssertionError):
        vault.seal(b"plain", merchant_id=7, payout_id=str(uuid.UUID(bytes=PAYOUT)).encode())


def test_more_merchants_than_keys_kept(vault: Vault) -> None:
    """Forgetting derived keys when many merchants come by changes nothing."""
    first = vault.seal(b"plain", merchant_id=1, payout_id=PAYOUT)
    print_of_first = vault.fingerprint(b"text", 1)
    for merchant_id in range(2, 2200):
        vault.seal(b"plain", merchant_id=merchant_id, payout_id=PAYOUT)
        vault.fingerprint(b"text", merchant_id)
    assert vault.open(first, merchant_id=1, payout_id=PAYOUT) == b"plain"
    assert vault.fingerprint(b"text", 1) == print_of_first


# --- fingerprints ------------------------------------------------------------------------------------------------


def test_fingerprints(vault: Vault) -> None:
    """A fingerprint is the same for the same text of a merchant, and differs by text, merchant and installation."""
    text = CARD.fingerprint_text()
    other_text = read_sbp("79510000071", "100000000004").fingerprint_text()
    elsewhere = Vault(Keyring({b"0001": b"k" * 32}, b"0001", b"0001"), CountedRandom())
    assert vault.fingerprint(text, 7) == vault.fingerprint(text, 7)
    prints = {
        vault.fingerprint(text, 7),
        vault.fingerprint(text, 8),
        vault.fingerprint(other_text, 7),
        elsewhere.fingerprint(text, 7),
    }
    assert len(prints) == 4
    assert {len(one) for one in prints} == {16}


# --- the key file ------------------------------------------------------------------------------------------------


def test_a_key_file_is_private_and_comes_back(key_file: Path) -> None:
    """A new key file is readable by its owner alone, holds what was made, and nothing is left beside it."""
    made = Keyring.create(key_file, CountedRandom())
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert Keyring.load(key_file) == made
    assert os.listdir(key_file.parent) == [key_file.name]


def test_a_key_file_is_private_whatever_the_umask(key_file: Path) -> None:
    """A careless umask does not open the key file."""
    before = os.umask(0)
    try:
        Keyring.create(key_file, CountedRandom())
        Keyring.add_key(key_file, CountedRandom("second"))
    finally:
        os.umask(before)
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_overwritten(key_file: Path) -> None:
    """Making a key file where one is refuses and leaves the old one, which opens everything sealed so far."""
    made = Keyring.create(key_file, CountedRandom())
    with pytest.raises(KeyFileError, match="never overwritten"):
        Keyring.create(key_file, CountedRandom("other"))
    assert Keyring.load(key_file) == made
    assert os.listdir(key_file.parent) == [key_file.name]


def test_of_many_who_make_a_key_file_one_does(key_file: Path) -> None:
    """Processes that start together end with one key file and one winner."""
    made: list[Keyring] = []

    def make(number: int) -> None:
        with contextlib.suppress(KeyFileError):
            made.append(Keyring.create(key_file, CountedRandom(str(number))))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [Keyring.load(key_file)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o777])
def test_a_key_file_open_to_others_is_refused(key_file: Path, mode: int) -> None:
    """A key file that group or others may touch is refused, and the error says what to do."""
    Keyring.create(key_file, CountedRandom())
    key_file.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        Keyring.load(key_file)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_its_owner_is_read(key_file: Path, mode: int) -> None:
    """Owner-only modes are fine, also read-only."""
    made = Keyring.create(key_file, CountedRandom())
    key_file.chmod(mode)
    assert Keyring.load(key_file) == made


def test_no_key_file(key_file: Path) -> None:
    """A missing file, a directory and a pipe are refused without waiting."""
    with pytest.raises(KeyFileError, match="is missing"):
        Keyring.load(key_file)
    with pytest.raises(KeyFileError, match="not a plain file"):
        Keyring.load(key_file.parent)
    os.mkfifo(key_file, 0o600)
    with pytest.raises(KeyFileError, match="not a plain file"):
        Keyring.load(key_file)


def damages() -> list[Callable[[dict[str, object]], object]]:
    def keys(content: dict[str, object]) -> dict[str, str]:
        found = content["keys"]
        assert isinstance(found, dict)
        return found

    return [
        lambda content: [],
        lambda content: {},
        lambda content: {**content, "format": 2},
        lambda content: {**content, "format": "1"},
        lambda content: {**content, "extra": 1},
        lambda content: {**content, "current": "00000000"},
        lambda content: {**content, "fingerprint": "00000000"},
        lambda content: {**content, "current": "not hexadecimal"},
        lambda content: {**content, "keys": {}},
        lambda content: {**content, "keys": {key_id: key[:-8] for key_id, key in keys(content).items()}},
        lambda content: {**content, "keys": {key_id: "!" + key[1:] for key_id, key in keys(content).items()}},
        lambda content: {**content, "keys": {**keys(content), "00": next(iter(keys(content).values()))}},
    ]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_key_file_is_refused(key_file: Path, damage: Callable[[dict[str, object]], object]) -> None:
    """A key file that is not exactly one of ours is refused, and the error quotes nothing of it."""
    Keyring.create(key_file, CountedRandom())
    content = json.loads(key_file.read_text())
    key_file.write_text(json.dumps(damage(content)))
    with pytest.raises(KeyFileError) as refused:
        Keyring.load(key_file)
    assert all(key[:8] not in str(refused.value) for key in content["keys"].values())


@pytest.mark.parametrize("text", [b"", b"{", b"\x00" * 300, b"\xff\xfe", b"null", b"[" * 10_000])
def test_a_key_file_that_is_not_json_is_refused(key_file: Path, text: bytes) -> None:
    """An empty, cut or foreign file is damaged, not a new installation."""
    key_file.touch(0o600)
    key_file.write_bytes(text)
    with pytest.raises(KeyFileError, match="is damaged"):
        Keyring.load(key_file)


# --- rotation ----------------------------------------------------------------------------------------------------


def test_rotation(key_file: Path) -> None:
    """A key is added unused, then made current: old records open, new ones name the new key, fingerprints stay."""
    old = Vault(Keyring.create(key_file, CountedRandom()), CountedRandom("nonces"))
    sealed_before = old.seal(b"before", merchant_id=7, payout_id=PAYOUT)

    added, new_id = Keyring.add_key(key_file, CountedRandom("second"))
    assert added == Keyring.load(key_file)
    waiting = Vault(added, CountedRandom("more nonces"))
    assert waiting.seal(b"", merchant_id=7, payout_id=PAYOUT)[1:5] == sealed_before[1:5]

    new = Vault(Keyring.switch(key_file, new_id), CountedRandom("still more nonces"))
    sealed_after = new.seal(b"after", merchant_id=7, payout_id=PAYOUT)
    assert sealed_after[1:5] == new_id == Keyring.load(key_file).current
    assert new.open(sealed_before, merchant_id=7, payout_id=PAYOUT) == b"before"
    assert waiting.open(sealed_after, merchant_id=7, payout_id=PAYOUT) == b"after"
    assert new.fingerprint(b"text", 7) == old.fingerprint(b"text", 7)
    with pytest.raises(SealBroken):
        old.open(sealed_after, merchant_id=7, payout_id=PAYOUT)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(key_file.parent) == [key_file.name]


def test_rotation_to_an_unknown_key(key_file: Path) -> None:
    """Only a key of the file can be made current."""
    made = Keyring.create(key_file, CountedRandom())
    with pytest.raises(KeyFileError, match="has no key 00000000"):
        Keyring.switch(key_file, bytes(4))
    assert Keyring.load(key_file) == made


def test_one_change_at_a_time(key_file: Path) -> None:
    """While another command changes the file, or died at it, a change is refused and the error says what to delete."""
    made = Keyring.create(key_file, CountedRandom())
    left = key_file.with_name(f".{key_file.name}.new")
    left.touch()
    with pytest.raises(KeyFileError, match=f"delete {left}"):
        Keyring.add_key(key_file, CountedRandom("second"))
    assert Keyring.load(key_file) == made
    left.unlink()
    Keyring.add_key(key_file, CountedRandom("second"))


def test_nothing_printed_holds_a_key(key_file: Path, vault: Vault) -> None:
    """The ring's and the vault's repr name ids, never keys."""
    ring = Keyring.load(key_file)
    printed = f"{ring!r} {ring} {vault!r} {[ring]}"
    stored = json.loads(key_file.read_text())
    assert all(text not in printed for text in stored["keys"].values())
    assert all(key.hex() not in printed and repr(key) not in printed for key in ring.keys.values())
    assert ring.current.hex() in printed
