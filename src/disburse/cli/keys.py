"""`disburse keys`: the keys that seal destinations. Lives here: showing their ids, and rotation in its two steps.

No key is ever printed. A rotation that took one step would leave running processes with records they cannot read: so a key
is added, every process is started anew, and then the key is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, NoInstallation, Place, group
from disburse.storage.keyring import Keyring

app = group("keys")


@app.default
def show_keys(*, place: Place = HERE) -> None:
    """Show the ids of the keys that seal destinations."""
    path = _path(place)
    _tell(path, Keyring.load(path), place)


@app.command
def rotate(
    *,
    use: Annotated[str | None, Parameter(help="The second step: seal with this key from now on.")] = None,
    place: Place = HERE,
) -> None:
    """Seal with a fresh key, in two steps: add it, start every process anew, then run this again with --use KEY.

    Old keys stay: what was sealed with them is still read. Back up the key file after each step.
    """
    from disburse.world import RealRandom

    path = _path(place)
    if use is None:
        ring, fresh = Keyring.add_key(path, RealRandom())
        _tell(path, ring, place, added=fresh)
        return
    try:
        wanted = bytes.fromhex(use)
    except ValueError:
        raise BadUsage("--use is a key's id as `disburse keys` shows it.") from None
    _tell(path, Keyring.switch(path, wanted), place, switched=True)


def _path(place: Place) -> Path:
    from disburse.wiring import KEYS

    data = Path(place.load().data)
    if not (data / KEYS).exists():
        raise NoInstallation(f"There is no installation in {data}: it has no {KEYS}.")
    return data / KEYS


def _tell(path: Path, ring: Keyring, place: Place, *, added: bytes | None = None, switched: bool = False) -> None:
    if place.json:
        shown = {
            "file": str(path), "keys": [key.hex() for key in ring.keys], "current": ring.current.hex(),
            "fingerprint": ring.fingerprint.hex(),
        }  # fmt: skip
        show.say_json(shown | ({"added": added.hex()} if added is not None else {}))
        return
    uses = {ring.current: "seals new payouts", ring.fingerprint: "makes fingerprints, for life"}
    if ring.current == ring.fingerprint:
        uses[ring.current] = "seals new payouts; makes fingerprints, for life"
    show.table(
        ("key", "what it does"),
        [(key.hex(), uses.get(key, "reads what it sealed")) for key in ring.keys],
        title=str(path),
    )
    if added is not None:
        show.say(
            f"Added {added.hex()}; it is not used yet. Back up the file, restart every process of this installation,"
        )
        show.say(f"then run: disburse keys rotate --use {added.hex()}")
    elif switched:
        show.say("New payouts are sealed with it by every process started from now on. Restart what is running.")
