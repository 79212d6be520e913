"""The text of a registry: which encoding its bytes have, and its lines in blocks of bounded size.

Lives here: byte order marks, telling UTF-8 from Windows-1251 by looking at the whole file, the three line ends. May not live here: what
a line means (`registry_csv.py`, `registry_jsonl.py`).

A file is looked through once before it is read: guessing from its beginning would read its end wrongly. Bytes that do not fit the
encoding become U+FFFD or lone surrogates, and whoever makes rows has a fault for both, so that one broken name costs one row.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from disburse.protocols.registry_rows import Limits, Refused

ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be", "windows-1251")
"""What can be read, and what the option `encoding` may say."""

_BLOCK: Final = 128 * 1024
_LOOK: Final = 1024**2
_SAMPLE: Final = 4 * 1024**2
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ESCAPED: Final = re.compile("[\udc80-\udcff]+")
_BEYOND: Final = re.compile("[^\x00-\x7f\udc80-\udcff]+")
_HIGH: Final = bytes(range(0x80))
_NOT_LETTERS: Final = bytes([*range(0x80), *range(0xC0, 0x100), 0xA8, 0xB8, 0xA0, 0xAB, 0xBB, 0xB9, 0x96, 0x97])

_CONTROLS: Final = bytes([*range(9), *range(0x0B, 0x20), 0x7F])
ESCAPED: Final = re.compile(r'\\"(?!")')
"""A quote behind a backslash, and not one of two that are one."""

_SUSPECT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


class Survey(msgspec.Struct, frozen=True):
    """What one look through the file found: its encoding, where its text begins, and how many double quotes it holds."""

    encoding: str
    start: int
    quotes: int


class Block(msgspec.Struct, frozen=True, gc=False):
    """Some whole lines. `first` is the number of the first, from 1; `suspect` says that a control or a broken character may be among them, or a
    cell that is too long; `escaped` that a quote stands behind a backslash."""

    first: int
    lines: list[str]
    suspect: bool
    quotes: int
    escaped: bool


def survey(file: BinaryIO, limits: Limits, encoding: str | None) -> Survey:
    """Look through a file. Raises Refused when it is empty, too large, or its encoding cannot be told."""
    if encoding is not None and encoding not in ENCODINGS:
        raise Refused(f"the option `encoding` is one of {', '.join(ENCODINGS)}")
    size = file.seek(0, 2)
    if size > limits.bytes:
        raise Refused(f"the file has {size} bytes; at most {limits.bytes} are read")
    file.seek(0)
    head = file.read(4096)
    if not head.strip():
        raise Refused("the file is empty")
    start, marked = next(((len(mark), name) for mark, name in _MARKS if head.startswith(mark)), (0, None))
    if encoding is not None and marked is not None and marked != encoding:
        raise Refused(f"the file begins with the mark of {marked}, and the option `encoding` says {encoding}")
    told = encoding or marked
    if told is None and head.count(0) * 4 > len(head):
        raise Refused("it looks like UTF-16 without its mark; say which with the option `encoding`: utf-16-le or utf-16-be")
    return _look_through(file, start, told, limits)


def _look_through(file: BinaryIO, start: int, told: str | None, limits: Limits) -> Survey:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    valid, quotes, first_bad = told is None, 0, None
    wide = told is not None and told.startswith("utf-16")
    file.seek(start)
    while chunk := file.read(_LOOK):
        if len(chunk) == _LOOK and b"\n" not in chunk and b"\r" not in chunk and limits.line * 4 <= _LOOK:
            raise Refused(f"from byte {file.tell() - len(chunk)} on there is a line of more than {limits.line} characters")
        quotes += _wide_quotes(chunk, told == "utf-16-le") if wide else chunk.count(b'"')
        if valid and not (chunk.isascii() and not decoder.getstate()[0]):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                valid, first_bad = False, max(0, file.tell() - len(chunk) - 4)
    if valid:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            first_bad = max(0, file.tell() - 4)
    if told is None:
        told = "utf-8" if first_bad is None else _without_mark(file, first_bad)
    return Survey(told, start, quotes)


def _wide_quotes(chunk: bytes, little: bool) -> int:
    """Quotes in UTF-16; chunks are of even size but for the last."""
    return chunk.decode("utf-16-le" if little else "utf-16-be", "replace").count('"')


def _without_mark(file: BinaryIO, first_bad: int) -> str:
    """The encoding of a file that is not UTF-8 throughout: Windows-1251, or UTF-8 with a few broken bytes. Raises Refused."""
    file.seek(first_bad)
    sample = file.read(_SAMPLE)
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
    broken = sum(map(len, _ESCAPED.findall(text)))
    whole = sum(map(len, _BEYOND.findall(text)))
    if whole >= 4 * broken:
        return "utf-8"
    high = len(sample.translate(None, _HIGH))
    if whole * 4 <= broken and len(sample.translate(None, _NOT_LETTERS)) * 5 <= high:
        return "windows-1251"
    raise Refused(f"it is neither UTF-8 nor plainly Windows-1251; say which with the option `encoding`: {', '.join(ENCODINGS)}")


def blocks(file: BinaryIO, found: Survey, limits: Limits, *, tabs: bool) -> Iterator[Block]:
    """The file's lines, without their ends. `tabs`: a tab is no suspect here, since it parts cells. Raises Refused for too long lines."""
    errors = "replace" if found.encoding.startswith("utf-16") else "surrogateescape"
    decoder = codecs.getincrementaldecoder(found.encoding)(errors)
    file.seek(found.start)
    line, carry, ended = 1, "", False
    while not ended:
        raw = file.read(_BLOCK)
        ended = not raw
        text = carry + decoder.decode(raw, final=ended)
        held = ""
        if "\r" in text:
            if text.endswith("\r") and not ended:  # its line feed may be the next byte
                text, held = text[:-1], "\r"
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        carry = lines.pop() + held
        if ended and carry:
            lines.append(carry)
        long = max(map(len, lines), default=0)
        if len(carry) > limits.line or long > limits.line:
            longest = next((at for at, one in enumerate(lines) if len(one) > limits.line), len(lines))
            raise Refused(f"the line has more than {limits.line} characters", line=line + longest)
        if lines:
            quotes = text.count('"') - (0 if ended else carry.count('"'))
            yield Block(line, lines, long > limits.field or _suspect(text, tabs), quotes, quotes > 0 and ESCAPED.search(text) is not None)
            line += len(lines)


def _suspect(text: str, tabs: bool) -> bool:
    if not tabs and "\t" in text:
        return True
    if text.isascii():
        return len(text.encode("ascii").translate(None, _CONTROLS)) != len(text)
    return _SUSPECT.search(text) is not None
