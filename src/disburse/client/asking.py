"""The heart of the client: one call through all its tries. What came back, what it means, and whether to ask again. Pure.

Only what is harmless is asked again, with the same key and the same bytes:

* what never left, and what the server turned away undone (429, 503 `not_begun`): always;
* what may have been done, or may not: only what reads, or is done once at most (`calls.Repeat`).

Whatever else a try meets, an earlier one that may have been carried out is not forgotten: the end is then `OutcomeUnknown`, unless
a later answer settles it. An answer settles it when it is "done", or a "no" that the server gives after it has looked the key up.
May not live here: sockets, clocks, sleeping.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

import msgspec

from disburse.client.calls import Call
from disburse.client.errors import ClientError, NoAnswer, OutcomeUnknown, Problem, ServerFault, problem_of
from disburse.protocols.rest_messages import Problem as Told
from disburse.protocols.rest_problems import KINDS, PROBLEM
from disburse.protocols.webhooks import retry_after_s

T = TypeVar("T")

_LATER: Final = (429, 502, 503, 504)
"""Statuses after which asking again makes sense: too often, too busy, or a proxy that had no luck behind it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried, and how long between two tries, in seconds.

    Pauses double from `first_pause_s` to `longest_pause_s`, each between half and all of it; what `Retry-After` says is waited for
    in full, or not at all when it is longer than that. `jitter` draws a number from 0 to 1.
    """

    tries: int = 5
    first_pause_s: float = 0.25
    longest_pause_s: float = 30.0
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    def pause_s(self, tried: int, asked_s: float | None) -> float | None:
        """How long to wait after so many tries; None: it is enough."""
        if tried >= self.tries or (asked_s or 0.0) > self.longest_pause_s:
            return None
        drawn = min(self.first_pause_s * float(2 ** (tried - 1)), self.longest_pause_s) * (1 + self.jitter()) / 2
        return asked_s + min(drawn, self.first_pause_s) if asked_s else drawn


NEVER: Final = Retries(tries=1)
"""Ask once."""


@dataclass(frozen=True, slots=True)
class Came:
    """An answer, whole."""

    status: int
    content_type: str
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class NeverLeft:
    """Proven: no connection was made, so nobody got the request."""

    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have arrived, and no answer came."""

    why: str


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What was asked for."""

    value: T


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long, then send the same bytes again."""

    seconds: float


class Asking(Generic[T]):
    """One call. `hear` is told what each try met, and says what comes next."""

    def __init__(self, call: Call[T], retries: Retries) -> None:
        self._call = call
        self._retries = retries
        self._tries = 0
        self._unsure: str | None = None  # why an earlier try may have been carried out

    def hear(self, heard: Came | NeverLeft | Lost, now: datetime) -> Done[T] | Pause:
        """The next step after a try. Raises Problem, NoAnswer and OutcomeUnknown: the end."""
        self._tries += 1
        match heard:
            case NeverLeft(why):
                return self._later(None, NoAnswer(self._call.what, why, self._tries))
            case Lost(why):
                return self._doubt(why, None)
            case Came():
                return self._answered(heard, now)

    def _answered(self, came: Came, now: datetime) -> Done[T] | Pause:
        asked_s = retry_after_s(came.retry_after, now)
        if 200 <= came.status < 300:
            try:
                return Done(msgspec.json.decode(came.body, type=self._call.into))
            except msgspec.MsgspecError:
                return self._doubt(f"the answer {came.status} cannot be read", asked_s, again=False)
        problem = _problem(came, asked_s)
        if problem is None:  # somebody else answered: a proxy, say
            return self._doubt(f"the answer is a {came.status} that is not the server's own", asked_s, again=came.status in _LATER)
        if isinstance(problem, ServerFault) or (came.status >= 500 and problem.name not in KINDS):
            return self._doubt(problem.name, asked_s, again=came.status in _LATER, problem=problem)
        if came.status in _LATER:
            return self._later(asked_s, problem)
        if self._unsure is not None and not _settles(problem):
            raise self._unknown(f"{self._unsure}, then {problem.name}")
        raise problem

    def _later(self, asked_s: float | None, end: ClientError) -> Pause:
        """This try did nothing."""
        pause_s = self._retries.pause_s(self._tries, asked_s)
        if pause_s is not None:
            return Pause(pause_s)
        raise self._unknown(self._unsure) if self._unsure is not None else end

    def _doubt(self, why: str, asked_s: float | None, *, again: bool = True, problem: Problem | None = None) -> Pause:
        """This try may have done it."""
        if self._call.repeat == "reads":
            end: ClientError = problem if problem is not None else NoAnswer(self._call.what, why, self._tries)
        else:
            self._unsure = why
            end = self._unknown(why)
        pause_s = self._retries.pause_s(self._tries, asked_s) if again and self._call.repeat != "again" else None
        if pause_s is None:
            raise end
        return Pause(pause_s)

    def _unknown(self, why: str) -> OutcomeUnknown:
        return OutcomeUnknown(self._call.what, why, self._tries, key=self._call.key, reference=self._call.reference)


def _problem(came: Came, asked_s: float | None) -> Problem | None:
    """What the server says no with; None for an answer that is not its own."""
    if came.content_type.partition(";")[0].strip().lower() != PROBLEM:
        return None
    try:
        told = msgspec.json.decode(came.body, type=Told)
    except msgspec.MsgspecError:
        return None
    return problem_of(told, asked_s) if told.status == came.status else None


def _settles(problem: Problem) -> bool:
    """Whether this "no" was given after the key was looked up: then no earlier try was carried out."""
    return problem.name == "key_reused" or (problem.name in KINDS and KINDS[problem.name].sticks)
