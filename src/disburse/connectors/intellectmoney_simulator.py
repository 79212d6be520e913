"""IntellectMoney as a certification meets it: both generations in memory, by the server's side of our own codec.

Lives here: one account whose operations are made, executed at most once, and asked about; a token lives five minutes. Signatures
are the doors' business and are not looked at here. May not live here: what a connector should make of an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from disburse.connectors.simulator import Book, Step, Twist
from disburse.domain.destinations import Destination, Rail
from disburse.domain.money import BadAmount, Money, read_amount
from disburse.domain.ports import Clock
from disburse.protocols.intellectmoney import Generation, Method, decode_call
from disburse.protocols.intellectmoney_answers import (
    HANDLED,
    NOT_HANDLED,
    PayoutOperationData,
    PayoutStateName,
    TokenData,
    encode_answer,
    refusal_desc,
    state_word,
)
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    Execute,
    GetState,
    GetUserToken,
    Message,
    read_message,
)
from disburse.protocols.wire import Malformed, WireAnswer, WireRequest

TOKEN_LIFE_S: Final = 300.0
_STEPS: Final = {Method.GET_USER_TOKEN: Step.PREPARE, Method.EXECUTE: Step.MOVE, Method.GET_STATE: Step.ASK}
_EXECUTED: Final = {
    Twist.LATER: PayoutStateName.IN_PROCESS, Twist.REFUSED: PayoutStateName.FAILED, Twist.SHORT: PayoutStateName.NOT_ENOUGH_MONEY,
}  # fmt: skip
_NEVER: Final = frozenset((Twist.OTHER_AMOUNT, Twist.OTHER_DESTINATION, Twist.RETURNED))
_TURNS_AWAY: Final = {
    Twist.TURNED_AWAY: ("WRONG_BEARER", "the bearer is not known"), Twist.STALE: ("TOKEN_EXPIRED", "the token has expired"),
}  # fmt: skip
_ANOTHER: Final = "00000000-0000-4000-8000-00000000ffff"
_ALIVE: Final = (PayoutStateName.CREATED, PayoutStateName.NOT_ENOUGH_MONEY)


@dataclass
class _Operation:
    guid: str
    amount: Money
    state: PayoutStateName = PayoutStateName.CREATED


class IntellectMoneySimulator:
    """One account. Made by `simulate`."""

    amount = Money(123_45, "RUB")
    destination = Destination(Rail.CARD, "4111111111111111")

    def __init__(self, clock: Clock, generation: str) -> None:
        self.book = Book()
        self._clock = clock
        self._generation = generation
        self._operations: dict[str, _Operation] = {}
        self._tokens: dict[str, float] = {}
        self._made = 0

    def table(self, url: str) -> Mapping[str, Any]:
        keys = {"login": "certify@example.com", "password": "certify", "rails": ["card"], "currencies": ["RUB"]}
        signed = {"bearer": "certify-bearer", "sign_secret_key": "certify-sign"} if self._generation == "new" else {}
        return {"base_url": url, **keys, **signed}

    def step(self, request: WireRequest) -> Step:
        try:
            return _STEPS.get(decode_call(request).method, Step.MAKE)
        except Malformed:
            return Step.OTHER

    def answer(self, request: WireRequest, twist: Twist) -> WireAnswer | None:
        step = self.step(request)
        if twist in _NEVER or (twist is Twist.NOT_KNOWN and step is not Step.ASK):
            return None
        try:
            call = decode_call(request)
            message = read_message(call)
        except Malformed:
            return _refused("BAD_REQUEST", "the request cannot be read")
        if isinstance(message, GetUserToken):
            return self._token(twist)
        if twist in _TURNS_AWAY:
            self._tokens.clear()
            return _refused(*_TURNS_AWAY[twist])
        if self._clock.monotonic() - self._tokens.get(message.user_token, float("-inf")) >= TOKEN_LIFE_S:
            return _refused("TOKEN_EXPIRED", "the token has expired")
        operation = self._carry_out(message, twist)
        if operation is None or twist is Twist.NOT_KNOWN:
            return _refused("NO_SUCH_OPERATION", "there is no such operation")
        return _told(operation, call.generation, call.method, twist)

    def callback(self, twist: Twist, *, forged: bool = False) -> WireRequest | None:
        return None

    def finish(self, *, pays: bool) -> None:
        for operation in self._operations.values():
            if operation.state is PayoutStateName.IN_PROCESS:
                operation.state = PayoutStateName.COMPLETED if pays else PayoutStateName.FAILED
                self._write(operation)
        self.book.taken = False

    def restart(self) -> None:
        self._tokens.clear()

    def forget(self) -> None:
        self._operations.clear()

    def _token(self, twist: Twist) -> WireAnswer:
        if twist in _TURNS_AWAY:
            return _refused("WRONG_CREDENTIALS", "login or password is wrong")
        token = f"certify-token-{len(self._tokens) + 1}-{self._made}"
        self._made += 1
        self._tokens[token] = self._clock.monotonic()
        return encode_answer(
            code=HANDLED, desc="", operation_id=_ANOTHER, result=TokenData(token), eshop_id=None, with_eshop_id=False, as_json=True
        )

    def _carry_out(self, message: Message, twist: Twist) -> _Operation | None:
        match message:
            case CreateCard() | CreateOperation():
                if message.pan != self.destination.number:
                    return None
                self._made += 1
                operation = _Operation(f"00000000-0000-4000-8000-{self._made:012d}", _money(message.amount, message.currency))
                self._operations[operation.guid] = operation
                return operation
            case Execute(payout_operation_id=guid):
                known = self._operations.get(guid)
                if known is not None and known.state in _ALIVE:
                    known.state = _EXECUTED.get(twist, PayoutStateName.COMPLETED)
                    self._write(known)
                return known
            case GetState(payout_operation_id=guid):
                return self._operations.get(guid)
            case _:
                return None

    def _write(self, operation: _Operation) -> None:
        match operation.state:
            case PayoutStateName.COMPLETED:
                self.book.paid.append(operation.amount)
            case PayoutStateName.FAILED:
                self.book.refused = True
            case PayoutStateName.IN_PROCESS:
                self.book.taken = True
            case _:
                pass


def _told(operation: _Operation, generation: Generation, method: Method, twist: Twist) -> WireAnswer:
    if twist is Twist.INTERNAL:
        return _refused("INTERNAL_ERROR", "an internal fault")
    guid = _ANOTHER if twist is Twist.OTHER_ID else operation.guid
    data = PayoutOperationData(guid, state_word(operation.state, generation, method))
    whole = encode_answer(
        code=HANDLED, desc="", operation_id=_ANOTHER, result=data, eshop_id=None, with_eshop_id=False, as_json=True
    )
    envelope = json.loads(whole.body)
    if twist is Twist.UNLISTED_CODE:
        envelope["OperationState"]["Code"] = 7
    if twist is Twist.UNLISTED_STATE:
        envelope["Result"]["PayoutOperationState"] = "Frozen"
    if twist is Twist.HALF:
        del envelope["Result"]["PayoutOperationState"]
    return WireAnswer(200, whole.content_type, json.dumps(envelope).encode())


def _money(amount: str, currency: str) -> Money:
    try:
        return read_amount(amount, currency)
    except BadAmount:
        return Money(0, "RUB")


def _refused(word: str, text: str) -> WireAnswer:
    return encode_answer(
        code=NOT_HANDLED, desc=refusal_desc(word, text), operation_id=_ANOTHER, result=None, eshop_id=None, with_eshop_id=False,
        as_json=True,
    )  # fmt: skip


def simulate(table: Mapping[str, Any], clock: Clock) -> IntellectMoneySimulator:
    """The provider of a connector with this table."""
    return IntellectMoneySimulator(clock, str(table.get("generation", "new")))
