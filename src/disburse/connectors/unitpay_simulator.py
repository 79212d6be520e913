"""UnitPay as a certification meets it: mass payouts in memory, by the server's side of our own codec.

Lives here: one account with all the money it needs. A known transactionId is answered with the payout that it has, as the page
says; nobody is called back. May not live here: what a connector should make of an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from disburse.connectors.simulator import Book, Step, Twist
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import BadAmount, Money, read_amount
from disburse.domain.ports import Clock
from disburse.protocols import unitpay
from disburse.protocols.unitpay import Code, Status
from disburse.protocols.wire import Malformed, WireAnswer, WireRequest

_LOGIN: Final = "certify@example.com"
_KEY: Final = "certify-certify"
_STEPS: Final = {"massPayment": Step.MOVE, "massPaymentStatus": Step.ASK}
_AT_FIRST: Final = {Twist.LATER: Status.NOT_COMPLETED, Twist.REFUSED: Status.ERROR}
_REFUSING: Final = {Twist.SHORT: Code.SUM_ABOVE_BALANCE, Twist.TURNED_AWAY: Code.UNAUTHORIZED}
_NEVER: Final = frozenset((Twist.STALE, Twist.RETURNED))


@dataclass
class _Payout:
    number: int
    transaction_id: str
    sum: str
    made_at: datetime
    status: Status


class UnitPaySimulator:
    """One account. Made by `simulate`."""

    amount = Money(123_45, "RUB")
    destination = Destination(Rail.CARD, "4111111111111111")

    def __init__(self, clock: Clock) -> None:
        self.book = Book()
        self._clock = clock
        self._payouts: dict[str, _Payout] = {}

    def table(self, url: str) -> Mapping[str, Any]:
        return {"url": f"{url}/api", "login": _LOGIN, "secret_key": _KEY, "rails": ["card"]}

    def step(self, request: WireRequest) -> Step:
        try:
            return _STEPS.get(unitpay.decode_call(request).method, Step.OTHER)
        except Malformed:
            return Step.OTHER

    def answer(self, request: WireRequest, twist: Twist) -> WireAnswer | None:
        step = self.step(request)
        if twist in _NEVER or (twist is Twist.NOT_KNOWN and step is not Step.ASK):
            return None
        if step is Step.OTHER:
            return unitpay.answer(unitpay.encode_partner(_LOGIN, balance="1000000.00", available="1000000.00"))
        try:
            call = unitpay.decode_call(request)
            if unitpay.read_credentials(call) != unitpay.Credentials(_LOGIN, _KEY):
                return _error(Code.UNAUTHORIZED)
            if twist in _REFUSING and step is Step.MOVE:
                return _error(_REFUSING[twist])
            if step is Step.MOVE:
                order = unitpay.read_mass_payment(call)
                if order.purse != self.destination.number:
                    return _error(Code.CARD_UNREADABLE)
                payout: _Payout | None = self._pay(order, twist)
            else:
                payout = self._payouts.get(unitpay.read_mass_payment_status(call).transaction_id)
        except (Malformed, BadAmount):
            return _error(Code.BAD_PARAMETERS)
        return self._tell(payout, twist)

    def callback(self, twist: Twist, *, forged: bool = False) -> WireRequest | None:
        return None

    def finish(self, *, pays: bool) -> None:
        for payout in self._payouts.values():
            if payout.status is Status.NOT_COMPLETED:
                payout.status = Status.SUCCESS if pays else Status.ERROR
                self._write(payout)
        self.book.taken = False

    def restart(self) -> None:
        """It has no sessions."""

    def forget(self) -> None:
        self._payouts.clear()

    def _pay(self, order: unitpay.MassPayment, twist: Twist) -> _Payout:
        known = self._payouts.get(order.transaction_id)
        if known is None:
            status = _AT_FIRST.get(twist, Status.SUCCESS)
            known = _Payout(len(self._payouts) + 1, order.transaction_id, order.sum, self._clock.now(), status)
            self._payouts[known.transaction_id] = known
            self._write(known)
        return known

    def _write(self, payout: _Payout) -> None:
        match payout.status:
            case Status.SUCCESS:
                self.book.paid.append(read_amount(payout.sum, "RUB"))
            case Status.ERROR:
                self.book.refused = True
            case Status.NOT_COMPLETED:
                self.book.taken = True

    def _tell(self, payout: _Payout | None, twist: Twist) -> WireAnswer:
        if payout is None or twist is Twist.NOT_KNOWN:
            return _error(Code.BAD_PARAMETERS)
        if twist is Twist.TURNED_AWAY:
            return _error(Code.UNAUTHORIZED)
        if twist is Twist.INTERNAL:
            return _error(Code.INTERNAL)
        if twist is Twist.UNLISTED_CODE:
            return unitpay.answer(b'{"error":{"message":"?","code":777}}')
        other = twist is Twist.OTHER_AMOUNT
        told = unitpay.PayoutAnswer(
            "ok", payout.status, payout.number, "1000000.00", payout.made_at, None, "1.00" if other else payout.sum,
            "0.00", "0.00", "another-1" if twist is Twist.OTHER_ID else payout.transaction_id,
        )  # fmt: skip
        result = json.loads(unitpay.encode_payout(told))["result"]
        if twist is Twist.UNLISTED_STATE:
            result["status"] = "frozen"
        if twist is Twist.HALF:
            del result["status"]
        if twist is Twist.OTHER_DESTINATION:
            result["purse"] = "5555555555554444"
        return unitpay.answer(json.dumps({"result": result}).encode())


def _error(code: Code) -> WireAnswer:
    return unitpay.answer(unitpay.encode_error(code))


def simulate(table: Mapping[str, Any], clock: Clock) -> UnitPaySimulator:
    """The provider of a connector with this table."""
    return UnitPaySimulator(clock)
