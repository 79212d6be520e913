"""The generator of registries: the same arguments give the same bytes, and what it tells of them is what is read back."""

from __future__ import annotations

import io
import json

import pytest

from disburse.data import accepted_member_ids, load_sbp_members
from disburse.domain.registry import Rules, Tally, judge
from disburse.protocols.registry_read import read
from scripts.registry_file import MISTAKES, RAILS, write


def written(seed: int, bad: float, separator: str = ",") -> tuple[str, dict[str, object]]:
    out = io.StringIO(newline="")
    told = write(out, 1500, bad=bad, seed=seed, rails=list(RAILS), separator=separator)
    return out.getvalue(), told


@pytest.mark.parametrize("bad, separator", [(0.0, ";"), (20.0, ",")])
def test_what_is_written_is_read_back(bad: float, separator: str) -> None:
    """As many rows are faulty as were made so, all kinds of mistakes are among them, and the good ones sum up to what was told."""
    text, told = written(3, bad, separator)
    rules, tally, faulty, reasons = Rules(accepted_member_ids(load_sbp_members())), Tally(), 0, set()
    for chunk in read(io.BytesIO(text.encode())):
        for row in chunk:
            judged = judge(row, rules)
            faulty += bool(judged.faults)
            reasons |= {fault.why for fault in judged.faults}
            if not judged.faults:
                tally.add(row.line, judged)
    assert (faulty, tally.rows) == (told["bad"], told["good"]) == (1500 * bad // 100, 1500 - 1500 * bad // 100)
    for currency, total in json.loads(json.dumps(told["good_sums"])).items():
        tally.check(0, tally.rows, total, currency)
    assert not bad or (len(MISTAKES) == len(told["faults"]) and len(reasons) >= 8)  # type: ignore[arg-type]


def test_a_seed_is_a_file() -> None:
    """The same seed gives the same bytes, another seed other payees and other references."""
    first, again, other = written(1, 1.0)[0], written(1, 1.0)[0], written(2, 1.0)[0]
    assert first == again
    assert not {line.split(",")[0] for line in first.splitlines()[1:]} & {line.split(",")[0] for line in other.splitlines()[1:]}
