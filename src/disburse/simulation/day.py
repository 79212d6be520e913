"""One seed, from beginning to end: a quiet morning, a day of faults, then they stop and everything must come to its end.

Lives here: the three phases and what is looked at when. Safety: after every commit the auditor looks at what it touched. Heal:
faults end, a small healthy core is started. Liveness: within bounded virtual time nothing may be left undecided; then clients
ask once more, what they gave up expires, the auditor goes through everything, and so does the product's own `verify`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from disburse.simulation import provider_faces
from disburse.simulation.auditor import Auditor, BookEntry, Rulebook, Violation
from disburse.simulation.backend import Backend
from disburse.simulation.callbacks import tell
from disburse.simulation.clients import CARDS, PHONES, minor_of
from disburse.simulation.faults import Faults
from disburse.simulation.installation import Installation
from disburse.simulation.knobs import Knobs, draw
from disburse.simulation.loop import Endless, Loop
from disburse.simulation.morning import begin, open_desk
from disburse.simulation.nemesis import Nemesis
from disburse.simulation.network import Net
from disburse.simulation.nights import nights
from disburse.simulation.process import DAWN
from disburse.simulation.provider import Entry, Promise, Provider
from disburse.simulation.scenes import Scenes
from disburse.simulation.stage import Day
from disburse.simulation.store import Store
from disburse.simulation.streams import Streams, Trace

LIVENESS_S: Final = 6 * 3600.0
"""Virtual seconds after the faults within which everything must have come to its end."""

END_WITHIN_S: Final = 90.0
"""Virtual seconds within which a process that was asked to end has ended, once it is not harmed any more."""

PROMISES: Final = {
    "unitpay": Promise(once=True, absent=False, names_sums=True),
    "moneynew": Promise(once=True, absent=False),
    "moneyold": Promise(once=True, absent=False),
    "bank": Promise(once=False, absent=True, names_sums=True),
    "guarded": Promise(once=True, absent=True, names_sums=True),
}
_FACES: Final[dict[str, Callable[[Provider, Any], Any]]] = {
    "unitpay": provider_faces.unitpay,
    "moneynew": provider_faces.intellectmoney,
    "moneyold": provider_faces.intellectmoney,
    "bank": provider_faces.bank,
    "guarded": provider_faces.bank,
}


@dataclass(slots=True)
class Result:
    """What one seed gave. `trace` is the hash of everything that happened; `virtual_s` and `wall_s` how long it was, and took."""

    seed: int
    violations: list[Violation]
    faults: Counter[str]
    cells: Counter[tuple[str, str]]
    sometimes: Counter[str]
    payouts: int
    commits: int
    steps: int
    virtual_s: float
    wall_s: float
    trace: str
    knobs: Knobs


@dataclass(slots=True)
class Options:
    """How a seed is run. `only`: the kinds of fault that may fall; `payouts`: no more than these many; `heard`: who reads the trace.

    `scenes`: what it has beside the ordinary, whatever the seed says; None: as the seed says.
    """

    only: Collection[str] | None = None
    payouts: int | None = None
    scenes: Collection[str] | None = None
    heard: Callable[[float, str, str], None] | None = None


def live(seed: int, backend: Backend, options: Options | None = None) -> Result:
    """Run one seed on an emptied database."""
    backend.empty()
    with _without_collector():
        return _live(seed, backend, options or Options())


def _live(seed: int, backend: Backend, options: Options) -> Result:
    began = time.perf_counter()
    day = _make(seed, backend, options)
    _LOGGED[:] = [day.house.logged]
    asyncio.set_event_loop(day.loop)
    try:
        day.loop.run_until_complete(_through(day))
    except Endless as fault:
        day.violations += [*_in_full(day, converged=not day.faults.on), Violation("crash", f"it never became quiet: {fault}")]
    finally:
        day.loop.set_exception_handler(lambda loop, told: None)
        for process in day.house.every:
            process.kill()
        asyncio.set_event_loop(None)
        day.loop.close()
    return Result(
        seed, day.violations, day.faults.counted, day.faults.cells, day.sometimes, sum(len(one.wanted) for one in day.clients),
        day.commits, day.trace.steps, day.loop.time(), time.perf_counter() - began, day.trace.digest(), day.knobs,
    )  # fmt: skip


_LOGGED: Final[list[list[str]]] = []


def _keep(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """A processor that keeps what the product logs for the search for secrets, and prints nothing."""
    for said in _LOGGED:
        said.append(repr(sorted((name, repr(value)) for name, value in event.items())))
    raise structlog.DropEvent


def _make(seed: int, backend: Backend, options: Options) -> Day:
    streams = Streams(seed)
    knobs = draw(streams, options.only, options.scenes)
    if options.payouts is not None:
        knobs = replace(knobs, payouts=min(knobs.payouts, options.payouts))
    trace = Trace(options.heard)
    loop = Loop(streams["schedule"], trace)
    faults = Faults(knobs.rates, streams["faults"], streams["ways/apart"])
    net = Net(loop, faults)
    rulebook = Rulebook(DAWN, DAWN)

    def clock() -> datetime:
        return rulebook.shows(DAWN + timedelta(seconds=loop.time()) + faults.database_clock_off)

    store = Store(backend, loop, clock, faults, streams["latency"])
    store.slowest_s = knobs.slowest_s
    names = [f"{kind}-{place}" for place, kind in enumerate(knobs.providers, 1)]
    house = Installation(loop, net, store, streams, knobs, names)
    faults.end = house.end
    providers = {}
    for name, kind in zip(names, knobs.providers, strict=True):
        one = Provider(name, PROMISES[kind], loop, streams["provider"], knobs.temper, streams["provider/apart"])
        providers[one.name] = one
        net.hosts[one.name] = provider_faces.Face(one, _FACES[kind])

    repeats = {name: math.inf for name, one in providers.items() if one.promise.once}
    two_step = [name for name in names if name.startswith("money")]
    never_absent = {name: math.inf for name, one in providers.items() if not one.promise.absent and name not in two_step}
    auditor = Auditor(
        backend.fetch, absence=never_absent, repeats=repeats, canaries=(*CARDS, *PHONES), clock=clock, two_step=two_step, rulebook=rulebook
    )
    day = Day(seed, knobs, streams, trace, loop, backend, faults, net, store, house, providers, auditor, rulebook, options.payouts)
    auditor.endpoints, auditor.files = day.endpoints, day.files
    loop.set_exception_handler(lambda _, told: _fell(day, told))
    store.committed = lambda process: _committed(day)
    store.noted = net.noted = lambda process, what: trace.note(loop.time(), process.name, what)
    for one in providers.values():
        one.sometimes = lambda what: day.sometimes.update((what,))
        one.harmed = faults.count
        one.told = lambda order, one=one: tell(day, one, order)  # type: ignore[misc]
        one.arrived = lambda entry: day.look(auditor.received(_arrived(day, entry)))
    return day


async def _through(day: Day) -> None:
    day.look(day.backend.call(day.auditor.after_commit()))
    scenes = Scenes(day)
    await begin(day, scenes)
    nemesis = Nemesis(day.house, day.providers, day.faults, day.streams["faults"], day.names, day.streams["faults/apart"])
    day.faults.on = True
    nemesis.start()
    await open_desk(day)
    scenes.begin()
    running = [client.process.start(client.run()) for client in day.clients]
    await asyncio.sleep(day.knobs.safety_s)
    await _heal(day, nemesis, scenes)
    await _until_quiet(day, running, scenes)
    await _final_reads(day)
    day.closed = True
    await nights(day)
    if scenes.undecided():  # what a night brought is news for receivers
        for name in day.names:
            if day.house.processes[name].dead:
                day.house.start(name, scenes.calm())
        await _until_quiet(day, running, scenes)
    day.violations += _in_full(day, converged=True)
    report = day.backend.verify()
    day.violations += [Violation(f"verify {one.check}", f"{one.sentence} {one.examples}") for one in report.findings]
    _search_for_secrets(day)
    day.violations += [Violation("crash", told) for told in day.house.crashes]


# --- the end of the faults ---------------------------------------------------------------------------------------


async def _heal(day: Day, nemesis: Nemesis, scenes: Scenes) -> None:
    """No more faults; what is left is a small healthy core, which has to bring everything to its end."""
    nemesis.end()
    day.faults.on, day.healed = False, True
    day.store.slowest_s = 0.002
    for provider in day.providers.values():
        provider.calm()
    day.trace.note(day.loop.time(), "-", "the faults are over")
    await _see_them_end(day)
    keep = day.streams["schedule"].choice((True, False))
    for name in day.names:
        process = day.house.processes.get(name)
        if process is not None and not process.dead and not keep:
            process.kill()
        if process is None or process.dead:
            day.house.start(name, scenes.calm())
    await asyncio.sleep(1)


async def _see_them_end(day: Day) -> None:
    """Who was asked to end must have done so soon; whoever goes on cannot be stopped but by killing it."""
    until = day.loop.time() + END_WITHIN_S
    while day.house.still_ending() and day.loop.time() < until:
        await asyncio.sleep(1)
    for process in day.house.still_ending():
        asked = day.loop.time() - day.house.ending[process]
        day.violations.append(Violation("E15", f"{process.name} was asked to end {asked:.0f} s ago and goes on"))


async def _until_quiet(day: Day, running: list[asyncio.Task[Any]], scenes: Scenes) -> None:
    """Wait until clients have done and nothing is undecided, at most `LIVENESS_S`."""
    ends = day.loop.time() + LIVENESS_S
    while day.loop.time() < ends:
        await asyncio.sleep(5)
        if all(one.done() for one in running) and not day.calling and not _undecided(day) and not scenes.undecided():
            return


def _undecided(day: Day) -> int:
    """Payouts that were executed and have no end, those aside that a provider misreported."""
    waiting = "SELECT count(*) FROM payouts WHERE shard = ANY ($1) AND state IN ('queued', 'in_flight', 'in_doubt') AND frozen IS NULL"
    found: int = day.backend.look(waiting, day.buckets)[0][0]
    return found


async def _final_reads(day: Day) -> None:
    """Every client asks once more about everything, so that what it did not know is known."""
    for client in day.clients:
        await client.process.start(client.read_all())


# --- what is looked at -------------------------------------------------------------------------------------------


def _committed(day: Day) -> None:
    day.commits += 1
    day.look(day.backend.call(day.auditor.after_commit()))


def _in_full(day: Day, *, converged: bool) -> list[Violation]:
    """Everything, from scratch. `converged`: the faults are over, and there was time enough for all to end."""
    lied = day.misjudged.union(*[provider.lied() for provider in day.providers.values()])
    now = DAWN + timedelta(seconds=day.loop.time())
    found: list[Violation] = day.backend.call(
        day.auditor.in_full(_book(day), day.history.exchanges, converged=converged, lied_about=lied, now=now)
    )
    return found


def _book(day: Day) -> list[BookEntry]:
    lines: list[BookEntry] = []
    for provider in day.providers.values():
        lines += [_line(one) for one in sorted((*provider.received, *provider.book), key=lambda one: one.at)]
    return lines


def _line(one: Entry) -> BookEntry:
    return BookEntry(one.provider, one.key, minor_of(one.amount), one.currency, DAWN + timedelta(seconds=one.at), one.kind)


def _arrived(day: Day, entry: Entry) -> BookEntry:
    """An order that has just come in, and when it left, as long as nobody set the database's clock."""
    left = DAWN + timedelta(seconds=day.net.sent_at)
    was_set = day.faults.counted["store_clock"] or day.faults.counted["leap"]
    return replace(_line(entry), sent_at=None if was_set else left)


def _search_for_secrets(day: Day) -> None:
    """No card number of the day may stand in anything that was logged."""
    for line in day.house.logged:
        for number in (*CARDS, *PHONES):
            if number in line:
                day.violations.append(Violation("S1", "a card or phone number was logged"))


def _fell(day: Day, told: dict[str, Any]) -> None:
    """Something raised where nobody listens: the simulator's own mistake, or a loop of the product that died unseen."""
    fault = told.get("exception")
    day.violations.append(Violation("crash", f"{told.get('message')}: {type(fault).__name__}: {fault}"))


# --- clearing away -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Finalisers run when the collector pleases: during a day it does not run. Afterwards all processes are dead and cleared away;
    what their unfinished work tries on the way touches nothing, and is nobody's business.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()  # what was there before the first day need not be gone through after each
    gc.disable()
    hook, sys.unraisablehook = sys.unraisablehook, lambda told: None
    structlog.configure(processors=[_keep], cache_logger_on_first_use=False)
    try:
        yield
    except BaseException as fault:
        traceback.clear_frames(fault.__traceback__)  # what it holds would be cleared away when nobody is silent any more
        raise
    finally:
        _LOGGED.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a process that was killed at once never began some of its work
            while gc.collect():  # what one round lets go may hold more
                pass
        gc.enable()
        sys.unraisablehook = hook
        structlog.reset_defaults()
