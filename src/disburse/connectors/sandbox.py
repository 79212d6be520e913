"""The sandbox bank in process: a connector without a wire, which misbehaves just as the wire would make it look.

Lives here: `SandboxConnector`. What the bank does is in `sandbox_bank.py`; here its answers are lost or spoilt on their way
to us. The same bank behind real HTTP is `sandbox_http.py`, with `sandbox_remote.py` as its connector.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from disburse.connectors.contract import Bank, Callback, Capabilities, Hear, Order, Question
from disburse.connectors.kind import Kind, Surroundings
from disburse.connectors.sandbox_bank import SandboxBank, Slip, Standing
from disburse.connectors.sandbox_book import BookFault, Spool
from disburse.connectors.sandbox_rules import CURRENCIES, Manner
from disburse.connectors.sandbox_wire import encode_standing, finding_of, outcome_of
from disburse.domain.destinations import Rail
from disburse.domain.money import Money
from disburse.domain.outcomes import Finding, NotFound, Outcome, Unknown
from disburse.domain.ports import Clock
from disburse.protocols.wire import WireRequest


def sandbox_capabilities(*, guard: bool) -> Capabilities:
    """What the sandbox bank's contract promises: nothing about repeats of an id, unless it was started with its guard.

    Its not-founds prove nothing by themselves: it says "absent" when they do, and only then refuses the id from then on.
    """
    return Capabilities(
        rails=frozenset(Rail),
        currencies=CURRENCIES,
        deduplicates_for_s=math.inf if guard else 0.0,
        status_by_our_id=True,
        callbacks=True,
        sandbox=True,
    )


class SandboxConnector:
    """A bank of one's own, in process, with its book at `spool`. One book, one connector: the file is locked."""

    def __init__(self, spool: Spool, clock: Clock, *, guard: bool = False, name: str = "sandbox") -> None:
        self._name = name
        self._clock = clock
        self._capabilities = sandbox_capabilities(guard=guard)
        self._bank = SandboxBank(spool, clock, self._tell, guard=guard)
        self._hear: Hear | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def start(self, hear: Hear) -> None:
        """Open the book and go on where it ends. Raises BookFault, the spool's refusals and OSError: nothing works then."""
        self._hear = hear
        await self._bank.open()

    async def stop(self) -> None:
        """Close the book. Orders are answered `Unknown` from now on."""
        await self._bank.close()

    async def submit(self, order: Order) -> Outcome:
        """Pay, or what the sandbox does instead."""
        slip = Slip(order.end_to_end_id, order.amount, order.destination.rail, order.destination.last4)
        try:
            async with self._clock.timeout(order.deadline_s):
                reply = await self._bank.pay(slip)
                if reply.manner is Manner.LOST:
                    await self._clock.sleep(order.deadline_s)
        except TimeoutError:
            return Unknown("time-out")
        except BookFault as fault:
            return Unknown(str(fault))
        match reply.manner:
            case Manner.LOST:
                return Unknown("time-out")
            case Manner.FAULT:
                return Unknown("HTTP 500")
            case Manner.UNREADABLE:
                return Unknown("unreadable answer")
            case Manner.PLAIN:
                return outcome_of(reply.standing)

    async def inquire(self, question: Question) -> Finding:
        """Ask the bank, which tells the truth. It knows our id alone."""
        try:
            async with self._clock.timeout(question.deadline_s):
                standing = await self._bank.inquire(question.end_to_end_id)
        except TimeoutError:
            return Unknown("time-out")
        except BookFault as fault:
            return Unknown(str(fault))
        return NotFound() if standing is None else finding_of(standing)

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        """Nothing: this bank calls back without a wire."""
        return None

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        """Not to be had: the bank pays without having any."""
        return Unknown("the sandbox bank keeps no balance")

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        """Not to be had: the bank pays to every bank."""
        return Unknown("the sandbox bank keeps no list")

    async def _tell(self, standing: Standing) -> bool:
        if self._hear is None:
            return False
        content = encode_standing(standing).decode("ascii")
        await self._hear(Callback(self._name, standing.end_to_end_id, finding_of(standing), content))
        return True


class SandboxSettings(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of `[connectors.NAME]` with `kind = "sandbox"`. `guard`: the bank remembers ids, so a repeat is not paid again."""

    guard: bool = False


def book_of(name: str) -> str:
    """The file in the data directory that the bank behind this connector writes."""
    return BOOK if name == "sandbox" else f"sandbox-bank-{name}.jsonl"


BOOK: Final = "sandbox-bank.jsonl"


def _make(name: str, settings: SandboxSettings, around: Surroundings) -> SandboxConnector:
    return SandboxConnector(around.spool(book_of(name)), around.clock, guard=settings.guard, name=name)


KIND: Final = Kind(SandboxSettings, _make, in_process=True)
