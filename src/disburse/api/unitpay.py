"""The UnitPay door: a call comes in as bytes, an answer goes out as bytes, always on HTTP 200 (unitpay.md section 1).

Lives here: the order in which a call is judged. It keeps the idempotency rules of section 3: first who asks, then, for a
transactionId that is known, the stored payout's state and nothing else; what else is wrong with a call (parameters, payouts
switched off, limits, route, balance) is told only about an id that no payout has. A new id pays for no look-up of its own:
`Desk.create` finds a known one under the lock, before it asks for money. Beside this file:

* `unitpay_order.py`: the payee and the sum of a call, and the code that refuses them;
* `unitpay_words.py`: states, reasons and error envelopes in the client's words;
* `unitpay_facts.py`: everything that is only asked.

May not live here: SQL, HTTP, sockets. No card, phone or key leaves this room but sealed or masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog

from disburse.api.kernel import Why
from disburse.api.lateness import Within
from disburse.api.unitpay_facts import Facts
from disburse.api.unitpay_order import read_order, read_rail, read_sum
from disburse.api.unitpay_words import CURRENCY, NO_FEE, Refused, encode_state, language_of
from disburse.data import BinRow, SbpMember
from disburse.domain.identifiers import unitpay_number
from disburse.domain.limits import LimitReached, Period
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.group_commit import Withdrawn
from disburse.operations.payouts import CreatePayout, Found, InsufficientFunds
from disburse.protocols.unitpay import (
    Call,
    Code,
    Language,
    PayoutAnswer,
    Status,
    answer,
    decode_call,
    encode_error,
    encode_payout,
    read_credentials,
    read_get_bin_info,
    read_mass_payment,
    read_mass_payment_available_amount,
    read_mass_payment_status,
    read_transaction_id,
    status_text,
    test_mode_question,
    test_mode_status,
)
from disburse.protocols.wire import Malformed, WireAnswer, WireRequest

SURFACE: Final = "unitpay"
ANSWER_WITHIN_S: Final = 8.0
MINIMUM_MINOR: Final = 100
"""A sum must be above this, in minor units, where the settings name no other for its rail (code 102)."""

_CALLERS_FAULT: Final = frozenset(("too_large", "too_slow", "bad_encoding"))
_WITH_TEST_MODE: Final = frozenset(("massPayment", "massPaymentStatus"))
_NO_ID: Final = UUID(int=0)  # a base with a reference does not depend on the payout's id

# The part of the time an answer may take after which no transaction is begun any more, and no payout's end waited for.
_BEGIN: Final = 0.875

_SDK: Final = re.compile(r"unitpay-[a-z]{2,10}-sdk/[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}")
_MOST_CLIENTS: Final = 1000

_log = structlog.get_logger("disburse.unitpay")


class UnitPayDoor:
    """Answers UnitPay calls. One per process.

    `members` are the banks that are listed, `accepted_members` those a payout may name. `minimums`: minor units by rail that a
    sum must be above. Every answer is there within `answer_within_s`, -32603 when nothing better is known by then.
    """

    bounds_itself = True

    def __init__(
        self,
        desk: Desk,
        *,
        world: World,
        members: Sequence[SbpMember],
        accepted_members: frozenset[str],
        bins: Mapping[str, BinRow],
        minimums: Mapping[str, int],
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._desk = desk
        self._clock = world.clock
        self._accepted_members = accepted_members
        self._minimums = dict(minimums)
        self._begin_within_s = answer_within_s * _BEGIN
        self._in_time = Within(world.clock, answer_within_s)
        self._facts = Facts(desk, members, bins)
        self._clients: set[tuple[int, str]] = set()

    async def answer(self, request: WireRequest) -> WireAnswer:
        """The answer to a call. Raises only what is our own mistake."""
        language: Language = "ru"
        begin_by = self._clock.monotonic() + self._begin_within_s
        try:
            call = decode_call(request)
            with self._in_time():
                test = call.method in _WITH_TEST_MODE and call.params.get("test") == "1"
                merchant = await self._recognise(call, test)
                language = language_of(merchant)
                self._note_client(merchant, request)
                body = await (self._test_mode if test else self._serve)(merchant, call, begin_by)
        except Malformed as bad:
            body = _envelope(Refused(Code.BAD_PARAMETERS, bad.name), language)
        except Refused as refused:
            body = _envelope(refused, language)
        except (TimeoutError, StoreUnavailable, Withdrawn):
            # Whether the payout exists is not known: the client is told to ask, never that it failed.
            body = _envelope(Refused(Code.INTERNAL), language)
        return answer(body)

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """The answer to a call that the door did not get, or did not answer: our error envelope in Russian."""
        return answer(_envelope(Refused(Code.BAD_PARAMETERS if why in _CALLERS_FAULT else Code.INTERNAL), "ru"))

    async def _recognise(self, call: Call, test: bool) -> Merchant:
        """Who asks: by login and key, in test mode by the test key. Both faults look the same. Raises Refused, Malformed."""
        who = read_credentials(call)
        merchant = await self._desk.recognition.by_credentials(
            who.login, who.secret_key, lambda found: found.unitpay_test_key_digest if test else found.unitpay_key_digest
        )
        if merchant is None:
            raise Refused(Code.UNAUTHORIZED)
        return merchant

    async def _serve(self, merchant: Merchant, call: Call, begin_by: float) -> bytes:
        match call.method:
            case "massPayment":
                return await self._mass_payment(merchant, call, begin_by)
            case "massPaymentStatus":
                reference = read_mass_payment_status(call).transaction_id
                return _state(await self._known(merchant, reference, begin_by), merchant)
            case "getSbpBankList":
                return self._facts.banks()
            case "getBinInfo":
                return self._facts.bin_info(read_get_bin_info(call).bin)
            case "massPaymentAvailableAmount":
                return await self._facts.available_amount(merchant, read_mass_payment_available_amount(call))
            case "massPaymentCommissions":
                return self._facts.commissions(merchant)
            case "getPartner":
                return await self._facts.partner(merchant)
            case _:
                raise Malformed("is not known", "method")

    # --- massPayment ---

    async def _mass_payment(self, merchant: Merchant, call: Call, begin_by: float) -> bytes:
        reference = read_transaction_id(call)
        try:
            draft = self._draft(merchant, call, reference)
        except (Refused, Malformed) as refused:
            return _state(await self._known(merchant, reference, begin_by, instead=refused), merchant)
        not_now = self._not_now(merchant, draft)
        if not_now is not None:
            known = await self._known(merchant, reference, begin_by, instead=not_now)
            if known.payout.fingerprint == draft.fingerprint:
                return _state(known, merchant)
            # A payout exists for good, so this can only find it; and it tells in an event that the content differs.
            return _state(_found(await self._desk.create(merchant, draft, deadline=begin_by)), merchant)
        wait_s = merchant.answer_wait_ms / 1000
        made = await self._desk.create_and_wait(merchant, draft, deadline=begin_by, wait_s=wait_s, until=begin_by)
        return _state(_found(made), merchant)

    def _draft(self, merchant: Merchant, call: Call, reference: str) -> CreatePayout:
        """The payout that the call asks for. Raises Refused, Malformed."""
        message = read_mass_payment(call)
        order = read_order(
            message,
            default_bank=merchant.sbp_bank,
            accepted_members=self._accepted_members,
            qiwi_routed=message.payment_type == "qiwi" and self._desk.has_route("qiwi", CURRENCY),
        )
        return self._desk.draft(
            merchant,
            order.destination,
            order.amount,
            surface=SURFACE,
            reference=reference,
            amount_text=message.sum,
            execute=True,
            actor=f"merchant:{merchant.merchant_id}/{SURFACE}",
            comment=message.comment,
        )

    def _not_now(self, merchant: Merchant, draft: CreatePayout) -> Refused | None:
        """Why a well-formed payout may not be made, if it may not. Money is asked for under the lock."""
        desk = self._desk
        if merchant.payouts == "denied":
            return Refused(Code.ACCOUNT_NOT_ALLOWED)
        if merchant.payouts != "on" or not desk.routes:
            return Refused(Code.PAYOUTS_OFF)
        if not desk.has_route(draft.rail, CURRENCY):
            return Refused(Code.NO_ROUTE)
        if draft.amount.minor <= self._minimums.get(draft.rail, MINIMUM_MINOR):
            return Refused(Code.SUM_NOT_ABOVE_MINIMUM)
        if draft.amount.minor + draft.fee.minor > MAX_MINOR:
            return Refused(Code.SUM_ABOVE_BALANCE)  # no balance is ever that large
        return None

    async def _known(
        self, merchant: Merchant, reference: str, begin_by: float, *, instead: Refused | Malformed | None = None
    ) -> Found:
        """The payout of this transactionId. Where there is none, raises `instead`, by default -32602 naming it."""
        base = self._desk.base(merchant, SURFACE, reference, _NO_ID)
        creating = self._desk.is_creating(base)  # asked before the look: what ends in between is seen by the look
        found = await self._desk.look(merchant, base, deadline=begin_by)
        if isinstance(found, Found):
            return found
        if creating:
            raise Refused(Code.INTERNAL)  # "not known" might be wrong a moment later
        found = await self._desk.look_again(merchant, base, deadline=begin_by)  # another process may be committing it
        if isinstance(found, Found):
            return found
        raise instead if instead is not None else Refused(Code.BAD_PARAMETERS, "transactionId")

    # --- test mode ---

    async def _test_mode(self, merchant: Merchant, call: Call, begin_by: float) -> bytes:
        """Answers by the id alone, and stores nothing (unitpay.md section 10). Raises Refused, Malformed."""
        if call.method == "massPaymentStatus":
            reference, amount = read_mass_payment_status(call).transaction_id, NO_FEE
            status = test_mode_question(reference)
            if status is None:
                raise Refused(Code.BAD_PARAMETERS, "transactionId")
        else:
            message = read_mass_payment(call)
            read_rail(message.payment_type)
            read_sum(message.sum)
            reference, amount = message.transaction_id, message.sum
            status = test_mode_status(reference)
        now = self._clock.now()
        shown = PayoutAnswer(
            message=status_text(status, language_of(merchant)),
            status=status,
            payout_id=unitpay_number(0, merchant.merchant_id),  # no payout has it: the merchant's counter begins at 1
            partner_balance=await self._facts.available(merchant),
            create_date=now,
            complete_date=None if status is Status.NOT_COMPLETED else now,
            sum=amount,
            payout_commission=NO_FEE,
            partner_commission=NO_FEE,
            transaction_id=reference,
        )
        return encode_payout(shown, payout_id_as_number=merchant.payout_id_as_number)

    def _note_client(self, merchant: Merchant, request: WireRequest) -> None:
        """Log which release of the provider's SDK a merchant uses, once a process (unitpay.md section 1)."""
        agent = request.headers.get("user-agent", "")
        if not agent.startswith("unitpay-"):
            return
        release = _SDK.match(agent)
        seen = (merchant.merchant_id, release[0] if release else "")
        if release is not None and seen not in self._clients and len(self._clients) < _MOST_CLIENTS:
            self._clients.add(seen)
            _log.info("unitpay_client", merchant=merchant.merchant_id, version=release[0])


def _envelope(refused: Refused, language: Language) -> bytes:
    return encode_error(refused.code, refused.text(language))


def _state(found: Found, merchant: Merchant) -> bytes:
    return encode_state(found.payout, found.available_minor, merchant)


def _found(result: Found | Refusal) -> Found:
    """What a create command came to. Raises Refused: 103 for too little money, and for a limit that leaves room another day; 122 where
    no single payout may be so large; -32603 for what a recognised merchant cannot meet.
    """
    if isinstance(result, Found):
        return result
    if isinstance(result, LimitReached):
        raise Refused(Code.NO_ROUTE if result.limit.period is Period.PAYOUT else Code.SUM_ABOVE_BALANCE)
    raise Refused(Code.SUM_ABOVE_BALANCE if isinstance(result, InsufficientFunds) else Code.INTERNAL)
