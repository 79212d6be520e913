"""The bank's book: what a line is, that it is on disk before anybody is answered, and what a restart makes of the file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from disburse.connectors.sandbox_book import Book, BookFault, Deed, Did
from disburse.world_spool import FileInUse, FileSpool
from tests.clock import FakeClock, turn
from tests.connectors.sandbox_house import CountingSpool

pytestmark = pytest.mark.asyncio


def deed(number: int, did: Did = Did.PAID) -> Deed:
    return Deed("2026-11-21T12:00:00.000000Z", f"id-{number}", "10.00", "RUB", "card", "1111", did)


def ignore(line: int, deed: Deed) -> None:
    """Replays nothing."""


class Recorder:
    """Keeps what a book replays."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Deed]] = []

    def __call__(self, line: int, deed: Deed) -> None:
        self.lines.append((line, deed))


async def reopened(path: Path) -> list[tuple[int, Deed]]:
    recorder = Recorder()
    book = Book(FileSpool(path), FakeClock())
    await book.open(recorder)
    await book.close()
    return recorder.lines


async def test_a_line_has_the_documented_keys(tmp_path: Path) -> None:
    """A line holds exactly the documented keys, in their order, and is on disk once `synced` returns."""
    path = tmp_path / "book.jsonl"
    book = Book(FileSpool(path), FakeClock())
    await book.open(ignore)
    await book.synced(book.add(deed(1)))
    assert path.read_text() == (
        '{"at":"2026-11-21T12:00:00.000000Z","end_to_end_id":"id-1","amount":"10.00","currency":"RUB","rail":"card",'
        '"last4":"1111","did":"paid"}\n'
    )
    await book.close()


async def test_deeds_of_one_moment_share_a_sync(tmp_path: Path) -> None:
    """Lines that come while a sync is under way all go out in the next one, in order, and none is told before its own."""
    spool = CountingSpool(tmp_path / "book.jsonl")
    book = Book(spool, FakeClock())
    await book.open(ignore)
    spool.gate.clear()
    first = asyncio.create_task(book.synced(book.add(deed(1))))
    await turn()
    rest = [asyncio.create_task(book.synced(book.add(deed(number)))) for number in range(2, 102)]
    await turn()
    assert not first.done() and not any(task.done() for task in rest)
    spool.gate.set()
    await asyncio.gather(first, *rest)
    assert spool.syncs <= 2
    await book.close()
    assert [line.end_to_end_id for _, line in await reopened(tmp_path / "book.jsonl")] == [
        f"id-{n}" for n in range(1, 102)
    ]


async def test_one_who_gives_up_waiting_disturbs_nobody(tmp_path: Path) -> None:
    """Cancelling one waiter leaves the others of the same sync, and its own line, as they are."""
    spool = CountingSpool(tmp_path / "book.jsonl")
    book = Book(spool, FakeClock())
    await book.open(ignore)
    spool.gate.clear()
    waiters = [asyncio.create_task(book.synced(book.add(deed(number)))) for number in (1, 2)]
    await turn()
    waiters[0].cancel()
    spool.gate.set()
    await waiters[1]
    assert waiters[0].cancelled()
    await book.close()
    assert len(await reopened(tmp_path / "book.jsonl")) == 2


async def test_a_line_torn_anywhere_is_cut_off(tmp_path: Path) -> None:
    """Wherever a kill tore the last line, the book opens without it, and the next line stands on its own."""
    whole = b"".join(json.dumps(vars_of(deed(number))).encode() + b"\n" for number in (1, 2))
    last = json.dumps(vars_of(deed(3))).encode()
    path = tmp_path / "book.jsonl"
    for length in range(len(last) + 1):
        path.write_bytes(whole + last[:length])
        assert [number for number, _ in await reopened(path)] == [1, 2], length
        assert path.read_bytes() == whole
    path.write_bytes(whole + last[:40])
    book = Book(FileSpool(path), FakeClock())
    await book.open(ignore)
    assert book.add(deed(4)) == 3
    await book.close()
    assert [line.end_to_end_id for _, line in await reopened(path)] == ["id-1", "id-2", "id-4"]


def vars_of(line: Deed) -> dict[str, object]:
    return {name: getattr(line, name) for name in line.__struct_fields__}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"{}",
        b'{"at":"x"',
        b"\xff\xfe",
        json.dumps(vars_of(deed(1)) | {"did": "stolen"}).encode(),
        json.dumps(vars_of(deed(1)) | {"more": 1}).encode(),
        json.dumps(vars_of(deed(1)) | {"amount": 10}).encode(),
    ],
)
async def test_a_whole_line_that_is_none_stops_the_bank(tmp_path: Path, text: bytes) -> None:
    """A book that somebody damaged is not repaired and not written to: it names the line, and is left free."""
    path = tmp_path / "book.jsonl"
    good = json.dumps(vars_of(deed(1))).encode() + b"\n"
    path.write_bytes(good + text + b"\n" + good)
    for _ in range(2):
        with pytest.raises(BookFault, match="line 2 "):
            await Book(FileSpool(path), FakeClock()).open(ignore)
    assert path.read_bytes() == good + text + b"\n" + good


@pytest.mark.parametrize("content", [b"x" * 10_000, b"a shopping list", b'{"at":' + b"x" * 10_000])
async def test_a_file_without_lines_is_not_swallowed(tmp_path: Path, content: bytes) -> None:
    """A file that is plainly not a book is refused, not cut down to nothing."""
    path = tmp_path / "book.jsonl"
    path.write_bytes(content)
    with pytest.raises(BookFault):
        await Book(FileSpool(path), FakeClock()).open(ignore)
    assert path.read_bytes() == content


async def test_a_book_larger_than_one_read_is_replayed_whole(tmp_path: Path) -> None:
    """Lines that fall across the reader's chunks are read like any other."""
    path = tmp_path / "book.jsonl"
    line = json.dumps(vars_of(deed(7))).encode() + b"\n"
    count = 3 * (1 << 20) // len(line)
    path.write_bytes(line * count + line[:17])
    replayed = await reopened(path)
    assert len(replayed) == count and replayed[-1] == (count, deed(7))


async def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """One file has one writer: a second bank on the same book does not start, and a closed book is free again."""
    path = tmp_path / "book.jsonl"
    book = Book(FileSpool(path), FakeClock())
    await book.open(ignore)
    with pytest.raises(FileInUse):
        await Book(FileSpool(path), FakeClock()).open(ignore)
    await book.close()
    assert await reopened(path) == []


async def test_a_full_disk_promises_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """While the disk refuses, those who wait are told so and nothing new is taken; what was taken gets out when there is room."""
    clock = FakeClock()
    spool = CountingSpool(tmp_path / "book.jsonl")
    book = Book(spool, clock)
    await book.open(ignore)
    await book.synced(book.add(deed(1)))
    spool.full = True
    line = book.add(deed(2))
    with pytest.raises(BookFault):
        await book.synced(line)
    assert not book.writable
    with pytest.raises(BookFault):
        book.add(deed(3))
    spool.full = False
    spool.gate.clear()
    await clock.advance(1.0)
    spool.gate.set()
    while not book.writable:  # each turn lets the disk's thread answer
        await turn()
    await book.synced(line)
    await book.close()
    assert [line.end_to_end_id for _, line in await reopened(tmp_path / "book.jsonl")] == ["id-1", "id-2"]


async def test_the_book_is_its_owners_alone(tmp_path: Path) -> None:
    """The file is made readable and writable for its owner only."""
    await reopened(tmp_path / "book.jsonl")
    assert (tmp_path / "book.jsonl").stat().st_mode & 0o777 == 0o600


async def test_a_closed_book_takes_nothing(tmp_path: Path) -> None:
    """After `close`, and before `open`, a line is refused."""
    book = Book(FileSpool(tmp_path / "book.jsonl"), FakeClock())
    for _ in range(2):
        with pytest.raises(BookFault):
            book.add(deed(1))
        await book.open(ignore)
        await book.close()
