"""When to try and when to ask again. Pure: each function says how many seconds; nobody here waits.

Questions never end: seconds, then minutes, then hours. Jitter is drawn by the caller (a factor around one).
"""

from __future__ import annotations

_ASK_UNKNOWN_S = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 1800, 3600)
_ASK_ACCEPTED_S = (4, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600)
_TRY_AGAIN_S = (0, 1, 2, 5, 10, 30, 60, 120, 300, 600)


def ask_in_s(asked: int, *, accepted: bool) -> float:
    """Seconds until the next question about an attempt that was asked about so many times."""
    steps = _ASK_ACCEPTED_S if accepted else _ASK_UNKNOWN_S
    return steps[min(asked, len(steps) - 1)]


def try_again_in_s(attempts: int) -> float:
    """Seconds until a payout with so many attempts behind it, all proven to have moved nothing, is due again."""
    return _TRY_AGAIN_S[min(attempts - 1, len(_TRY_AGAIN_S) - 1)]
