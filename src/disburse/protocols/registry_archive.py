"""The package around a sheet: a ZIP archive and the XML in it, both taken for hostile.

Lives here: what bounds an archive's memory and time before anything is unpacked, and a walk through one XML part that holds no tree.
May not live here: what the elements of a sheet mean (`registry_sheet.py`).

Sizes are judged from the directory first (and the archive module never gives more of an entry than its directory says). Every bound on
the XML stands for something that expat keeps: depth, names, one token. A document type is refused, so that there are no entities.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final, NoReturn
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from disburse.protocols.registry_rows import Limits, Refused

_END: Final = struct.Struct("<4s4H2LH")
_MOST_ENTRIES: Final = 1000
_LONGEST_DIRECTORY: Final = 1024**2
_RATIO_FROM: Final = 64 * 1024  # smaller entries may be as dense as they like
_READ: Final = 64 * 1024
_LONGEST_TOKEN: Final = 1024**2
_DEEPEST: Final = 50
_MOST_NAMES: Final = 300
_SPACES: Final = frozenset({
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
    "http://schemas.openxmlformats.org/package/2006/relationships",
})  # fmt: skip
_BROKEN: Final = (BadZipFile, OSError, ValueError, EOFError, RuntimeError, struct.error, zlib.error, OverflowError)

USE_CSV: Final = "save it as CSV, which may be of any size"


class Archive:
    """An XLSX file whose sizes are within the limits. Parts are found by name in any case, as some programs write them."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        """Raises Refused: not an archive, too large, too dense, with a password, with macros or links to other files."""
        _check_end(file, limits)
        try:
            self._zip = ZipFile(file)
        except _BROKEN:
            _damaged()
        self._entries = {entry.filename.lower().replace("\\", "/"): entry for entry in self._zip.infolist()}
        if len(self._entries) != len(self._zip.infolist()):
            _damaged()
        unpacked = 0
        for name, entry in self._entries.items():
            unpacked += entry.file_size
            if entry.flag_bits & 1:
                raise Refused("it is protected by a password; save it without")
            if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                _damaged()
            if entry.file_size > _RATIO_FROM and entry.file_size > limits.sheet_ratio * max(entry.compress_size, 1):
                raise Refused(f"it unpacks to more than {limits.sheet_ratio} times its size; {USE_CSV}")
            if name.endswith("vbaproject.bin") or "/macrosheets/" in name:
                raise Refused("it has macros; save it as XLSX without them")
            if "/externallinks/" in name or name.endswith("/connections.xml"):
                raise Refused("it takes values from other files; save values instead, or CSV")
        if unpacked > limits.sheet_unpacked:
            raise Refused(f"it unpacks to {unpacked} bytes; at most {limits.sheet_unpacked} are read; {USE_CSV}")

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        return name.lower() in self._entries

    def part(self, name: str) -> Iterator[bytes]:
        """The bytes of a part in pieces. Raises Refused when there is none, or it is damaged."""
        entry = self._entries.get(name.lower())
        if entry is None:
            _damaged()
        try:
            with self._zip.open(entry) as part:
                while piece := part.read(_READ):
                    yield piece
        except _BROKEN:
            _damaged()


def _damaged() -> NoReturn:
    raise Refused("it is no XLSX file, or a damaged one; save it again, or as CSV")


def _check_end(file: BinaryIO, limits: Limits) -> None:
    """Judge the archive's last record ourselves: the module would read a directory of any length into memory."""
    size = file.seek(0, 2)
    if size > limits.sheet_bytes:
        raise Refused(f"a sheet may have {limits.sheet_bytes} bytes and this has {size}; {USE_CSV}")
    file.seek(max(0, size - _END.size - 20))
    tail = file.read()
    if len(tail) < _END.size:
        _damaged()
    mark, disk, _, here, entries, length, _, comment = _END.unpack(tail[-_END.size :])
    wider = tail[-_END.size - 20 :][:4] == b"PK\x06\x07"  # a second, wider record
    if mark != b"PK\x05\x06" or disk or comment or wider or here != entries or entries > _MOST_ENTRIES or length > _LONGEST_DIRECTORY:
        _damaged()


Start = Callable[[str, Mapping[str, str]], None]
End = Callable[[str, str], None]


class Walk:
    """One pass through an XML part. `start` is called with an element's name and attributes, `end` with its name and its own text.

    Names are local ones, and elements of foreign namespaces are passed over (so is the text in them). `most` bounds the elements.
    """

    def __init__(self, start: Start, end: End, most: int) -> None:
        self._start, self._end, self._most = start, end, most
        self._names: dict[str, str] = {}
        self._attributes: set[str] = set()
        self._depth = self._count = 0
        self._text: list[str] = []
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._close
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._space
        self._declared = 0

    def feed(self, pieces: Iterator[bytes]) -> Iterator[None]:
        """Walk on, piece by piece; what was found so far can be taken away after each. Raises Refused."""
        fed = 0
        try:
            for piece in pieces:
                self._parser.Parse(piece, False)
                fed += len(piece)
                if fed - self._parser.CurrentByteIndex > _LONGEST_TOKEN or sum(map(len, self._text)) > _LONGEST_TOKEN:
                    _damaged()
                yield None
            self._parser.Parse(b"", True)
        except (expat.ExpatError, LookupError, ValueError):
            _damaged()
        yield None

    def through(self, pieces: Iterator[bytes]) -> None:
        """Walk through all of it. Raises Refused."""
        for _ in self.feed(pieces):
            pass

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > _DEEPEST:
            _damaged()
        if self._count > self._most:
            raise Refused(f"there is too much in the sheet; {USE_CSV}")
        local = self._names.get(name)
        if local is None:
            local = self._learn(name)
        if not attributes.keys() <= self._attributes:
            self._attributes.update(attributes)
            if len(self._attributes) > _MOST_NAMES:
                _damaged()
        self._text.clear()
        if local:
            self._start(local, attributes)

    def _close(self, name: str) -> None:
        self._depth -= 1
        local = self._names[name]
        if local:
            text = self._text
            self._end(local, text[0] if len(text) == 1 else "".join(text))
        self._text.clear()

    def _learn(self, name: str) -> str:
        space, _, local = name.rpartition(" ")
        self._names[name] = found = local if space in _SPACES else ""
        if len(self._names) > _MOST_NAMES:
            _damaged()
        return found

    def _space(self, _prefix: str | None, _uri: str | None) -> None:
        self._declared += 1
        if self._declared > _MOST_NAMES:
            _damaged()

    @staticmethod
    def _doctype(*_: object) -> None:
        raise Refused("it has a document type, which no sheet has; save it again, or as CSV")
