"""What a grade takes away from a connector: the same connector, with fewer promises and less belief.

Lives here: `narrow`. A connector of grade A is itself. Under B no promise is left that the engine would act on after doubt, and a
callback is a hint. Under C nothing is sent, and no word that nothing moved is believed: what it sent before can still become paid.
"""

from __future__ import annotations

from dataclasses import replace

from disburse.certify.certificate import Grade
from disburse.connectors.contract import Bank, Callback, Capabilities, Connector, Hear, Order, Question
from disburse.domain.money import Money
from disburse.domain.outcomes import Absent, Finding, NotFound, NotSent, Outcome, Rejected, Returned, Settled, Unknown
from disburse.protocols.wire import WireRequest

CONFIRM_WITHIN_S = 8.0


def narrow(connector: Connector, grade: Grade) -> Connector:
    """The connector with the freedom that its grade leaves."""
    return connector if grade is Grade.A else Narrowed(connector, sends=grade is Grade.B)


class Narrowed:
    """A connector of grade B, or C where it does not send. It has no `execute_again`: that is a promise too."""

    def __init__(self, inner: Connector, *, sends: bool) -> None:
        self._inner = inner
        self._sends = sends
        self._capabilities = replace(
            inner.capabilities, deduplicates_for_s=0.0, not_found_final_after_s=None, execute_again_after_s=None, sends=sends
        )

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def submit(self, order: Order) -> Outcome:
        """Send the order, where that is left to it."""
        return await self._inner.submit(order) if self._sends else NotSent("its certificate does not let it send")

    async def inquire(self, question: Question) -> Finding:
        """Ask. "Never" is no more than "not now"; who may not send is not believed that nothing moved."""
        found = await self._inner.inquire(question)
        if isinstance(found, Absent):
            return NotFound("absent, by the word of a connector that is not certified for it")
        if isinstance(found, Rejected) and not self._sends:
            return Unknown("refused, by the word of a connector that is not certified")
        return found

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        """A hint: the provider is asked, and what it answers is told."""
        told = await self._inner.read_callback(request, deadline_s)
        return await self._confirmed(told, deadline_s) if told is not None else None

    async def balance(self, deadline_s: float) -> tuple[Money, ...] | Unknown:
        return await self._inner.balance(deadline_s)

    async def banks(self, deadline_s: float) -> tuple[Bank, ...] | Unknown:
        return await self._inner.banks(deadline_s)

    async def start(self, hear: Hear) -> None:
        """Begin; callbacks that come on their own are hints as well."""

        async def hint(told: Callback) -> None:
            confirmed = await self._confirmed(told, CONFIRM_WITHIN_S)
            if confirmed is not None:
                await hear(confirmed)

        await self._inner.start(hint)

    async def stop(self) -> None:
        await self._inner.stop()

    async def _confirmed(self, told: Callback, deadline_s: float) -> Callback | None:
        found = await self.inquire(Question(told.end_to_end_id, None, deadline_s))
        if not isinstance(found, Settled | Returned | Rejected):
            return None
        return replace(told, finding=found, content=repr(found))
