"""The corpus of the duplicate guard itself: replayed by its seed, complete, true by its obligations, and fair to a machine."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from disburse.domain import destinations
from tests.house.sources import ROOT
from tests.registry_corpus import Corpus, File, Payout, Place, Row, Truth, generate
from tests.registry_corpus.kinds import DUPLICATE_SHARE, DUPLICATES, HONEST
from tests.registry_corpus.scoring import FIRST_MEASURING_SEED, score
from tests.registry_corpus.shapes import DEAD
from tests.registry_corpus.writing import COLUMNS, content

SEEDS = (1, 2)
LARGER = (3, 10_000)
DAYS = timedelta(days=1)
NEAR = 5 * DAYS


@cache
def corpus(seed: int, rows: int = 1_000) -> Corpus:
    return generate(seed, rows)


@cache
def alive_by_merchant(seed: int, rows: int) -> dict[str, list[Payout]]:
    found: dict[str, list[Payout]] = defaultdict(list)
    for payout in corpus(seed, rows).payouts:
        found[payout.merchant].append(payout)
    return found


ALL = [*((seed, 1_000) for seed in SEEDS), LARGER]


# --- what it is --------------------------------------------------------------------------------------------------


def test_same_seed_same_corpus() -> None:
    """One seed makes one corpus in every process, whatever the order of its sets; another seed makes another."""
    code = "import hashlib; from tests.registry_corpus import generate; print(hashlib.sha256(repr(generate(1)).encode()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": salt}, check=True, capture_output=True, text=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(digests) == 1
    assert repr(generate(1)) == repr(corpus(1)) != repr(corpus(2))


@pytest.mark.parametrize(("seed", "rows"), ALL)
def test_every_kind_occurs(seed: int, rows: int) -> None:
    """Every named kind is there, in the smallest corpus too, and about so many rows as were asked for."""
    counts = Counter(truth.kind for truth in corpus(seed, rows).truth.values())
    assert set(counts) == {*DUPLICATES, *HONEST}
    assert rows * 0.95 <= corpus(seed, rows).rows <= rows * 1.25


def test_duplicates_are_rare() -> None:
    """From 10,000 rows on duplicates are one to two of a hundred rows; in the smallest corpus each kind's one makes it a few more."""
    large = corpus(*LARGER)
    assert 0.01 <= sum(truth.duplicate for truth in large.truth.values()) / large.rows <= 0.02
    assert all(sum(truth.duplicate for truth in corpus(seed).truth.values()) <= 0.04 * corpus(seed).rows for seed in SEEDS)
    assert sum(kind.share for kind in DUPLICATES.values()) in range(98, 103)
    assert 0.01 <= DUPLICATE_SHARE <= 0.02


def test_too_few_rows() -> None:
    """A corpus that could not hold every kind is refused."""
    with pytest.raises(ValueError, match="every kind"):
        generate(1, 999)


# --- the truth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "rows"), ALL)
def test_truths_are_consistent(seed: int, rows: int) -> None:
    """A row is a duplicate exactly when a living payout or a row above has discharged its obligations, and it names which."""
    one = corpus(seed, rows)
    payouts = {payout.id: payout for payout in one.payouts}
    by_obligation: dict[str, list[Payout]] = defaultdict(list)
    for payout in one.payouts:
        for obligation in one.discharges[payout.id]:
            by_obligation[obligation].append(payout)
    for file in one.files:
        above: set[str] = set()
        for row in file.rows:
            truth = one.truth[file.id, row.line]
            done = {
                obligation
                for obligation in truth.obligations
                if obligation in above or any(_stands(payout, file) for payout in by_obligation[obligation])
            }
            assert truth.duplicate is (done == set(truth.obligations)) is (truth.kind in DUPLICATES)
            assert not truth.duplicate or truth.like
            for name in truth.like:
                earlier = payouts.get(name)
                assert earlier is None or (earlier.merchant == file.merchant and earlier.created_at < file.uploaded_at)
                assert earlier is not None or name in {f"{file.id}:{line}" for line in range(1, row.line)} | {
                    f"{file.id}:{line}" for line in range(row.line + 1, len(file.rows) + 1) if not truth.duplicate
                }
            above.update(truth.obligations)


def _stands(payout: Payout, file: File) -> bool:
    return payout.created_at < file.uploaded_at and payout.state_at(file.uploaded_at) not in DEAD


def test_duplicates_became_no_payout() -> None:
    """Honest rows became payouts that say which row they came of; duplicates did not. References are a merchant's own, each once."""
    one = corpus(1)
    judged = {file.id for file in one.files}
    came_of = {(payout.file, payout.line) for payout in one.payouts if payout.file in judged}
    assert came_of == {key for key, truth in one.truth.items() if not truth.duplicate}
    references = [(payout.merchant, payout.reference) for payout in one.payouts if payout.reference]
    references += [(file.merchant, row.reference) for file in one.files for row in file.rows
                   if row.reference and one.truth[file.id, row.line].duplicate]  # fmt: skip
    assert len(references) == len(set(references))
    assert [payout.id for payout in one.payouts] == sorted(payout.id for payout in one.payouts)
    assert one.seen_by(one.files[0])[-1].created_at < one.files[0].uploaded_at <= one.payouts[-1].created_at


# --- fairness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "rows"), ALL)
def test_a_duplicate_can_be_seen(seed: int, rows: int) -> None:
    """What shows a duplicate lies in data that an engine has: destination, number, period or name, with a sum that fits."""
    one = corpus(seed, rows)
    payouts = {payout.id: payout for payout in one.payouts}
    for file, row, truth in _judged(one):
        if truth.duplicate:
            earlier = [payouts[name] if name in payouts else file.rows[int(name.split(":")[1]) - 1] for name in truth.like]
            total = sum(past.amount_minor for past in earlier)
            assert abs(row.amount_minor - total) <= max(total * 4 // 100, 5_000), truth.kind
            assert all(_linked(file, row, past) for past in earlier), truth.kind


def _judged(one: Corpus) -> Iterator[tuple[File, Row, Truth]]:
    return ((file, row, one.truth[file.id, row.line]) for file in one.files for row in file.rows)


def _linked(file: File, row: Row, past: Payout | Row) -> bool:
    gap = file.uploaded_at - past.created_at if isinstance(past, Payout) else timedelta(0)
    numbers = _numbers(row.comment) & _numbers(past.comment)
    if row.place == past.place and (gap <= 3 * DAYS + timedelta(hours=1) or numbers):
        return True
    if row.place != past.place and gap <= NEAR + DAYS and not any(len(number) > 2 for number in numbers):
        return row.name is not None or bool(_words(row.comment) & _words(past.comment)) or bool(_FULL_NAME.fullmatch(past.comment))
    return any(len(number) > 2 for number in numbers)


def _numbers(comment: str) -> set[str]:
    return set(re.findall(r"[0-9]+", comment))


def _words(comment: str) -> set[str]:
    return {word for word in re.findall(r"\w+", comment.lower().replace("ё", "е")) if len(word) > 2}


@pytest.mark.parametrize(("seed", "rows"), ALL)
def test_an_honest_row_can_be_seen(seed: int, rows: int) -> None:
    """No honest row equals a living payout of the last five days, or a row above, in destination, sum, name and comment, unless
    the payee was paid so on most days before; nor is it near in sum under one comment; nor does one name get one sum under one
    comment at two destinations, unless they were paid side by side in months before."""
    one, mine = corpus(seed, rows), alive_by_merchant(seed, rows)
    often = {merchant: _often(past, one.files[0].uploaded_at) for merchant, past in mine.items()}
    for file in one.files:
        past = mine[file.merchant]
        near = _near(past, file)
        for row in file.rows:
            truth = one.truth[file.id, row.line]
            others = near[row.comment, row.name]
            for other in [] if truth.duplicate else others:
                if abs(other.amount_minor - row.amount_minor) > row.amount_minor // 25:
                    continue
                if other.place == row.place:
                    assert other.amount_minor == row.amount_minor and row.place in often[file.merchant], truth.kind
                elif row.name is not None or _FULL_NAME.search(row.comment):
                    assert _side_by_side(past, row, other, file), truth.kind
            others.append(row)


_FULL_NAME = re.compile("[А-ЯЁ][а-яё]+ [А-ЯЁ][а-яё]+ [А-ЯЁ][а-яё]+(?:вич|вна)")


def _near(past: list[Payout], file: File) -> defaultdict[tuple[str, str | None], list[Payout | Row]]:
    """The living payouts of the last five days, by what is written."""
    found: defaultdict[tuple[str, str | None], list[Payout | Row]] = defaultdict(list)
    for payout in past[bisect_left(past, file.uploaded_at - NEAR, key=lambda payout: payout.created_at) :]:
        if payout.created_at >= file.uploaded_at:
            break
        if _stands(payout, file):
            found[payout.comment, payout.name].append(payout)
    return found


def _often(past: list[Payout], before: datetime) -> set[Place]:
    """Where money went more than once a day on at least twenty days before that moment."""
    days = Counter((payout.place, payout.created_at.date()) for payout in past if payout.created_at < before)
    often = Counter(place for (place, _), times in days.items() if times > 1)
    return {place for place, times in often.items() if times >= 20}


def _side_by_side(past: list[Payout], row: Row, other: Payout | Row, file: File) -> bool:
    old = [payout for payout in past if payout.created_at < file.uploaded_at - 20 * DAYS]
    files = [{payout.file for payout in old if payout.place == place} for place in (row.place, other.place)]
    return bool(files[0] & files[1])


def test_nothing_betrays_the_kind() -> None:
    """What an honest retry and a repeated order are called, and how their references look, is the same: only states differ."""
    names: dict[str, set[str]] = {"retry_after_failure": set(), "retry_new_reference": set()}
    suffixes = {kind: 0 for kind in names}
    for file, row, truth in _judged(corpus(*LARGER)):
        if truth.kind in names:
            names[truth.kind].add(file.name)
            suffixes[truth.kind] += row.reference is not None and row.reference.count("-") == 2
    assert names["retry_after_failure"] & names["retry_new_reference"]
    assert all(suffixes.values())


# --- numbers, files, counting ------------------------------------------------------------------------------------


def test_destinations_can_be_paid() -> None:
    """Every destination, as its file writes it, reads as one that the product takes, and as the same one."""
    for file, row, _ in _judged(corpus(1)):
        assert _read(row.place.rail, row.number_text, row.place.bank) == row.place, file.id


def _read(rail: str, number: str, bank: str | None) -> Place:
    match rail:
        case "card":
            read = destinations.read_card(number, luhn=True)
        case "sbp":
            read = destinations.read_sbp(number, bank)
        case "account":
            read = destinations.read_account(number, bank)
        case "qiwi":
            read = destinations.read_qiwi(number)
        case "webmoney":
            read = destinations.read_webmoney(number)
        case _:
            read = destinations.read_usdt(number)
    return Place(read.rail.value, read.number, read.bank)


def test_files_are_written() -> None:
    """A file's bytes hold its rows in its own encoding and separator, and the sums read back are the rows' sums."""
    seen = set()
    for file in corpus(1).files:
        lines = list(csv.reader(io.StringIO(content(file).decode(file.encoding), newline=""), delimiter=file.separator))
        assert (tuple(lines.pop(0)) if file.header else COLUMNS) == COLUMNS
        for row, cells in zip(file.rows, lines, strict=True):
            whole, _, rest = cells[4].replace(",", ".").partition(".")
            assert int(whole + rest.ljust(6 if row.currency == "USDT" else 2, "0")) == row.amount_minor
            assert (cells[0], cells[6], cells[7] or None) == (row.place.rail, row.comment, row.reference)
        seen.add((file.separator, file.encoding))
    assert len(seen) >= 3


def test_it_is_not_easy() -> None:
    """To ask about an equal sum to an equal destination within three days is no guard: it asks too much, and misses much."""
    one, mine = corpus(1), alive_by_merchant(1, 1_000)
    asked = set()
    for file, row, _ in _judged(one):
        near = [past for past in mine[file.merchant] if past.created_at < file.uploaded_at <= past.created_at + 3 * DAYS]
        if any((past.place, past.amount_minor) == (row.place, row.amount_minor) for past in near):
            asked.add((file.id, row.line))
    naive = score(one, asked)
    assert naive.precision < 0.5 and naive.recall < 0.8


def test_counting() -> None:
    """Asking about everything finds all and is mostly needless; about nothing, the reverse; about the duplicates, neither fails."""
    one = corpus(1)
    right = {key for key, truth in one.truth.items() if truth.duplicate}
    perfect, none, everything = score(one, right), score(one, set()), score(one, set(one.truth))
    assert (perfect.precision, perfect.recall, perfect.hits) == (1.0, 1.0, len(right))
    assert (none.precision, none.recall, none.missed) == (1.0, 0.0, len(right))
    assert (everything.recall, everything.needless) == (1.0, one.rows - len(right))
    both = perfect + everything
    assert (both.hits, both.needless) == (2 * len(right), one.rows - len(right))
    assert both.lines()[0].startswith(f"precision {both.precision:.4f}")
    with pytest.raises(ValueError, match="no"):
        score(one, {("f000000", 1)})


def test_the_readme() -> None:
    """The page beside the generator has the tables' own words for every kind, and the first measuring seed."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    told = [f"| `{kind}` | {one.share} % | {one.story} | {one.sign} |" for kind, one in DUPLICATES.items()]
    told += [f"| `{kind}` | {one.story} | {one.sign} |" for kind, one in HONEST.items()]
    assert [line for line in told if line not in text.splitlines()] == []
    assert f"below {FIRST_MEASURING_SEED:,}" in text


OF_THE_GUARD = {"measure.py", "test_guard.py"}
"""What judges the guard by the corpus."""


def test_no_product_inside() -> None:
    """The generator imports nothing of the product: whoever writes the guard did not choose its cases."""
    sources = [path for path in Path(__file__).parent.glob("*.py") if path != Path(__file__) and path.name not in OF_THE_GUARD]
    assert len(sources) > 10
    assert [path.name for path in sources if re.search(r"^\s*(?:from|import) disburse", path.read_text(encoding="utf-8"), re.M)] == []
