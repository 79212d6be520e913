"""Which core a day is lived on: a core has one holder, who gives it back."""

from __future__ import annotations

import os

from disburse.simulation.cores import one_core


def test_a_core_is_held_by_one_and_given_back() -> None:
    """Who holds a core stays on it; nobody else gets it meanwhile, and afterwards the process goes where it went before."""
    before = os.sched_getaffinity(0)
    with one_core([os.getpid()]) as mine:
        stays = {mine} if mine is not None else before  # where simulations of other tests hold all cores
        assert os.sched_getaffinity(0) == stays
        with one_core([]) as theirs:
            assert theirs is None or mine is None
        assert os.sched_getaffinity(0) == stays
    assert os.sched_getaffinity(0) == before


def test_who_is_gone_is_not_bound() -> None:
    """A session that ended, or is another user's, keeps nobody from the rest."""
    before = os.sched_getaffinity(0)
    with one_core([2**30]):
        pass
    assert os.sched_getaffinity(0) == before
