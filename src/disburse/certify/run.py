"""Running the scenarios: a connector made anew for each, against a provider of its own on loopback, and what came of it.

Lives here: the course of one scenario and of all of them. What is done is data (`scenarios.py`), what is right is judged in
`judge.py`, and the bytes are `line.py`'s. Nothing leaves the machine; each call has a deadline, so all of it is bounded in time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from disburse.certify.judge import Truth, fault_of, twice, word_of
from disburse.certify.line import ENOUGH, Provider, Strike, listening
from disburse.certify.scenarios import SCENARIOS, Act, Does, Hand, Line, Need, Scenario
from disburse.certify.tls import Tls
from disburse.connectors.contract import Callback, Capabilities, Connector, Hear, Order, Question
from disburse.connectors.simulator import Simulator, Step, Twist
from disburse.connectors.two_steps import TwoStep
from disburse.domain.outcomes import Finding, Outcome
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal
from disburse.protocols.wire import WireRequest

PATIENCE_S: Final = 15.0
SHORT_S: Final = 1.0
"""The deadline of a call that can only end by it."""

OVERDUE_S: Final = 4.0
"""A call that is not back so long after its deadline does not keep it."""

SETTLE_S: Final = 0.1
"""So long a connector has to see that its idle connections are gone, before it is asked for the next call."""

AT_ONCE: Final = 6
ORDER_ID: Final = "certify0abcdefghijklmnopqrstuvwx-1"
_YEAR_S: Final = 365 * 86_400.0
_STRIKES: Final = {Does.SUBMIT: Step.MOVE, Does.REPEAT: Step.MOVE, Does.EXECUTE_AGAIN: Step.MOVE, Does.ASK: Step.ASK}

Make = Callable[[Mapping[str, Any], Clock, AsyncExitStack], Connector]
"""Makes the connector of a table, over the operator's own keys that are not about the provider's place."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a certification works with. `http`: the kind's settings have a table of that name, so TLS and proxies can be tried."""

    make: Make
    simulate: Callable[[Clock], Simulator]
    clock: Clock
    tls: Tls
    http: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario. `judged` False: it is not for this connector. `fault`: what was expected; `came`: what came."""

    scenario: Scenario
    judged: bool
    fault: str | None = None
    came: str = ""

    @property
    def failed(self) -> bool:
        return self.fault is not None


class _NotForIt(Exception):
    """This protocol cannot express what the scenario wants."""


class _Failed(Exception):
    def __init__(self, fault: str, came: str) -> None:
        self.fault, self.came = fault, came
        super().__init__(fault)


class ShiftedClock:
    """The real clock, with jumps: `pass_time` moves all of it, `skew` the clock on the wall alone. Waiting takes real time."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._passed, self._skewed = clock, 0.0, timedelta()

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._passed) + self._skewed

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._passed

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def timeout(self, seconds: float) -> Any:
        return self._clock.timeout(seconds)

    def pass_time(self, seconds: float) -> None:
        self._passed += seconds

    def skew(self, seconds: float) -> None:
        self._skewed += timedelta(seconds=seconds)


async def certify(bench: Bench, scenarios: Sequence[Scenario] = SCENARIOS) -> list[Result]:
    """Run the scenarios, a few at a time. Results are in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(scenario: Scenario) -> Result:
        async with places:
            return await _run(bench, scenario)

    return list(await asyncio.gather(*[one(scenario) for scenario in scenarios]))


async def _run(bench: Bench, scenario: Scenario) -> Result:
    clock = ShiftedClock(bench.clock)
    tls = _server_side(bench, scenario.line)
    if (scenario.line.startswith("tls") and tls is None) or (scenario.line.startswith("proxy") and not bench.http):
        return Result(scenario, judged=False)
    async with AsyncExitStack() as opened:
        simulator = bench.simulate(clock)
        provider = await opened.enter_async_context(listening(simulator, bench.clock, scenario.line, tls))
        connector = bench.make(_table(bench, provider), clock, opened)
        if not _is_for(scenario.need, connector):
            return Result(scenario, judged=False)
        course = _Course(scenario, connector, provider, clock)
        try:
            await _start(connector, course.hear)
            opened.push_async_callback(connector.stop)
            for act in scenario.acts:
                await course.go(act)
            course.end()
        except _NotForIt:
            return Result(scenario, judged=False)
        except _Failed as failed:
            return Result(scenario, True, failed.fault, failed.came)
    return Result(scenario, judged=True)


async def _start(connector: Connector, hear: Hear) -> None:
    """Start it. Raises a Refusal for what the operator's settings lack; anything else is a fault of the connector."""
    try:
        await connector.start(hear)
    except Refusal:
        raise
    except Exception as raised:
        raise _Failed("expected it to start", f"it raised {type(raised).__name__}") from None


def _server_side(bench: Bench, line: Line) -> ssl.SSLContext | None:
    """Without settings for TLS only a certificate that nobody vouches for can be tried."""
    return bench.tls.servers.get(line) if bench.http or line is Line.TLS_STRANGER else None


def _table(bench: Bench, provider: Provider) -> Mapping[str, Any]:
    table = dict(provider.simulator.table(provider.url))
    if bench.http:
        table["http"] = {}
    if provider.line in (Line.TLS, Line.TLS_OTHER_NAME, Line.TLS_EXPIRED):
        table["http"] = {"ca_file": str(bench.tls.ca_file)}
    if provider.line.startswith("proxy"):
        table["http"] = {"proxy": provider.url}
    return table


def _is_for(need: Need, connector: Connector) -> bool:
    able = connector.capabilities
    return {
        Need.NOTHING: True,
        Need.DEDUPLICATES: able.deduplicates_for_s > 0,
        Need.ABSENCE: able.not_found_final_after_s is not None,
        Need.TWO_STEP: able.two_step,
        Need.EXECUTES_AGAIN: able.two_step and able.execute_again_after_s is not None and isinstance(connector, TwoStep),
        Need.CALLBACKS: able.callbacks,
        Need.NO_CALLBACKS: not able.callbacks,
    }[need]


@dataclass
class _Course:
    """One scenario under way."""

    scenario: Scenario
    connector: Connector
    provider: Provider
    clock: ShiftedClock
    reference: str | None = None
    refused_to_remember: bool = False
    executed_unremembered: bool = False
    repeats: int = 0
    callbacks: list[Callback] = field(default_factory=list)

    @property
    def able(self) -> Capabilities:
        return self.connector.capabilities

    async def go(self, act: Act) -> None:
        simulator = self.provider.simulator
        match act.does:
            case Does.WAIT:
                self.clock.pass_time(self._seconds(act.seconds))
            case Does.SKEW:
                self.clock.skew(act.seconds)
            case Does.RESTART:
                simulator.restart()
                self.provider.cut()
                await self.clock.sleep(SETTLE_S)
            case Does.FORGET:
                simulator.forget()
            case Does.FINISH:
                simulator.finish(pays=act.pays)
            case Does.ARRIVE:
                self.provider.arrive()
            case Does.CALLBACK:
                await self._call_back(act)
            case Does.ASK if not self._can_ask():
                pass
            case _:
                await self._call(act)

    def end(self) -> None:
        """What can be said when all is over."""
        provider = self.provider
        requests = provider.arrived.count(Step.MOVE) - self.repeats
        fault = twice(self._truth(), requests)
        if fault is None and provider.elsewhere:
            fault = "expected no redirect to be followed; one was"
        if fault is None and provider.flooded > ENOUGH:
            fault = f"expected the answer to be capped; more than {ENOUGH >> 20} MiB were read"
        if fault is None and self.refused_to_remember and Step.MOVE in provider.arrived:
            fault = "expected an order that could not be remembered not to be executed; it was"
        if fault is None and self.executed_unremembered:
            fault = "expected the order to be remembered before it was executed; it was executed first"
        if fault is not None:
            said, _, came = fault.partition("; ")
            raise _Failed(said, came)

    async def hear(self, callback: Callback) -> None:
        """Callbacks that a connector hands in by itself are as good as read ones."""
        self.callbacks.append(callback)

    async def _call(self, act: Act) -> None:
        struck = act.fault is not None or act.twist is not Twist.PAID
        strike = Strike(act.at or _STRIKES[act.does], act.fault, act.twist)
        self.provider.strike = strike if struck else None
        deadline_s = SHORT_S if act.fault is not None and act.fault.waits else PATIENCE_S
        self.repeats += act.does in (Does.REPEAT, Does.EXECUTE_AGAIN)
        said = await self._bounded(self._put(act, deadline_s), deadline_s, act)
        if strike.impossible or (struck and not strike.met):
            raise _NotForIt
        self._learn(said)
        self._judge(act, said)

    async def _put(self, act: Act, deadline_s: float) -> Outcome | Finding:
        simulator = self.provider.simulator
        question = Question(ORDER_ID, self.reference, deadline_s)
        match act.does:
            case Does.SUBMIT | Does.REPEAT:
                order = Order(ORDER_ID, simulator.amount, simulator.destination, deadline_s, self._remember)
                return await self.connector.submit(order)
            case Does.EXECUTE_AGAIN if isinstance(self.connector, TwoStep):
                return await self.connector.execute_again(question)
            case _:
                return await self.connector.inquire(question)

    async def _bounded(self, call: Any, deadline_s: float, act: Act) -> Any:
        began = self.clock.monotonic()
        try:
            async with self.clock.timeout(deadline_s + OVERDUE_S):
                return await call
        except TimeoutError:
            took = self.clock.monotonic() - began
            raise _Failed(f"expected an answer within {deadline_s:g} s", f"nothing after {took:.0f} s") from None
        except Exception as raised:
            raise _Failed(f"expected an outcome of {act.does}", f"it raised {type(raised).__name__}") from None

    async def _remember(self, reference: str) -> bool:
        if Step.MOVE in self.provider.arrived:
            self.executed_unremembered = True
        if not self.scenario.remembers:
            self.refused_to_remember = True
            return False
        self.reference = reference
        return True

    def _learn(self, said: Outcome | Finding) -> None:
        told = getattr(said, "provider_reference", None)
        if self.reference is None and isinstance(told, str):
            self.reference = told

    def _can_ask(self) -> bool:
        return self.reference is not None or not self.able.two_step

    def _truth(self) -> Truth:
        provider = self.provider
        moved = Step.MOVE in provider.arrived or (provider.begun and not self.able.two_step)
        named = self.able.status_by_our_id or self.reference is not None
        return Truth(provider.simulator.book, provider.simulator.amount, moved, bool(provider.late), named, self.able)

    def _judge(self, act: Act, said: Outcome | Finding | None) -> None:
        truth = self._truth()
        fault = fault_of(act, said, truth)
        if fault is not None:
            raise _Failed(fault, word_of(said, truth))

    def _seconds(self, seconds: float) -> float:
        """-1: just before the promise of deduplication ends. -2: as long as the promise of absence says, and a moment more."""
        if seconds == -1.0:
            promised = min(self.able.deduplicates_for_s, _YEAR_S)
            return promised - 3600 if promised > 7200 else promised / 2
        return (self.able.not_found_final_after_s or 0.0) + 0.1 if seconds == -2.0 else seconds

    # --- callbacks ---

    async def _call_back(self, act: Act) -> None:
        request = self._request(act)
        before = self.callbacks[-1] if self.callbacks else None
        self.provider.strike = None
        heard = await self._bounded(self.connector.read_callback(request, PATIENCE_S), PATIENCE_S, act)
        if heard is not None:
            self.callbacks.append(heard)
        if "the same" in act.may:
            if heard != before:
                raise _Failed("expected the same callback to be known again", "another one")
            return
        self._judge(act, heard.finding if heard is not None else None)
        if heard is not None and Does.SUBMIT in [one.does for one in self.scenario.acts] and heard.end_to_end_id != ORDER_ID:
            raise _Failed("expected a callback about our order", "one about another")

    def _request(self, act: Act) -> WireRequest:
        path = f"/callbacks/{self.connector.name}"
        raw = {Hand.GARBAGE: b"\x89\xff\x00" * 50, Hand.EMPTY: b"", Hand.HUGE: b"[" * (1 << 20)}.get(act.hand)
        if raw is not None:
            return WireRequest("POST", path, b"", {"content-type": "application/json"}, raw)
        request = self.provider.simulator.callback(act.twist, forged=act.hand is Hand.FORGER)
        if request is None:
            raise _NotForIt
        if act.hand is Hand.BARE:
            kept = {name: value for name, value in request.headers.items() if name == "content-type"}
            request = replace(request, headers=kept)
        if act.hand is Hand.SPLICED:
            other = self.provider.simulator.callback(Twist.LATER)
            if other is None:
                raise _NotForIt
            request = replace(request, headers=other.headers)
        return replace(request, path=path)
