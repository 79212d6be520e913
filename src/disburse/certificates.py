"""Where certificates are kept and which one counts: those that ship with the package, and those in the data directory.

Lives here: files, the digest of a kind's code, and the grade of a configured connector. May not live here: scenarios, what a grade
takes away (`certify/`), how connectors are configured (`kinds.py`).

A certificate that ships counts whatever version it names: it came with the code that it speaks of, and a test runs the
certification again. A stranger's code is known by its package's name, version and files, and by our own version beside it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Final

import msgspec

from disburse import __version__
from disburse.certify.certificate import Certificate, Grade, covers
from disburse.connectors.contract import Capabilities
from disburse.connectors.kind import Kind
from disburse.settings import BadSettings

DIRECTORY: Final = "certificates"
SHIPPED: Final = "certificates.json"
_OURS: Final = "disburse"
_CODE: Final = frozenset((".py", ".toml", ".json", ".so", ".pyd"))
LONGEST_CERTIFICATE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Standing:
    """The grade that a connector has, and why, in a sentence without a stop. `certificate` is what it rests on, if anything."""

    grade: Grade
    why: str
    certificate: Certificate | None = None


def standing_of(
    name: str, kind_name: str, kind: Kind, entry: metadata.EntryPoint, able: Capabilities, data: Path, *, uncertified: bool
) -> Standing:
    """The grade of a configured connector. Raises BadSettings for a certificate that cannot be read.

    A sandbox in our own process has no wire that could lie; it needs none. Without a certificate nothing is sent, unless the
    operator's table says `uncertified = true`.
    """
    if kind.in_process and able.sandbox:
        return Standing(Grade.A, "a sandbox in this process needs none")
    code = code_of(entry, kind)
    own = read(data, name)
    if own is not None and covers(own, kind_name, code, able):
        return Standing(own.grade, f"certified {own.at[:10]}", own)
    if entry.module.split(".")[0] == _OURS:
        for one in shipped():
            if covers(one, kind_name, None, able):
                return Standing(one.grade, "certified as it ships", one)
    why = "no certificate" if own is None else "its certificate speaks of other code or promises"
    if uncertified:
        return Standing(Grade.B, f"{why}; the settings let it send all the same")
    return Standing(Grade.C, why)


@cache
def shipped() -> tuple[Certificate, ...]:
    """The certificates of the kinds that ship."""
    raw = resources.files("disburse.data").joinpath(SHIPPED).read_bytes()
    return tuple(msgspec.json.decode(raw, type=list[Certificate]))


def read(data: Path, name: str) -> Certificate | None:
    """The certificate of a connector in the data directory. Raises BadSettings when it cannot be read."""
    path = data / DIRECTORY / f"{name}.json"
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LONGEST_CERTIFICATE), type=Certificate)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as fault:
        raise BadSettings(f"The certificate in {path} cannot be read ({type(fault).__name__}). Certify {name} again.") from None


def store(data: Path, name: str, certificate: Certificate) -> Path:
    """Keep a certificate in the place of an earlier one; the file. Raises OSError."""
    path = data / DIRECTORY / f"{name}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_bytes(msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n")
    written.replace(path)
    return path


def code_of(entry: metadata.EntryPoint, kind: Kind) -> str:
    """Which code a kind is: our version; for a stranger's also its package's name, version and a digest of its files.

    Its files are those of the top-level packages that its entry point, settings, maker and simulator come from.
    """
    top = entry.module.split(".")[0]
    if top == _OURS:
        return f"Disburse {__version__}"
    digest = hashlib.sha256()
    makers = (kind.settings, kind.make, kind.simulator)
    tops = {top, *(str(getattr(one, "__module__", top)).split(".")[0] for one in makers if one is not None)}
    for one in sorted(tops - {_OURS}):
        for relative, path in _files(one):
            digest.update(f"{relative}\n{path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    dist = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else top
    return f"{dist} sha256:{digest.hexdigest()[:32]}, Disburse {__version__}"


def _files(top: str) -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places and spec is not None and spec.origin is not None:
        yield Path(spec.origin).name, Path(spec.origin)
    for place in sorted(places):
        root = Path(place)
        for path in sorted(root.rglob("*")):
            if path.suffix in _CODE and path.is_file():
                yield path.relative_to(root).as_posix(), path
