"""From a registry's file to a plan: reading, judging, drafting and planning in one stream. For the command line and for the REST door.

Lives here: what a file is read and judged with, its digest, and that it did not change meanwhile. May not live here: bytes
(`protocols/registry_*`), what a row must be (`domain/registry.py`), what is stored (`operations/registry_plan.py`), a second
process (`cli/registry_helper.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from disburse.domain.merchant import Merchant
from disburse.domain.refusals import Refusal
from disburse.domain.registry import Rules, Tally, judge
from disburse.domain.registry_states import NOBODY, Drift, LetPass, same
from disburse.operations.registry_compare import compare
from disburse.operations.registry_draft import LARGEST, Judged, Piece
from disburse.operations.registry_plan import Planner, Registry, begin, plan_all
from disburse.operations.registry_rules import Terms
from disburse.operations.repeats import RequestName
from disburse.protocols.registry_read import Reading, read
from disburse.protocols.registry_rows import DEFAULT_LIMITS, DEFAULT_OPTIONS, Limits, Options, Refused, Row

AnyKind = Literal["auto", "csv", "xlsx", "unitpay", "jsonl"]
_BLOCK: Final = 1 << 20


class BadFile(Refusal):
    """The file cannot be taken as a registry."""


@dataclass(frozen=True, slots=True)
class How:
    """How a file is to be read. `members`: the banks of SBP that rows may name."""

    members: frozenset[str]
    kind: AnyKind = "auto"
    options: Options = DEFAULT_OPTIONS
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Planned:
    """A registry that was planned, how its file was understood, and what the plan's file shows of it."""

    registry: Registry
    reading: Reading
    planner: Planner


def sha256_of(file: BinaryIO) -> tuple[bytes, int]:
    """SHA-256 and size of all of a file."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.digest(), size


def pieces(reading: Reading, how: How, merchant: Merchant) -> Iterator[Judged]:
    """The rows of a file, judged, in pieces; then its control rows are held against them. Raises BadFile, TotalsDisagree."""
    rules, tally = Rules(how.members, merchant.sbp_bank), Tally()
    try:
        for rows in _evenly(reading):
            judged = [(row, judge(row, rules)) for row in rows]
            tally.add_all(judged)
            yield judged
    except Refused as refused:
        raise BadFile(str(refused)) from None
    for told in reading.declared:
        tally.check(told.line, told.count, told.sum_text, told.currency)


def _evenly(reading: Reading) -> Iterator[list[Row]]:
    """Rows as they come, but in pieces of one size: each piece costs a transaction."""
    waiting: list[Row] = []
    for rows in reading:
        waiting += rows
        while len(waiting) >= LARGEST:
            yield waiting[:LARGEST]
            del waiting[:LARGEST]
    if waiting:
        yield waiting


def opened(file: BinaryIO, how: How) -> Reading:
    """The file, ready to be read. Raises BadFile."""
    try:
        return read(file, kind=how.kind, limits=how.limits, options=how.options)
    except Refused as refused:
        raise BadFile(str(refused)) from None


Elsewhere = Callable[[Iterator[Piece]], AsyncGenerator[Piece, None]]
"""Lets something else make the pieces, and gives them here: see `cli/registry_helper.py`."""


async def plan_file(
    terms: Terms, merchant: Merchant, file: BinaryIO, name: str, how: How, *, actor: str, again: bool = False, pay: LetPass = NOBODY,
    told: Callable[[int], None] = lambda rows: None, elsewhere: Elsewhere | None = None, request: RequestName | None = None,
) -> Planned:  # fmt: skip
    """Read, judge and plan a file. Raises BadFile, TotalsDisagree, and what `registry_plan.plan_all` raises."""
    digest, size = sha256_of(file)
    reading = opened(file, how)
    planner = await begin(terms, merchant, file_name=name, file_digest=digest, file_bytes=size, again=again, actor=actor, pay=pay, name=request)

    def drafted() -> Iterator[Piece]:
        for judged in pieces(reading, how, merchant):
            yield planner.drafter.draft(judged)
        if sha256_of(file) != (digest, size):
            raise BadFile("The file changed while it was read.")

    async with aclosing((elsewhere or _here)(drafted())) as stream:
        registry = await plan_all(planner, stream, told)
    return Planned(registry, reading, planner)


async def _here(drafted: Iterator[Piece]) -> AsyncGenerator[Piece, None]:
    for piece in drafted:
        yield piece


async def drift_of_file(terms: Terms, merchant: Merchant, registry: Registry, file: BinaryIO, how: How) -> list[Drift]:
    """What a file says that is not as it was planned; nothing where its digest is the same. Raises StoreUnavailable."""
    digest, _ = sha256_of(file)
    if same(digest, registry.file_digest):
        return []
    found = [Drift("file", f"SHA-256 {registry.file_digest.hex()[:16]}", digest.hex()[:16])]
    try:
        return found + await compare(terms, merchant, registry, pieces(opened(file, how), how, merchant))
    except Refusal as refusal:
        return [*found, Drift("file as a whole", "readable", str(refusal).rstrip("."))]
