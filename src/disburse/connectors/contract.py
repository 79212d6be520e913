"""The contract every connector keeps. Lives here: what the engine may ask and what it is told; no connector, no transport.

`submit` and `inquire` never raise for anything a provider does: whatever happens becomes an outcome or a finding, and what
is not proven is `Unknown`. The capabilities alone decide what the engine may do after doubt, so they must not promise more
than the provider's own contract does. How a connector is found, configured and made is in `kind.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from disburse.domain.destinations import Destination, Rail
from disburse.domain.fees import FeeRule
from disburse.domain.money import Money
from disburse.domain.outcomes import Finding, Outcome, Unknown
from disburse.protocols.wire import WireRequest


@dataclass(frozen=True, slots=True)
class Limit:
    """How much one order may be: at least and at most so many minor units, both included. None: no maximum is known."""

    minimum_minor: int = 1
    maximum_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the provider's own contract promises.

    `deduplicates_for_s`: how long after the first sending a repeat of our id is harmless (0: never, infinity: for ever).
    `status_by_our_id`: whether it can be asked what became of our id. `inquiries_per_s`: how many questions a second it allows;
    None: it names no limit.
    `not_found_final_after_s`: two not-founds so far apart prove absence; None: they never do. `two_step`: one call makes an
    operation and moves nothing, another executes it; `execute_again_after_s`: an operation that is still not executed so long
    after it was first seen so is executed again, by the same id, which the provider carries out at most once; None: never
    (`two_steps.py`).
    `callbacks`: it tells us unasked. `balance`, `bank_list`: it can be asked for them.
    `limits` and `fees` by rail and currency: what is not in them is not known. Fees are what the provider charges us.
    `sandbox`: no real money moves. `sends`: whether orders go out through it at all; a certificate may take that away.
    """

    rails: frozenset[Rail]
    currencies: frozenset[str]
    deduplicates_for_s: float = 0.0
    status_by_our_id: bool = True
    two_step: bool = False
    execute_again_after_s: float | None = None
    not_found_final_after_s: float | None = None
    callbacks: bool = False
    sandbox: bool = False
    balance: bool = False
    bank_list: bool = False
    limits: Mapping[tuple[Rail, str], Limit] = field(default_factory=dict)
    fees: Mapping[tuple[Rail, str], FeeRule] = field(default_factory=dict)
    inquiries_per_s: float | None = None
    sends: bool = True


async def _nowhere(provider_reference: str) -> bool:
    raise AssertionError("this order came without a place to remember the provider's reference")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid, once. `destination` is opened; its repr is masked. `deadline_s`: the whole call may take so long.

    `remember` is the engine's, for two-step providers: it stores the provider's id of this order, committed before it returns
    True. False: the attempt is no longer ours, the id is another order's, or it is not known to be stored; stop before any call
    that could move money. Ids are compared as they are handed in, so one operation has one spelling.
    """

    end_to_end_id: str
    amount: Money
    destination: Destination
    deadline_s: float
    remember: Callable[[str], Awaitable[bool]] = field(default=_nowhere, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Question:
    """What became of an order? Asked by our id, or the provider's.

    `provider_reference` is there when an earlier answer carried it: for a provider that is not two-step that proves that it
    took the order.
    """

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


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank that the provider pays to. The id goes into a destination; names are labels, never keys."""

    bank_id: str
    name: str
    name_en: str = ""


Hear = Callable[[Callback], Awaitable[None]]
"""Where a connector hands in callbacks. Returns once the callback is stored: only then may it be acknowledged."""


class Connector(Protocol):
    """One configured way to one provider. Its name is in the books (`in_flight:NAME`), so it is for life.

    What a provider cannot do, its capabilities say; the method is there all the same, and answers `Unknown` or None.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def submit(self, order: Order) -> Outcome:
        """Send the order, once. `NotSent` only when no byte of it was written, `Rejected` and `Absent` only on proof.

        Within `deduplicates_for_s` the engine may send an order again with the same id. Of the answer to such a repeat it
        believes only that the provider has the order or paid it: a refusal of a repeat says nothing about the first one.
        """
        ...

    async def inquire(self, question: Question) -> Finding:
        """Ask what became of an order. A question never moves money, and `Absent` is the provider's word for "never"."""
        ...

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        """What a request to our callback address tells us; None when it is no callback, or cannot be believed.

        A signature is checked where there is one. Where there is none, anybody may have sent it: it is a hint only, the
        provider is asked within `deadline_s`, and what it answers is told.
        """
        ...

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        """What can be paid out through this provider, one amount a currency."""
        ...

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        """The banks that this provider pays to, as it lists them."""
        ...

    async def start(self, hear: Hear) -> None:
        """Begin, before the first order; callbacks that come on their own go to `hear`. Raises what makes it useless."""
        ...

    async def stop(self) -> None:
        """End; what is under way may break off."""
        ...


@runtime_checkable
class Answering(Protocol):
    """Beside the contract: a connector whose provider has no balance to ask for, and cannot be asked about an id that never was.

    People ask it whether the provider answers (`disburse connector check`); the engine never does.
    """

    async def answers(self, deadline_s: float) -> Unknown | None:
        """Ask something that moves nothing and is about no order. None: the provider answered, and takes our access."""
        ...
