"""Connectors that are wrong on purpose, each in one way, over the sandbox bank's own: what a certification must find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from disburse.connectors.contract import Callback, Capabilities, Order, Question
from disburse.connectors.kind import Kind, Surroundings
from disburse.connectors.sandbox_remote import RemoteSandboxConnector, RemoteSandboxSettings
from disburse.connectors.sandbox_simulator import simulate
from disburse.connectors.sandbox_wire import decode_standing, finding_of
from disburse.domain.outcomes import Absent, Accepted, Finding, NotFound, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.protocols.wire import Malformed, WireRequest


class Boaster(RemoteSandboxConnector):
    """Claims deduplication, and its bank has none."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, deduplicates_for_s=86_400.0)


class Pessimist(RemoteSandboxConnector):
    """Maps HTTP 5xx to refused."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        return Rejected("a fault there") if isinstance(outcome, Unknown) and outcome.why.startswith("HTTP 5") else outcome


class Believer(RemoteSandboxConnector):
    """Believes 404: whatever is not found was never carried out."""

    async def inquire(self, question: Question) -> Finding:
        found = await super().inquire(question)
        gone = isinstance(found, NotFound) or (isinstance(found, Unknown) and found.why == "unreadable answer")
        return Absent() if gone or found == Unknown("HTTP 404") else found


class Impatient(RemoteSandboxConnector):
    """Takes a time-out for a refusal."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        return Rejected("nobody answered") if outcome == Unknown("time-out") else outcome


class Innocent(RemoteSandboxConnector):
    """Says of every doubt that nothing was sent."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        return NotSent(outcome.why) if isinstance(outcome, Unknown) else outcome


class Stubborn(RemoteSandboxConnector):
    """Sends an order again by itself when it hears nothing."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        return await super().submit(order) if isinstance(outcome, Unknown) else outcome


class Careless(RemoteSandboxConnector):
    """Compares no sum: what was paid is what was asked for."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        return replace(outcome, amount=order.amount) if isinstance(outcome, Settled) else outcome


class Fragile(RemoteSandboxConnector):
    """Raises where it cannot read."""

    async def submit(self, order: Order) -> Outcome:
        outcome = await super().submit(order)
        if outcome == Unknown("unreadable answer"):
            raise KeyError("state")
        return outcome


class Credulous(RemoteSandboxConnector):
    """Believes whoever calls."""

    async def read_callback(self, request: WireRequest, deadline_s: float) -> Callback | None:
        try:
            told = decode_standing(request.body)
        except Malformed:
            return None
        return Callback(self.name, told.end_to_end_id, finding_of(told), request.body.decode())


class Mute(RemoteSandboxConnector):
    """Never learns what became of an order."""

    async def inquire(self, question: Question) -> Finding:
        found = await super().inquire(question)
        return Unknown("who knows") if isinstance(found, Settled | Accepted) else found


def kind_of(made: type[RemoteSandboxConnector]) -> Kind:
    """The kind of connectors like this."""

    def make(name: str, settings: Any, around: Surroundings) -> RemoteSandboxConnector:
        return made(settings.url, around.transport(settings.http), guard=settings.guard, name=name)

    return Kind(RemoteSandboxSettings, make, simulator=simulate)
