"""The contract every connector keeps. Lives here: what the engine may ask and what it is told; no connector, no transport.

`submit` and `inquire` never raise for anything a provider does: whatever happens becomes an outcome or a finding, and what
is not proven is `Unknown`. The capabilities alone decide what the engine may do after doubt, so they must not promise more
than the provider's own contract does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import Money
from disburse.domain.outcomes import Finding, Outcome


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the provider's own contract promises.

    `deduplicates_for_s`: how long a repeat of our id is harmless (0: never, infinity: for ever).
    `not_found_final_after_s`: two not-founds so far apart prove absence; None: they never do.
    `inquiries_per_s`: how many questions a second it allows; None: it names no limit.
    """

    rails: frozenset[Rail]
    currencies: frozenset[str]
    deduplicates_for_s: float = 0.0
    status_by_our_id: bool = True
    two_step: bool = False
    not_found_final_after_s: float | None = None
    callbacks: bool = False
    sandbox: bool = False
    inquiries_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid, once. `destination` is opened; its repr is masked. `deadline_s`: the whole call may take so long."""

    end_to_end_id: str
    amount: Money
    destination: Destination
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """What became of an order? Asked by our id, or the provider's."""

    end_to_end_id: str
    provider_reference: str | None
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Callback:
    """What a provider told us unasked. `content` is what makes it the same message when it comes again."""

    connector: str
    end_to_end_id: str
    finding: Finding
    content: str


Hear = Callable[[Callback], Awaitable[None]]
"""Where a connector hands in callbacks. Returns once the callback is stored: only then may it be acknowledged."""


class Connector(Protocol):
    """One configured way to one provider."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def submit(self, order: Order) -> Outcome: ...

    async def inquire(self, question: Question) -> Finding: ...

    async def start(self, hear: Hear) -> None:
        """Begin listening; callbacks go to `hear`."""
        ...

    async def stop(self) -> None: ...
