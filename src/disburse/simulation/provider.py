"""A simulated provider: its own book, which is the only truth about money sent, and how it behaves with each order.

Lives here: what happens to an order, whatever wire it came by; the wires are in `provider_faces.py`. It shares no code with the
product: amounts are read and written here anew. What the contract of a kind promises (`Promise`) it keeps, whatever else goes wrong;
all the rest it may do as badly as real ones do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from disburse.simulation.loop import Loop
from disburse.simulation.streams import log_uniform

_NOBODY: Final = Context()
ABSENT_AFTER_S: Final = 5.0
"""A bank that promises it says "absent" to the second question so long after the first, and refuses the id from then on."""

RETURNS_WITHIN_S: Final = 200.0
"""What comes back does so within so long: most of it while faults fall."""

STUMBLES_S: Final = 15.0
"""What could not go on does not for at least so long."""


LOST_FOR_S: Final = 4.0
"""An order over which a provider broke down is found again after so long."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the contract says. `once`: an id is paid once, for ever. `absent`: not-founds become a final "absent".

    `names_sums`: its answers say how much; of those that do not nobody can see that it was another sum.
    """

    once: bool
    absent: bool
    names_sums: bool = False


@dataclass(frozen=True, slots=True)
class Temper:
    """How often a provider does what (0 to 1). Drawn for each seed, calm after the faults stop."""

    later: float = 0.0  # takes an order and decides later
    longest_s: float = 60.0  # at most so much later
    refuses: float = 0.0
    short: float = 0.0  # refuses for want of our money there
    returns: float = 0.0  # pays, and the money comes back
    misreports: float = 0.0  # pays the right sum and tells another
    strict: float = 0.0  # looks at our money there before it looks an id up
    cheats: float = 0.0  # pays another sum, and tells that
    hides: float = 0.0  # a question soon after the order does not find it
    hides_s: float = 0.0
    flaps: float = 0.0  # tells an earlier state once more
    crossed: float = 0.0  # tells one order's news as another's, or names an earlier operation as a new one's
    unlisted: float = 0.0  # answers with a code or state that no page lists
    gateway: float = 0.0  # a gateway before it tells an error of its own in the answer's place
    stumbles: float = 0.0  # cannot go on with an order for now, says so, and goes on later
    internal: float = 0.0  # breaks down over an order that it took, which shows only a while later
    relents: float = 0.0  # says that it refused, for want of money even, and pays after all
    calls: int = 1  # callbacks for a change of state


@dataclass(slots=True)
class Entry:
    """One line of the book. `kind`: "received" (an order that can move money), "paid" or "returned". Seconds are virtual."""

    at: float
    provider: str
    key: str
    amount: str
    currency: str
    destination: str
    kind: str


@dataclass(slots=True)
class Ordered:
    """An order as the provider has it. `state`: made, taken, paid, refused, returned, absent."""

    key: str
    amount: str
    currency: str
    destination: str
    at: float
    number: int
    state: str = "made"
    before: str = "made"
    short: bool = False
    misreported: bool = False
    stumbled: bool = False
    relented: bool = False
    moved: str | None = None  # what was paid in the place of its amount
    hidden_until: float = 0.0


class Provider:
    """One provider. `up`: whether it takes connections; `mute`: whether nobody hears its answers; `book` is durable, everything else
    may be lost with a restart. `apart` is drawn from for what came later, so that all the rest stays as it was.
    """

    def __init__(
        self, name: str, promise: Promise, loop: Loop, stream: random.Random, temper: Temper, apart: random.Random | None = None
    ) -> None:
        self.name = name
        self.promise = promise
        self.loop = loop
        self.stream = stream
        self.apart = apart or stream
        self.temper = temper
        self.up = True
        self.mute = False
        self.book: list[Entry] = []
        self.received: list[Entry] = []
        self.orders: dict[str, Ordered] = {}
        self.tokens: dict[str, float] = {}
        self.missed: dict[str, float] = {}
        self.arrived: Callable[[Entry], None] = lambda entry: None
        self.told: Callable[[Ordered], None] = lambda order: None
        self.sometimes: Callable[[str], None] = lambda what: None
        self.harmed: Callable[[str], None] = lambda kind: None
        self._pending: dict[str, str] = {}
        self._made = 0

    # --- orders ---

    def take(self, key: str, amount: str, currency: str, destination: str) -> Ordered:
        """An order arrives. One that is known is paid again where the contract does not forbid it: that is the payer's affair."""
        known = self.orders.get(key)
        if known is not None and (self.promise.once or known.state == "absent"):
            if known.state == "absent":  # nothing can come of it, but somebody has sent it
                self.arrived(Entry(self.loop.time(), self.name, key, amount, currency, destination, "received"))
            self.sometimes(f"{self.name.partition('-')[0]}: a known id came again")
            return known
        return self.carry_out(self.make(key, amount, currency, destination))

    def make(self, key: str, amount: str, currency: str, destination: str) -> Ordered:
        """An order is written down; nothing moves."""
        self._made += 1
        order = Ordered(key, amount, currency, destination, self.loop.time(), self._made)
        self.orders[key] = order
        if self._chance(self.temper.hides):
            order.hidden_until = order.at + self.stream.uniform(0, self.temper.hides_s)
            self.harmed("hides")
        return order

    def crossed(self) -> Ordered | None:
        """An operation that was executed for somebody else is given out once more, now and then."""
        made = [order for order in self.orders.values() if order.state != "made"]
        if not made or not self._chance(self.temper.crossed):
            return None
        self.harmed("crossed")
        return self.stream.choice(made)

    def carry_out(self, order: Ordered) -> Ordered:
        """Decide what becomes of an order, now or later."""
        arrived = self._entry(order, "received")
        self.received.append(arrived)
        self.arrived(arrived)
        temper = self.temper
        order.stumbled = self._chance(temper.stumbles)
        if self.promise.names_sums and self._chance_apart(temper.cheats):
            order.moved = "1.00" if Decimal(order.amount) > 2 else str(Decimal(order.amount) * 10)
            self.harmed("cheats")
        draw = self.stream.random()
        if draw < temper.refuses:
            self._become(order, "refused")
        elif draw < temper.refuses + temper.short:
            order.short = True
            self._become(order, "refused")
        elif order.stumbled or draw < temper.refuses + temper.short + temper.later:
            self.harmed("stumbles" if order.stumbled else "later")
            self._become(order, "taken")
            then = "refused" if self._chance(0.3) else "paid"
            soonest_s = STUMBLES_S if order.stumbled else 0.01
            self._later(order, then, log_uniform(self.stream, soonest_s, max(temper.longest_s, 2 * soonest_s)))
        else:
            self._become(order, "paid")
        if self._chance(temper.misreports):
            order.misreported = True
            self.harmed("misreports")
        return order

    def _later(self, order: Ordered, then: str, seconds: float) -> None:
        self._pending[order.key] = then
        self.loop.call_later(seconds, self._come_true, order.key, context=_NOBODY)

    def is_short_for_a_copy(self, order: Ordered) -> bool:
        """Whether it looks at our money before the id: a copy that comes with the order is refused for want of what the first one cost."""
        short = order.at == self.loop.time() and self._chance_apart(self.temper.strict)
        if short:
            self.harmed("strict")
        return short

    def _come_true(self, key: str) -> None:
        then = self._pending.pop(key, None)
        if then is not None:
            self._become(self.orders[key], then)

    def _become(self, order: Ordered, state: str) -> None:
        order.before, order.state = order.state, state
        if state in ("paid", "returned"):
            self.book.append(self._entry(order, state))
        returns = self.promise.absent and order.moved is None
        if state == "paid" and returns and self._chance(self.temper.returns):  # other kinds have no word for it
            self.harmed("returns")
            self._later(order, "returned", log_uniform(self.stream, 1, min(self.temper.longest_s, RETURNS_WITHIN_S)))
        for_good = not order.short or self.promise.absent  # who refuses by a code of its table forgets the order
        if state == "refused" and for_good and self._chance(self.temper.relents):
            order.relented = True
            self.harmed("relents")
            self._later(order, "paid", log_uniform(self.stream, 0.1, 60.0 if order.short else 600.0))
        self.told(order)

    def _entry(self, order: Ordered, kind: str) -> Entry:
        amount = order.amount if kind == "received" or order.moved is None else order.moved
        return Entry(self.loop.time(), self.name, order.key, amount, order.currency, order.destination, kind)

    def lied(self) -> set[str]:
        """Keys of orders of which it said what was not so."""
        return {order.key for order in self.orders.values() if order.misreported or order.relented or order.moved}

    # --- questions ---

    def find(self, key: str) -> Ordered | None:
        """What a question finds: an order may be hidden for a while. A bank that promises it declares absent what it twice missed."""
        order = self.orders.get(key)
        now = self.loop.time()
        if order is not None and now >= order.hidden_until:
            return order
        if order is not None:
            self.sometimes("a question did not find what was there")
        if not self.promise.absent or order is not None:
            return None
        first = self.missed.setdefault(key, now)
        if now - first < ABSENT_AFTER_S:
            return None
        gone = Ordered(key, "0", "", "", now, 0, "absent", "absent")
        self.orders[key] = gone
        self.sometimes("a bank declared an id absent")
        return gone

    def state_shown(self, order: Ordered) -> str:
        """The state that an answer tells; a flapping provider may tell the one before."""
        if order.before == "taken" and order.state in ("paid", "refused") and self._chance(self.temper.flaps):
            self.sometimes("a provider told an earlier state")
            self.harmed("flaps")
            return "taken"
        return order.state

    def spoken_of(self, order: Ordered) -> Ordered:
        """The order that an answer tells of: now and then somebody else's, since two answers were crossed."""
        others = [one for one in self.orders.values() if one is not order and one.state in ("taken", "paid", "refused")]
        if not others or not self._chance(self.temper.crossed):
            return order
        self.harmed("crossed")
        self.sometimes("an answer told of another order")
        return self.stream.choice(others)

    def told_by_a_gateway(self) -> bool:
        """Whether something before it answers in its place, whatever it did."""
        told = self._chance(self.temper.gateway)
        if told:
            self.harmed("gateway")
        return told

    def amount_shown(self, order: Ordered) -> str:
        amount = order.moved or order.amount
        return amount if not order.misreported else "1.00" if amount != "1.00" else "2.00"

    def breaks_down(self, order: Ordered) -> bool:
        """Whether it answers this order with a fault of its own. It has the order, and a question finds that only later."""
        breaks = self._chance(self.temper.internal)
        if breaks:
            order.hidden_until = max(order.hidden_until, self.loop.time() + self.stream.uniform(0, LOST_FOR_S))
            self.harmed("internal")
        return breaks

    def strange(self) -> bool:
        """Whether this answer is one that no page lists."""
        strange = self._chance(self.temper.unlisted)
        if strange:
            self.harmed("unlisted")
        return strange

    def will_be(self, order: Ordered) -> str:
        """The state that an order comes to, as far as that is decided by now."""
        return self._pending.get(order.key, order.state)

    # --- its own troubles ---

    def crash(self) -> None:
        """It is gone, with all that was not in its book."""
        self.up = False
        self.tokens.clear()
        self.missed.clear()

    def recover(self) -> None:
        self.up = True

    def calm(self) -> None:
        """The faults are over: it behaves, and what it put off happens within seconds."""
        self.up, self.mute = True, False
        self.temper = Temper(calls=self.temper.calls)
        for order in self.orders.values():
            order.hidden_until = 0.0
        for key in list(self._pending):
            self.loop.call_later(self.stream.uniform(0, 2), self._come_true, key, context=_NOBODY)

    def _chance_apart(self, likely: float) -> bool:
        return likely > 0 and self.apart.random() < likely

    def _chance(self, likely: float) -> bool:
        return likely > 0 and self.stream.random() < likely
