"""What the payouts of some merchants go by in one transaction: their limits, policies and time zones, and what is used so far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from disburse.domain.limits import Limit, Tally
from disburse.domain.policies import Policy


@dataclass(frozen=True, slots=True)
class Rules:
    """One merchant's."""

    zone: tzinfo
    limits: tuple[Limit, ...]
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Those of all merchants of a transaction that have any, read under their lock."""

    rules: Mapping[int, Rules]
    tally: Tally
