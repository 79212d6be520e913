"""When to try and when to ask again. Pure: each function says how many seconds; nobody here waits.

Questions never end: seconds, then minutes, then hours. Jitter is drawn by the caller (a factor around one). When a provider
answers again after a silence, whatever waits for a question at it is asked about soon (`ask_again_in_s`), within its limit, and
what never reached it is tried again as soon.
"""

from __future__ import annotations

_ASK_UNKNOWN_S = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 1800, 3600, 7200, 14400)
_ASK_ACCEPTED_S = (4, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 14400)
_TRY_AGAIN_S = (0, 1, 2, 5, 10, 30, 60, 120, 300, 600)


def ask_in_s(asked: int, *, accepted: bool) -> float:
    """Seconds until the next question about an attempt that was asked about so many times."""
    steps = _ASK_ACCEPTED_S if accepted else _ASK_UNKNOWN_S
    return steps[min(asked, len(steps) - 1)]


def try_again_in_s(attempts: int) -> float:
    """Seconds until a payout with so many attempts behind it, all proven to have moved nothing, is due again."""
    return _TRY_AGAIN_S[min(attempts - 1, len(_TRY_AGAIN_S) - 1)]


SILENT_AFTER = 3
"""So many questions in a row without an answer are a silence."""

ASKED_ANEW = 2
"""As how often asked an attempt counts whose provider is heard again: a few seconds lie between its next questions."""

_AT_ONCE_PER_S = 50.0
"""How many questions a second are put to a provider that names no limit, when it answers again."""


def ask_again_in_s(place: int, per_s: float | None, jitter: float) -> float:
    """Seconds until the question with this place in the line (from 0), after its provider was heard again. `jitter`: 0 to 1.

    `per_s`: how many questions a second the provider allows; None when it names no limit.
    """
    return (place + jitter) / (_AT_ONCE_PER_S if per_s is None else per_s)
