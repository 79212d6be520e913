"""`verify`: every invariant on one snapshot, and a bank's own book beside ours. It changes nothing and trusts nothing.

Lives here: running the checks of `storage/verify.py` on one REPEATABLE READ snapshot, and reading a sandbox bank's book
(design.md section 6, last paragraph). It may run while payouts are made. The book is read before the snapshot is taken, so
that what it lacks we had not sent; where it seems to lack a payment that we call settled it is read again, since that line
may have been written in between. What the bank paid and we have not heard of yet is no breach: doubt is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from disburse.domain.money import read_amount
from disburse.domain.refusals import Refusal
from disburse.storage.database import Database, Transaction
from disburse.storage.verify import CHECKS
from disburse.storage.verify_bank import BankBook, book_checks, our_checks, unsettled
from disburse.storage.verify_check import Check, look, prepare, sizes

SANDBOX = "sandbox"
"""The connector whose book is compared, unless another is named."""


class UnreadableBook(Refusal):
    """The bank's book cannot be read."""


class Deed(msgspec.Struct, frozen=True, gc=False):
    """One line of a bank's book, as far as it concerns us. Of an absent id nothing but the id is known."""

    end_to_end_id: str
    did: str
    amount: str | None = None
    currency: str | None = None


ReadDeeds = Callable[[], Iterable[Deed]]
"""Reads a book from its beginning, each time it is called."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant that does not hold: its name, the sentence that is not true, how many rows break it, some of them."""

    check: str
    sentence: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BookSize:
    """How much of a bank's book was compared. `unsettled`: payments in it that we have not heard of yet."""

    payments: int
    returns: int
    unsettled: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at and what broke. `rows`: how many merchants, payouts, postings, events, and payouts that are frozen."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    rows: dict[str, int]
    book: BookSize | None = None

    @property
    def holds(self) -> bool:
        return not self.findings


async def verify(
    database: Database,
    *,
    bank_book: Path | None = None,
    deeds: ReadDeeds | None = None,
    connector: str = SANDBOX,
    about_to: Callable[[str], None] | None = None,
) -> Report:
    """Check everything on one snapshot; with a bank's book (a file, or deeds from elsewhere) that too.

    `about_to` hears the name of each check before it is put. Raises UnreadableBook, and OSError for the file.
    """
    read = partial(read_bank_book, bank_book) if bank_book is not None else deeds
    early = _book(read(), connector) if read is not None else None

    async def work(tx: Transaction) -> Report:
        await prepare(tx)
        run = _Run(tx, about_to)
        rows = await sizes(tx)
        for check in CHECKS:
            await run.put(check)
        book = await _compare(run, early, read, connector) if early is not None and read is not None else None
        return Report(tuple(run.findings), tuple(run.checks), rows, book)

    return await database.snapshot(work)


class _Run:
    """The checks as they are put to one snapshot, and what they found."""

    def __init__(self, tx: Transaction, about_to: Callable[[str], None] | None) -> None:
        self.tx = tx
        self.findings: list[Finding] = []
        self.checks: list[str] = []
        self._about_to = about_to

    async def put(self, check: Check, again: Callable[[], Check] | None = None) -> None:
        """Put a check; where it breaks and there is another to put in its place, that one decides."""
        self.checks.append(check.name)
        if self._about_to is not None:
            self._about_to(check.name)
        broken = await look(self.tx, check)
        if broken is not None and again is not None:
            broken = await look(self.tx, again())
        if broken is not None:
            self.findings.append(Finding(check.name, check.sentence, broken.count, broken.examples))


async def _compare(run: _Run, early: BankBook, read: ReadDeeds, connector: str) -> BookSize:
    for check in book_checks(early):
        await run.put(check)
    late: list[tuple[Check, ...]] = []

    def of_late_book(place: int) -> Check:
        if not late:
            late.append(our_checks(_book(read(), connector)))
        return late[0][place]

    for place, check in enumerate(our_checks(early)):
        await run.put(check, partial(of_late_book, place))
    return BookSize(len(early.paid), len(early.returned), await unsettled(run.tx, early))


def read_bank_book(path: Path) -> Iterator[Deed]:
    """A sandbox bank's book, line by line. A last line that a kill tore off does not count: it was never answered.

    Raises UnreadableBook, naming the line, and OSError.
    """
    decode = msgspec.json.Decoder(Deed).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise UnreadableBook(f"Line {number} of the bank's book cannot be read.") from None


def _book(deeds: Iterable[Deed], connector: str) -> BankBook:
    paid: list[Deed] = []
    returned: list[str] = []
    for deed in deeds:
        if deed.did == "paid":
            paid.append(deed)
        elif deed.did == "returned":
            returned.append(deed.end_to_end_id)
    return BankBook(connector, [deed.end_to_end_id for deed in paid], *_amounts(paid), returned)


def _amounts(paid: Sequence[Deed]) -> tuple[list[int], list[str]]:
    amounts, currencies = [], []
    for deed in paid:
        try:
            amount = read_amount(deed.amount or "", deed.currency or "")
        except Refusal:
            raise UnreadableBook(f"The bank's book names no amount for {deed.end_to_end_id[:40]!r}.") from None
        amounts.append(amount.minor)
        currencies.append(amount.currency)
    return amounts, currencies
