"""IntellectMoney as a provider, both generations: make an operation, have it remembered, execute it, ask for its state.

Lives here: `IntellectMoneyConnector`, which turns what the decision table says an answer means into outcomes. The table is
`intellectmoney_table.py`, tokens `intellectmoney_tokens.py`, checks before sending `intellectmoney_orders.py`, alerts
`intellectmoney_alerts.py`, settings `intellectmoney_settings.py`; requests and answers are bytes in `protocols/intellectmoney*.py`.

What can move money is the execute call alone (intellectmoney.md sections 6 and 8). So:

| until | whatever goes wrong is | because |
|---|---|---|
| the create call is sent | NotSent | a token moves nothing |
| the operation is remembered | what the answer says, else Unknown | what is not remembered is never executed: the engine proves it absent |
| the execute call is answered | Unknown | it may have been executed; the operation is asked about by its id |

An answer is believed only if it names our operation. It echoes neither amount nor destination, so those cannot be compared: what
binds them is that an operation's id was given to us for exactly them, and is stored before it is executed. An id that was given to
another order before is not remembered: the engine knows all of them, this connector none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from disburse.connectors.contract import Capabilities, Hear, Order, Question
from disburse.connectors.intellectmoney_alerts import Alerts, Tell, tell_the_log, telling
from disburse.connectors.intellectmoney_orders import create_of
from disburse.connectors.intellectmoney_settings import (
    BadIntellectMoneySettings,
    IntellectMoneySettings,
    Revealed,
    check,
    reveal,
)
from disburse.connectors.intellectmoney_simulator import simulate
from disburse.connectors.intellectmoney_table import Call, Decision, DecisionTable, Meaning, load_decisions
from disburse.connectors.intellectmoney_tokens import NoToken, Token, Tokens
from disburse.connectors.kind import Kind, Surroundings
from disburse.connectors.transport import HttpTransport
from disburse.domain.outcomes import Accepted, Finding, NotExecuted, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.domain.ports import Clock
from disburse.domain.refusals import Refusal
from disburse.protocols.intellectmoney_answers import NOT_HANDLED, Answer, Unreadable, decode_answer
from disburse.protocols.intellectmoney_client import Carrier, encode_call
from disburse.protocols.intellectmoney_messages import Execute, GetState, GetUserToken, Message, read_guid
from disburse.protocols.wire import Malformed, WireAnswer, WireRequest

TOKEN_WITHIN_S: Final = 5.0
_CARRIERS: Final = {"form": Carrier.FORM, "json": Carrier.JSON, None: None}


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer, and what the table says of it."""

    answer: Answer
    decision: Decision


@dataclass(frozen=True, slots=True)
class _Ready:
    """What was read when it was first needed."""

    secrets: Revealed
    table: DecisionTable


class _Limit:
    """What is left of a call's time."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._ends = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._ends - self._clock.monotonic())


class IntellectMoneyConnector:
    """One account at IntellectMoney. The transport is closed by whoever made it."""

    def __init__(
        self,
        settings: IntellectMoneySettings,
        transport: HttpTransport,
        clock: Clock,
        *,
        name: str = "intellectmoney",
        tell: Tell = tell_the_log,
    ) -> None:
        """Raises BadIntellectMoneySettings. Nothing is opened and no secret revealed: `start` does, or else the first call."""
        check(settings)
        self._name = name
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._transport = transport
        self._clock = clock
        self._alerts = Alerts(name, clock, tell)
        self._ready: _Ready | None = None
        self._tokens = Tokens(self._fetch_token, clock, settings.token_s)
        self._capabilities = Capabilities(
            rails=settings.able_rails(),
            currencies=frozenset(settings.currencies),
            status_by_our_id=False,
            two_step=True,
            execute_again_after_s=settings.execute_again_after_s,
            sandbox=settings.sandbox,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def start(self, hear: Hear) -> None:
        """Read the secrets, the decision table and the files that connections need. This provider never calls back.

        Raises BadIntellectMoneySettings, BadDecisions, and what reading a secret raises.
        """
        self._made_ready()
        self._transport.open()

    async def stop(self) -> None:
        """Nobody waits for a token any more."""
        await self._tokens.stop()

    async def read_callback(self, request: WireRequest, deadline_s: float) -> None:
        """Nothing: whoever calls back here is not this provider (section 11)."""

    async def balance(self, deadline_s: float) -> Unknown:
        """The payout API has no method for it (section 11)."""
        return Unknown("this provider does not tell its balance")

    async def banks(self, deadline_s: float) -> Unknown:
        """The payout API lists no banks (section 11)."""
        return Unknown("this provider does not list its banks")

    async def answers(self, deadline_s: float) -> Unknown | None:
        """Whether the provider takes our login: a token is asked for, which moves nothing. None: it does."""
        found = await self._tokens.get(deadline_s)
        return Unknown(found.why) if isinstance(found, NoToken) else None

    # --- the three calls ---

    async def submit(self, order: Order) -> Outcome:
        """Make an operation, have its id stored, execute it: once each."""
        create = create_of(self._settings, order)
        if isinstance(create, Rejected):
            return create
        limit = _Limit(self._clock, order.deadline_s)
        said = await self._say(Call.CREATE, create, limit)
        if not isinstance(said, _Said):
            return said
        reference, decision = said.answer.payout_operation_id, said.decision
        if decision.means is not Meaning.MADE and not (decision.means is Meaning.DOUBT and reference and said.answer.succeeded):
            return _of_create(decision)
        if reference is None:
            self._alert(Call.CREATE, "made without an id")
            return Unknown("create: no operation id in the answer")
        # Also when it was made in a state that the table does not know: then it may be more than made, and is asked about.
        if not await self._remembered(order, reference, limit):
            return Unknown("create: the operation could not be remembered, so it is not executed")
        if decision.means is not Meaning.MADE:
            return Unknown(f"create: {decision.why}")
        return await self._execute(reference, limit)

    async def execute_again(self, question: Question) -> Outcome:
        """Execute the operation of an earlier submit once more. Never NotSent: the request before may have arrived."""
        reference = _guid(question.provider_reference)
        if reference is None:
            return Unknown("execute: there is no operation id")
        return await self._execute(reference, _Limit(self._clock, question.deadline_s))

    async def inquire(self, question: Question) -> Finding:
        """Ask for the operation's state. Without its id nobody can be asked; what that proves is the engine's to say."""
        reference = _guid(question.provider_reference)
        if reference is None:
            return Unknown("ask: there is no operation id")
        limit = _Limit(self._clock, question.deadline_s)
        said = await self._say(Call.ASK, lambda token: GetState(token, reference), limit)
        if not isinstance(said, _Said):
            return Unknown(said.why)
        finding = self._about(Call.ASK, reference, said)
        return finding if finding is not None else Unknown(f"ask: {said.decision.why}")

    async def _execute(self, reference: str, limit: _Limit) -> Outcome:
        said = await self._say(Call.EXECUTE, lambda token: Execute(token, reference), limit)
        if not isinstance(said, _Said):
            return Unknown(said.why)
        outcome = self._about(Call.EXECUTE, reference, said)
        return outcome if isinstance(outcome, Accepted | Settled | Rejected) else Unknown(f"execute: {said.decision.why}")

    def _about(self, call: Call, reference: str, said: _Said) -> Accepted | Settled | Rejected | NotExecuted | None:
        """What an answer says of our operation; None when it says nothing, or speaks of another."""
        decision = said.decision
        if not said.answer.succeeded:
            return None
        if said.answer.payout_operation_id != reference:
            self._alert(call, "an answer about another operation")
            return None
        match decision.means:
            case Meaning.ACCEPTED:
                return Accepted(reference)
            case Meaning.SETTLED:
                return Settled(reference)
            case Meaning.REJECTED:
                return Rejected(decision.reason, provider_reference=reference)
            case Meaning.NOT_EXECUTED:
                return NotExecuted(decision.why)
            case _:
                return None

    async def _remembered(self, order: Order, reference: str, limit: _Limit) -> bool:
        try:
            async with self._clock.timeout(limit.left):
                return await order.remember(reference)
        except TimeoutError:
            return False

    # --- one call ---

    async def _say(self, call: Call, message: Callable[[str], Message], limit: _Limit) -> _Said | NotSent | Unknown:
        """Put one call, with a token. A token that is not taken is renewed and the call put once more, where that is harmless.

        That is where the table says that the first did nothing; and for a create and a question, whose repeats are harmless, also
        where a refusal's reason is not known and the token is not fresh. An execute call is repeated in the first case alone.
        """
        held = await self._tokens.get(limit.left)
        if isinstance(held, NoToken):
            return NotSent(f"{call}: {held.why}")
        said = await self._put(call, message(held.value), limit)
        if isinstance(said, _Said) and self._blames_the_token(call, said.decision, held):
            fresh = await self._tokens.renew(held, limit.left)
            if isinstance(fresh, Token):
                said = await self._put(call, message(fresh.value), limit)
        if isinstance(said, _Said) and said.decision.alert:
            self._alert(call, said.decision.why)
        return said

    def _blames_the_token(self, call: Call, decision: Decision, held: Token) -> bool:
        if decision.means is Meaning.TOKEN:
            return True
        return decision.means is Meaning.REFUSED and call is not Call.EXECUTE and self._tokens.may_be_stale(held)

    async def _put(self, call: Call, message: Message, limit: _Limit) -> _Said | NotSent | Unknown:
        answer = await self._send(message, limit.left)
        if isinstance(answer, Unreadable):
            return Unknown(f"{call}: {answer.why}")
        if isinstance(answer, NotSent):
            return NotSent(f"{call}: {answer.why}")
        if isinstance(answer, Unknown):
            return Unknown(f"{call}: {answer.why}")
        return _Said(answer, self._made_ready().table.decide(call, answer))

    async def _send(self, message: Message, within_s: float) -> Answer | Unreadable | NotSent | Unknown:
        carrier = _CARRIERS[self._settings.carrier] if not isinstance(message, GetUserToken) else None
        request = encode_call(
            message, self._settings.family, access=self._made_ready().secrets.access, carrier=carrier,
            qivi_spelling=self._settings.qivi_spelling,
        )  # fmt: skip
        answer = await self._transport.send(
            request.method, self._base + request.path, headers=request.headers, body=request.body, deadline_s=within_s
        )
        return decode_answer(answer.body, answer.status) if isinstance(answer, WireAnswer) else answer

    async def _fetch_token(self) -> str | NoToken:
        try:
            secrets = self._made_ready().secrets
        except (Refusal, OSError):  # every call needs a token first, so without our secrets nothing goes out
            return NoToken("no token, since our secrets or the decision table cannot be read")
        answer = await self._send(GetUserToken(secrets.login, secrets.password), TOKEN_WITHIN_S)
        if not isinstance(answer, Answer):
            return NoToken(f"no token, {answer.why}")
        if answer.succeeded and answer.user_token is not None:
            return answer.user_token
        refused = NOT_HANDLED in (answer.code, answer.state_code)
        self._alert("token", "our login is refused" if refused else "an answer without a token")
        return NoToken("no token, our login is refused" if refused else "no token in the answer", refused=refused)

    def _alert(self, call: str, why: str) -> None:
        """A person should know: nothing of the answer is told but the table's words, and a state's if it is plainly a word."""
        self._alerts.raised(str(call), why, self._made_ready().table.version)

    def _made_ready(self) -> _Ready:
        """The secrets and the table, read once. Raises what `start` raises."""
        if self._ready is None:
            decisions = self._settings.decisions
            table = load_decisions(Path(decisions) if decisions is not None else None)
            self._ready = _Ready(reveal(self._settings), table)
        return self._ready


def _of_create(decision: Decision) -> Outcome:
    match decision.means:
        case Meaning.TOKEN | Meaning.CHANNEL | Meaning.LATER:
            return NotSent(f"create: {decision.why}")
        case Meaning.REJECTED:
            return Rejected(decision.reason)
        case Meaning.ELSEWHERE:
            return Rejected(decision.reason, elsewhere=True)
        case Meaning.REFUSED:
            return Rejected("refused_by_provider")
        case _:
            return Unknown(f"create: {decision.why}")


def _guid(reference: str | None) -> str | None:
    try:
        return None if reference is None else read_guid(reference)
    except Malformed:
        return None


def make(name: str, settings: IntellectMoneySettings, around: Surroundings) -> IntellectMoneyConnector:
    """A connector of these settings. Raises ValueError, with all that is wrong, for those that cannot be right."""
    try:
        check(settings)
    except BadIntellectMoneySettings as wrong:
        raise ValueError("; ".join(wrong.faults)) from None
    return IntellectMoneyConnector(
        settings, around.transport(settings.http), around.clock, name=name, tell=telling(around.alert)
    )


KIND: Final = Kind(IntellectMoneySettings, make, simulator=simulate)
