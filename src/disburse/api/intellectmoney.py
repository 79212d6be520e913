"""The IntellectMoney-compatible door: bytes in, who is calling, one operation, bytes out.

Lives here: the path of a call through the house and the envelope it is answered in. Reading and writing bytes is the codec's
(`protocols/intellectmoney*.py`), proofs of identity are in `intellectmoney_access.py`, what may be ordered in
`intellectmoney_orders.py`, the words in `intellectmoney_words.py`.

A payout is made by one call and sent by another, so nothing is held, queued or at risk before execute; a create whose answer was
lost may be repeated freely. Execute is safe to repeat with the same id: whatever was executed comes back as it stands. It
answers at once, as the documented example does, and the client polls.

Whatever happens is answered in the envelope with HTTP 200 (405 for a verb other than POST), since the provider's own client
library does not read the body of anything else (intellectmoney.md section 2).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

import structlog

from disburse.api.intellectmoney_access import caller_of, check_payouts, check_proofs
from disburse.api.intellectmoney_orders import Order, actor_of, draft_order
from disburse.api.intellectmoney_words import ATTEMPTS_TELL, NotHandled, refused, state_name, undone
from disburse.api.kernel import Why
from disburse.domain.merchant import Merchant
from disburse.domain.payout import PayoutState
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.group_commit import GroupCommit, Withdrawn
from disburse.operations.payouts import Act
from disburse.operations.standing import Standing, stand
from disburse.protocols.intellectmoney import (
    Call,
    Generation,
    Method,
    UnknownMethod,
    WrongVerb,
    decode_call,
    find_method,
    wants_json,
)
from disburse.protocols.intellectmoney_answers import (
    HANDLED,
    NOT_HANDLED,
    PayoutOperationData,
    TokenData,
    encode_answer,
    refusal_desc,
    state_word,
)
from disburse.protocols.intellectmoney_messages import (
    CreateCard,
    CreateOperation,
    CreateWallet,
    Execute,
    GetState,
    GetUserToken,
    read_message,
)
from disburse.protocols.wire import Malformed, WireAnswer, WireRequest

_log = structlog.get_logger("disburse.api.intellectmoney")

BEGIN_WITHIN_S = 4.0
"""A command whose transaction has not begun by then is not begun any more."""

ANSWER_WITHIN_S = 7.0
"""Every call is answered by then, done or not."""

_EXECUTABLE = frozenset({PayoutState.CREATED, PayoutState.UNFUNDED})


@dataclass(slots=True)
class _Reply:
    """What is known so far about how to answer a call; enough to answer at any moment."""

    method: Method | None
    generation: Generation | None
    as_json: bool
    eshop_id: int | None = None

    @classmethod
    def to(cls, request: WireRequest) -> _Reply:
        found = find_method(request.path)
        method, generation = found if found is not None else (None, None)
        return cls(method, generation, wants_json(request))

    def suit(self, merchant: Merchant, request: WireRequest) -> None:
        """The account's own wishes: its shop's number, and JSON on the payout paths unless the request asks for XML."""
        self.eshop_id = merchant.eshop_id
        asks_for_xml = "xml" in request.headers.get("accept", "").lower()
        if merchant.json_by_default and not asks_for_xml and self.method is not Method.GET_USER_TOKEN:
            self.as_json = True


class IntellectMoneyDoor:
    """Serves every path under /personal/. `banks`: the SBP members that a payout may name."""

    def __init__(
        self,
        desk: Desk,
        *,
        world: World,
        banks: Collection[str],
        begin_within_s: float = BEGIN_WITHIN_S,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._desk = desk
        self._world = world
        self._banks = banks
        self._begin_within_s = begin_within_s
        self._answer_within_s = answer_within_s
        self._stand = GroupCommit[Act, Standing | Refusal](desk.database, stand, world.clock)

    async def answer(self, request: WireRequest) -> WireAnswer:
        """Carry out one call and answer it. What it raises is a mistake of ours: answer that by `refuse`."""
        reply = _Reply.to(request)
        try:
            async with self._world.clock.timeout(self._answer_within_s):
                result = await self._handle(request, reply)
        except WrongVerb:
            no = NotHandled("WRONG_VERB", "Methods of this API are called by POST.")
            return replace(self._say_no(reply, no), status=405)
        except UnknownMethod:
            return self._say_no(reply, NotHandled("UNKNOWN_METHOD", "This API has no such method."))
        except Malformed as malformed:
            return self._say_no(reply, NotHandled("BAD_REQUEST", str(malformed)))
        except Refusal as refusal:
            return self._say_no(reply, refused(refusal))
        except (Withdrawn, StoreUnavailable, TimeoutError):
            return self._say_no(reply, undone("late", reply.method))
        return self._envelope(reply, HANDLED, "", result)

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """Answer a request that could not be given to its method, or not to its end."""
        reply = _Reply.to(request)
        return self._say_no(reply, undone(why, reply.method))

    async def _handle(self, request: WireRequest, reply: _Reply) -> PayoutOperationData | TokenData:
        begin_by = self._world.clock.monotonic() + self._begin_within_s
        call = decode_call(request)
        merchant = await caller_of(self._desk, call)
        reply.suit(merchant, request)
        check_proofs(self._desk, merchant, call)
        message = read_message(call)
        match message:
            case GetUserToken():
                return TokenData(await self._desk.recognition.issue_token(merchant))
            case CreateCard() | CreateWallet() | CreateOperation():
                standing = await self._create(merchant, message, reply, begin_by)
            case Execute(payout_operation_id=guid):
                standing = await self._execute(merchant, UUID(guid), begin_by)
            case GetState(payout_operation_id=guid):
                standing = await self._look(merchant, UUID(guid), begin_by)
            case _:
                assert_never(message)
        return _operation(standing, call, merchant)

    async def _create(self, merchant: Merchant, order: Order, reply: _Reply, begin_by: float) -> Standing:
        if isinstance(order, CreateCard) and order.documented_slip:
            _log.info("card_on_the_wallets_path", merchant=merchant.merchant_id)
        if isinstance(order, CreateOperation) and order.eshop_id is not None:
            reply.eshop_id = order.eshop_id
        command = draft_order(self._desk, self._banks, merchant, order)
        made = await self._desk.create(merchant, command, deadline=begin_by)
        if isinstance(made, Refusal):
            raise made
        return Standing(made.payout)

    async def _execute(self, merchant: Merchant, payout_id: UUID, begin_by: float) -> Standing:
        """Send a payout, once. A later call finds it as it stands, also when payouts were switched off in between."""
        if merchant.payouts != "on":
            standing = await self._look(merchant, payout_id, begin_by)
            if standing.payout.state in _EXECUTABLE:
                check_payouts(merchant)
            return standing
        act = self._desk.act(merchant, payout_id, actor_of(merchant))
        payout = await self._desk.execute(merchant, act, deadline=begin_by)
        if isinstance(payout, Refusal):
            raise payout
        if payout.state in ATTEMPTS_TELL:
            return await self._look(merchant, payout_id, begin_by)
        return Standing(payout)

    async def _look(self, merchant: Merchant, payout_id: UUID, begin_by: float) -> Standing:
        act = self._desk.act(merchant, payout_id, actor_of(merchant))
        standing = await self._stand.submit(merchant.shard, act, deadline=begin_by)
        if isinstance(standing, Refusal):
            raise standing
        return standing

    def _say_no(self, reply: _Reply, no: NotHandled) -> WireAnswer:
        return self._envelope(reply, NOT_HANDLED, refusal_desc(no.word, str(no)), None)

    def _envelope(
        self, reply: _Reply, code: int, desc: str, result: PayoutOperationData | TokenData | None
    ) -> WireAnswer:
        return encode_answer(
            code=code,
            desc=desc,
            operation_id=str(UUID(bytes=self._world.random.bytes(16), version=4)),
            result=result,
            eshop_id=reply.eshop_id,
            with_eshop_id=reply.generation is Generation.NEW,
            as_json=reply.as_json,
        )


def _operation(standing: Standing, call: Call, merchant: Merchant) -> PayoutOperationData:
    word = state_word(state_name(standing), call.generation, call.method, merchant.state_word)
    return PayoutOperationData(str(standing.payout.payout_id), word)
