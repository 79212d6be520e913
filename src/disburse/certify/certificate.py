"""Certificates: what a connector's grade rests on, which connectors it covers, and the grade that results come to.

Lives here: the grades, the certificate's shape, and the two comparisons. Pure. Where certificates are kept is
`disburse/certificates.py`; what a grade takes away is `narrow.py`. Why so: docs/decisions/0011-certificates.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from disburse.connectors.contract import Capabilities


class Grade(StrEnum):
    """How much a connector may do."""

    A = "A"
    """Everything that it promises."""

    B = "B"
    """It sends and asks, and none of its promises beyond that is used."""

    C = "C"
    """Nothing is sent through it."""


class Promises(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the scenarios tried of the capabilities. `deduplicates_for_s` None is for ever; `executes_again`: at all."""

    deduplicates_for_s: float | None
    status_by_our_id: bool
    not_found_final_after_s: float | None
    two_step: bool
    executes_again: bool
    callbacks: bool


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario that failed: what was expected, and what came."""

    scenario: str
    expected: str
    came: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One certification. `code` says which code was tried; `judged`: how many scenarios were for this connector."""

    kind: str
    code: str
    grade: Grade
    promises: Promises
    judged: int
    failures: list[Failure]
    at: str


def promises_of(able: Capabilities) -> Promises:
    """The promises among these capabilities."""
    return Promises(
        deduplicates_for_s=None if able.deduplicates_for_s == math.inf else able.deduplicates_for_s,
        status_by_our_id=able.status_by_our_id,
        not_found_final_after_s=able.not_found_final_after_s,
        two_step=able.two_step,
        executes_again=able.execute_again_after_s is not None,
        callbacks=able.callbacks,
    )


def grade_of(costs: Iterable[str]) -> Grade:
    """The least that failed scenarios leave, by what each costs; A where none failed."""
    return max((Grade(one) for one in costs), default=Grade.A)


def covers(certificate: Certificate, kind: str, code: str | None, able: Capabilities) -> bool:
    """Whether a certificate speaks of this kind and code, and of at least these promises. `code` None: whatever code it names."""
    tried, wanted = certificate.promises, promises_of(able)
    final = wanted.not_found_final_after_s
    return (
        certificate.kind == kind
        and code in (None, certificate.code)
        and _seconds(wanted) <= _seconds(tried)
        and tried.two_step is wanted.two_step
        and tried.status_by_our_id >= wanted.status_by_our_id
        and tried.executes_again >= wanted.executes_again
        and tried.callbacks >= wanted.callbacks
        and (final is None or (tried.not_found_final_after_s is not None and final >= tried.not_found_final_after_s))
    )


def _seconds(promises: Promises) -> float:
    return math.inf if promises.deduplicates_for_s is None else promises.deduplicates_for_s
