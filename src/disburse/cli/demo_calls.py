"""The demo's merchants: programs that speak UnitPay and IntellectMoney over real HTTP, through our own codecs' client side.

They behave as good clients do: a call without an answer is repeated with the same transactionId; an operation whose create was
lost is made anew; execute is asked about. Nothing here looks into the database.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from disburse.connectors.transport import HttpTransport
from disburse.protocols.intellectmoney import Generation
from disburse.protocols.intellectmoney_answers import Answer, PayoutStateName
from disburse.protocols.intellectmoney_answers import decode_answer as decode_intellectmoney
from disburse.protocols.intellectmoney_client import encode_call
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    Execute,
    GetState,
    GetUserToken,
    Message,
    PreferenceType,
)
from disburse.protocols.unitpay import Credentials, MassPayment, MassPaymentStatus, encode_question
from disburse.protocols.unitpay_upstream import ErrorAnswer, ResultAnswer, decode_answer
from disburse.protocols.wire import WireAnswer, WireRequest

MOMENT_S = 0.05
PATIENCE_S = 45.0


class Unanswered(Exception):
    """The server gave no usable answer for too long."""


@dataclass(frozen=True, slots=True)
class Wage:
    """One payment to make: rail, to whom, how much (text, roubles), and its reference."""

    rail: str
    number: str = field(repr=False)
    amount: str
    reference: str
    bank: str | None = None


class Caller:
    """HTTP to one server."""

    def __init__(self, transport: HttpTransport, base_url: str) -> None:
        self._transport = transport
        self._base_url = base_url

    async def call(self, request: WireRequest) -> WireAnswer:
        """One answer, repeating until there is one. Raises Unanswered. Only for what is harmless to repeat."""
        url = f"{self._base_url}{request.path}" + (f"?{request.query.decode('ascii')}" if request.query else "")
        for _ in range(int(PATIENCE_S / MOMENT_S)):
            answer = await self._transport.send(
                request.method, url, deadline_s=10, headers=request.headers, body=request.body or None
            )
            if isinstance(answer, WireAnswer) and answer.status == 200:
                return answer
            await asyncio.sleep(MOMENT_S)
        raise Unanswered("no answer")


    async def ready(self) -> None:
        """Wait until a worker has been seen. Raises Unanswered."""
        await self.call(WireRequest("GET", "/readyz", b"", {}, b""))


class UnitPayMerchant:
    """A merchant's UnitPay program."""

    def __init__(self, caller: Caller, login: str, secret_key: str) -> None:
        self._caller = caller
        self._credentials = Credentials(login, secret_key)

    async def pay(self, wage: Wage, *, nested: bool = True) -> str:
        """Ask for a wage until it is acknowledged; returns the status. Raises Unanswered, AssertionError for a refusal."""
        question = MassPayment(
            self._credentials, wage.reference, wage.amount, wage.number, wage.rail, member_id=wage.bank
        )
        for _ in range(int(PATIENCE_S / MOMENT_S)):
            answer = await self._caller.call(encode_question(question, nested=nested))
            decoded = decode_answer(answer.body, answer.status)
            if isinstance(decoded, ResultAnswer):
                return str(decoded.fields["status"])
            if not isinstance(decoded, ErrorAnswer) or decoded.code != -32603:
                raise AssertionError(f"{wage.reference} was refused: {decoded}")
            await asyncio.sleep(MOMENT_S)
        raise Unanswered(wage.reference)

    async def status(self, reference: str) -> str:
        answer = await self._caller.call(encode_question(MassPaymentStatus(self._credentials, reference)))
        decoded = decode_answer(answer.body, answer.status)
        if not isinstance(decoded, ResultAnswer):
            raise AssertionError(f"{reference} is not known: {decoded}")
        return str(decoded.fields["status"])


class IntellectMoneyMerchant:
    """A merchant's IntellectMoney program: token, create, execute, ask."""

    def __init__(self, caller: Caller, login: str, password: str) -> None:
        self._caller = caller
        self._login = login
        self._password = password
        self._token = ""

    async def log_in(self) -> None:
        answer = await self._ask(GetUserToken(self._login, self._password))
        if answer.user_token is None:
            raise AssertionError(f"no token: {answer.desc}")
        self._token = answer.user_token

    async def create(self, wage: Wage) -> str:
        """Make an operation; returns its id. A lost answer leaves an orphan that is never executed, so repeating is harmless."""
        answer = await self._ask(self._creation(wage), Generation.NEW if wage.rail == "sbp" else Generation.OLD)
        if answer.payout_operation_id is None:
            raise AssertionError(f"{wage.reference} was refused: {answer.desc}")
        return answer.payout_operation_id

    async def execute(self, operation: str) -> str:
        """Execute an operation and say its state; the second time changes nothing, so repeating is harmless here."""
        return (await self._ask(Execute(self._token, operation.upper()))).state_text

    async def state(self, operation: str) -> PayoutStateName | None:
        return (await self._ask(GetState(self._token, operation.upper()))).state

    def _creation(self, wage: Wage) -> Message:
        match wage.rail:
            case "card":
                return CreateCard(self._token, wage.number, wage.amount, "RUB")
            case "qiwi":
                return CreateWallet(self._token, wage.number, wage.amount, "RUB")
            case "sbp":
                kind = PreferenceType.OUT_SBP
                return CreateOperation(self._token, kind, wage.amount, "RUB", account=wage.number, bank_id=wage.bank)
            case _:
                raise AssertionError(f"no method for {wage.rail}")

    async def _ask(self, message: Message, generation: Generation = Generation.OLD) -> Answer:
        for _ in range(int(PATIENCE_S / MOMENT_S)):
            answer = await self._caller.call(encode_call(message, generation))
            decoded = decode_intellectmoney(answer.body, answer.status)
            if not isinstance(decoded, Answer):
                raise AssertionError(f"an answer that cannot be read: {decoded}")
            if decoded.succeeded or "[TRY_LATER]" not in decoded.desc:
                return decoded
            await asyncio.sleep(MOMENT_S)
        raise Unanswered(type(message).__name__)
