"""The stand-alone sandbox bank as a certification meets it: its own wire, in memory, without the table of amounts.

Lives here: a bank that pays what it is sent as often as it is sent, or, where the connector's table says that it was started with
its guard, once an id. Two not-founds five seconds apart are final there: it says "absent" and refuses the id from then on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from disburse.connectors.sandbox_bank import Standing
from disburse.connectors.sandbox_book import Did
from disburse.connectors.sandbox_rules import NOT_FOUND_FINAL_S
from disburse.connectors.sandbox_wire import NOT_FOUND, STATUS, BadOrder, decode_order, encode_standing, is_id
from disburse.connectors.simulator import Book, Step, Twist
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import Money
from disburse.domain.ports import Clock
from disburse.protocols.wire import JSON, WireAnswer, WireRequest

_FIRST: Final = {Twist.LATER: Did.ACCEPTED, Twist.REFUSED: Did.REFUSED, Twist.SHORT: Did.REFUSED}
_NEVER: Final = frozenset((Twist.OTHER_DESTINATION, Twist.TURNED_AWAY, Twist.STALE))
_PAYOUTS: Final = "/payouts"


class SandboxSimulator:
    """One bank. `guard`: it remembers ids."""

    amount = Money(123_45, "RUB")
    destination = Destination(Rail.CARD, "4111111111111111")

    def __init__(self, clock: Clock, *, guard: bool) -> None:
        self.book = Book()
        self._clock = clock
        self._guard = guard
        self._known: dict[str, Standing] = {}
        self._missed: dict[str, float] = {}
        self._spoken_of = "nobody-1"

    def table(self, url: str) -> Mapping[str, Any]:
        return {"url": url}

    def step(self, request: WireRequest) -> Step:
        if request.path == _PAYOUTS and request.method == "POST":
            return Step.MOVE
        if request.path.startswith(f"{_PAYOUTS}/") and is_id(request.path.removeprefix(f"{_PAYOUTS}/")):
            return Step.ASK
        return Step.OTHER

    def answer(self, request: WireRequest, twist: Twist) -> WireAnswer | None:
        step = self.step(request)
        if twist in _NEVER or (twist in (Twist.NOT_KNOWN, Twist.RETURNED) and step is not Step.ASK):
            return None
        if step is Step.OTHER:
            return WireAnswer(404, JSON, b'{"error":"there is no such page"}')
        if step is Step.ASK:
            return self._tell(self._asked(request.path.removeprefix(f"{_PAYOUTS}/"), twist), twist)
        try:
            slip = decode_order(request.body)
        except BadOrder as bad:
            return WireAnswer(400, JSON, json.dumps({"error": bad.why, "field": bad.field}).encode())
        if slip.last4 != self.destination.last4:
            return WireAnswer(400, JSON, b'{"error":"is no card of anybody","field":"last4"}')
        self._spoken_of = slip.end_to_end_id
        known = self._known.get(slip.end_to_end_id)
        if known is not None and known.did is Did.ABSENT:
            return self._tell(Standing(known.end_to_end_id, Did.REFUSED, slip.amount, None, "declared absent", True), twist)
        if known is None or not self._guard:
            did = _FIRST.get(twist, Did.PAID)
            reason = "refused" if did is Did.REFUSED else ""
            known = Standing(slip.end_to_end_id, did, slip.amount, "SB1", reason, twist is Twist.SHORT)
            self._known[slip.end_to_end_id] = known
            self._write(known)
        return self._tell(known, twist)

    def callback(self, twist: Twist, *, forged: bool = False) -> WireRequest | None:
        known = self._known.get(self._spoken_of) or Standing(self._spoken_of, Did.PAID, self.amount, "SB1")
        did = {Twist.PAID: Did.PAID, Twist.LATER: Did.ACCEPTED, Twist.REFUSED: Did.REFUSED, Twist.RETURNED: Did.RETURNED}.get(twist)
        if did is None:
            return None
        told = replace(known, did=did, amount=self.amount, reference="SB1", reason="refused" if did is Did.REFUSED else "")
        return WireRequest("POST", "/callbacks/certified", b"", {"content-type": JSON}, encode_standing(told))

    def finish(self, *, pays: bool) -> None:
        for key, known in list(self._known.items()):
            if known.did is Did.ACCEPTED:
                self._known[key] = replace(known, did=Did.PAID if pays else Did.REFUSED, reason="" if pays else "refused")
                self._write(self._known[key])
        self.book.taken = False

    def restart(self) -> None:
        self._missed.clear()

    def forget(self) -> None:
        self._known.clear()
        self._missed.clear()

    def _asked(self, key: str, twist: Twist) -> Standing | None:
        known = None if twist is Twist.NOT_KNOWN else self._known.get(key)
        if known is not None:
            return known
        now = self._clock.monotonic()
        if now - self._missed.setdefault(key, now) < NOT_FOUND_FINAL_S or key in self._known:
            return None
        return self._known.setdefault(key, Standing(key, Did.ABSENT))

    def _write(self, known: Standing) -> None:
        match known.did:
            case Did.PAID:
                self.book.paid.append(known.amount or Money(0, "RUB"))
            case Did.REFUSED:
                self.book.refused = True
            case _:
                self.book.taken = True

    def _tell(self, known: Standing | None, twist: Twist) -> WireAnswer:
        if twist is Twist.INTERNAL:
            return WireAnswer(503, JSON, b'{"error":"the book cannot be written"}')
        if known is None:
            return WireAnswer(404, JSON, NOT_FOUND)
        if twist is Twist.OTHER_ID:
            known = replace(known, end_to_end_id="another-1")
        if twist is Twist.OTHER_AMOUNT:
            known = replace(known, amount=Money(1_00, "RUB"))
        if twist is Twist.RETURNED:
            known = replace(known, did=Did.RETURNED)
        body, status = encode_standing(known), STATUS[known.did]
        if twist is Twist.UNLISTED_STATE:
            body = body.replace(b'"paid"', b'"frozen"')
        if twist is Twist.HALF:
            body = body.replace(b'"state":"paid",', b"")
        return WireAnswer(299 if twist is Twist.UNLISTED_CODE else status, JSON, body)


def simulate(table: Mapping[str, Any], clock: Clock) -> SandboxSimulator:
    """The bank of a connector with this table."""
    return SandboxSimulator(clock, guard=table.get("guard") is True)
