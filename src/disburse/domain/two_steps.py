"""Two-step providers: one call makes an operation and moves nothing, another executes it. Lives here: what that proves.

The order of deeds is fixed: make, remember the operation's id with the open attempt (committed), execute. `remember` succeeds
only while the attempt is open and its owner's (`operations/two_steps.py`), and whatever is heard of an attempt ends its being
open. From this follow two sentences, and both are needed:

* An attempt that is not open any more and has no provider reference was never executed and never will be. Whoever still holds
  an operation of it cannot remember it, so may not execute it. Nothing moved: proven, without asking anybody.
* An attempt with a reference may have been executed. "Not executed" as the provider's present state is no proof, since a
  request to execute it may still be on its way. Nothing may be tried elsewhere until the provider calls it final. But the same
  operation may be executed again, since an operation is carried out at most once: that is how such a doubt ends.

Pure: no clock here. The reasons and the limits are in docs/decisions/0006-two-steps.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from disburse.domain.attempt import Attempt, AttemptState


@dataclass(frozen=True, slots=True)
class Said:
    """A stored message about an attempt: its kind (answer, inquiry, ...), its verdict's name, and when, by the database's clock."""

    kind: str
    verdict: str
    at: datetime


def never_executed(attempt: Attempt, *, handed_out: bool) -> bool:
    """Whether no operation of this attempt was or ever will be executed.

    `handed_out`: the attempt was given to a worker in this database's life. One that was not was sent by a life that the
    database forgot (`operations/attempts.py`), and what that life remembered is forgotten too: then nothing is proven.
    """
    return attempt.state is AttemptState.UNKNOWN and attempt.provider_reference is None and handed_out


def may_execute_again(attempt: Attempt, said: Iterable[Said], now: datetime, after_s: float) -> bool:
    """Whether an operation that its provider just called not executed may be executed once more, by the same id.

    It was seen so at least `after_s` seconds ago too, and no request of ours was answered, or given up, since then. `now` is the
    database's clock: a worker's own may be years off.
    """
    if attempt.state is not AttemptState.UNKNOWN or attempt.provider_reference is None:
        return False
    since = now - timedelta(seconds=after_s)
    told = list(said)
    if any(one.kind == "answer" and one.at > since for one in told):
        return False
    return any(one.verdict == "NotExecuted" and one.at <= since for one in told)
