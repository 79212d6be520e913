"""The REST door: `/v1`. A request comes in as bytes, an answer or a problem goes out.

Lives here: the order in which a request is judged. Who asks comes first; then the shape of what is asked (400 leaves nothing
behind); then, under the merchant's lock, the key, the reference, and only after both whatever speaks against a new payout
(`operations/keyed.py`). What is not known and what is somebody else's look the same. Beside this file:

* `rest_orders.py`: the payee and the amount of a request;
* `rest_payees.py`, `rest_events.py`, `rest_webhooks.py`, `rest_api_keys.py`: what stands beside payouts;
* `rest_words.py`: what a merchant may see, and refusals as problems.

May not live here: SQL, HTTP, sockets. No card, phone or key leaves this room but sealed, digested or masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from disburse.api import rest_words as words
from disburse.api.allowance import Allowances, Standing
from disburse.api.kernel import Why
from disburse.api.lateness import Within
from disburse.api.places import STREAM_S, Places
from disburse.api.rest_api_keys import ApiKeyDesk
from disburse.api.rest_events import EventDesk
from disburse.api.rest_orders import (
    DETAILS,
    actor_of,
    check_reference,
    draft_order,
    is_within_a_year,
    name_of,
    own_id,
    read_money,
)
from disburse.api.rest_payees import PayeeDesk
from disburse.api.rest_webhooks import WebhookDesk
from disburse.api.rest_words import (
    UNREMEMBERED,
    BelowMinimum,
    PayoutsDenied,
    PayoutsOff,
    TimeOutOfReach,
    UnknownBank,
    refused,
)
from disburse.data import SbpMember
from disburse.domain.destinations import Destination, Rail
from disburse.domain.fees import fee
from disburse.domain.merchant import Merchant
from disburse.domain.money import MAX_MINOR
from disburse.domain.payout import Payout
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.domain.routing import NoRoute
from disburse.operations import listing
from disburse.operations.balances import balances_as_of, balances_of
from disburse.operations.desk import Desk, StoreUnavailable
from disburse.operations.explain import read_story
from disburse.operations.group_commit import Withdrawn
from disburse.operations.headroom import read_headroom
from disburse.operations.keyed import ActOnce, CreateOnce
from disburse.operations.payees import DestinationRetired
from disburse.operations.payouts import CreatePayout
from disburse.operations.recognise import Caller
from disburse.protocols import rest_messages as m
from disburse.protocols.rest import encode, faulty, read_bearer, read_body, read_cursor, read_key, read_query
from disburse.protocols.rest_problems import Refused, bad, encode_problem
from disburse.protocols.rest_routes import Name, Route, WrongMethod, find_route
from disburse.protocols.wire import WireAnswer, WireRequest

ANSWER_WITHIN_S: Final = 8.0
_BEGIN: Final = 0.75
"""The part of the time an answer may take after which no transaction is begun any more."""

PROBLEMS: Final[dict[Why, str]] = {
    "too_large": "too_large", "too_slow": "too_slow", "bad_encoding": "unsupported_media_type", "overloaded": "not_begun",
    "late": "outcome_unknown", "broken": "internal_error",
}  # fmt: skip
_YEARS: Final = range(2000, 3000)
"""Times outside of these bound nothing: no payout is older, and none will be younger."""


class RestDoor:
    """Answers everything below `/v1/`. One per process.

    `members`: the banks that are listed, `accepted` those a payout may name. `minimums`: minor units by rail that an amount
    in roubles must be above. `longest_wait_s`: nobody waits longer for events. `to_loopback`: webhook endpoints on this machine are
    taken. `per_s` and `burst`: what each API key may send (`allowance.py`).
    """

    bounds_itself = True

    def __init__(
        self,
        desk: Desk,
        *,
        world: World,
        members: Sequence[SbpMember],
        accepted: frozenset[str],
        minimums: Mapping[str, int],
        answer_within_s: float = ANSWER_WITHIN_S,
        longest_wait_s: float = STREAM_S,
        to_loopback: bool = False,
        per_s: float = 0.0,
        burst: int = 1,
    ) -> None:
        self._desk = desk
        self._clock = world.clock
        self._accepted = accepted
        self._minimums = dict(minimums)
        self._begin_within_s = answer_within_s * _BEGIN
        self._in_time = Within(world.clock, answer_within_s)
        self.places = Places()
        self._events = EventDesk(desk, longest_s=longest_wait_s, places=self.places)
        self.allowances = Allowances(world.clock, per_s=per_s, burst=burst)
        self._webhooks = WebhookDesk(desk, to_loopback=to_loopback)
        self._api_keys = ApiKeyDesk(desk)
        self._payees = PayeeDesk(desk, accepted=accepted)
        self._banks = m.Banks(items=[m.Bank(id=one.member_id, name=one.name, name_en=one.name_en) for one in members])

    async def answer(self, request: WireRequest) -> WireAnswer:
        """The answer to a request. Raises only what is our own mistake."""
        stands = Stands()
        answer = await self._judge(request, stands)
        return with_headers(answer, *stands.at.headers) if stands.at is not None else answer

    async def _judge(self, request: WireRequest, stands: Stands) -> WireAnswer:
        begin_by = self._clock.monotonic() + self._begin_within_s
        writes = request.method not in ("GET", "HEAD")
        try:
            with self._in_time():
                bearer = read_bearer(request)
                route, identifier = find_route(request.method, request.path)
                caller = await self._desk.recognition.by_api_key(bearer)
                if caller is None:
                    raise Refused("unauthorized")
                stands.at = self.allowances.take(caller.key_id)
                if stands.at is not None and stands.at.wait_s:
                    raise Refused("too_many_requests", after_s=stands.at.wait_s)
                if route.room != "events":
                    return await self._serve(route, identifier, caller, request, begin_by)
            return await self._events.answer(route, caller.merchant, request)  # may wait longer than an answer takes
        except WrongMethod as wrong:
            return with_headers(encode_problem(wrong), ("allow", ", ".join(wrong.allowed)))
        except Refused as problem:
            answer = encode_problem(problem)
            return with_headers(answer, ("www-authenticate", "Bearer")) if problem.name == "unauthorized" else answer
        except Refusal as refusal:
            return encode_problem(refused(refusal))
        except Withdrawn:
            return encode_problem(Refused("not_begun"))
        except (TimeoutError, StoreUnavailable):
            return encode_problem(Refused("outcome_unknown" if writes else "not_begun"))

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """The answer to a request that the door did not get, or did not answer."""
        return encode_problem(Refused(PROBLEMS[why]))

    async def _serve(self, route: Route, identifier: str, caller: Caller, request: WireRequest, begin_by: float) -> WireAnswer:
        merchant = caller.merchant
        match route.room:
            case "webhooks":
                return await self._webhooks.answer(route, merchant, identifier, request)
            case "payees":
                return await self._payees.answer(route, merchant, identifier, request)
            case "api_keys":
                return await self._api_keys.answer(route, caller, identifier, request)
        match route.name:
            case "create":
                return await self._create(merchant, request, begin_by)
            case "execute" | "cancel":
                return await self._act(route.name, merchant, identifier, request, begin_by)
            case "list":
                return encode(200, await self._list(merchant, read_query(request, m.PayoutsAsked), begin_by))
            case "balances":
                return encode(200, await self._balances(merchant, read_query(request, m.BalancesAsked)))
            case "top_ups":
                return encode(200, await self._top_ups(merchant, read_query(request, m.TopUpsAsked)))
            case "fee_quote":
                return encode(200, self._fee_quote(merchant, read_query(request, m.FeeAsked)))
        read_query(request, m.Nothing)
        match route.name:
            case "get":
                return encode(200, words.payout(await self._find(merchant, identifier, begin_by)))
            case "explain":
                told = await read_story(self._desk, await self._find(merchant, identifier, begin_by))
                return encode(200, words.explanation(told, self._clock.now()))
            case "limits":
                return encode(200, words.limits(merchant, await read_headroom(self._desk.database, merchant)))
            case "rails":
                return encode(200, self._rails(merchant))
            case "banks":
                return encode(200, self._banks)
        raise AssertionError(f"nobody answers {route.name}")

    # --- making and moving payouts ---

    async def _create(self, merchant: Merchant, request: WireRequest, begin_by: float) -> WireAnswer:
        key, order = read_key(request), read_body(request, m.NewPayout)
        if key is None and order.reference is None:
            why = "is missing, and so is an Idempotency-Key: without either of them a retry would pay twice"
            raise faulty([m.FieldFault(field="reference", why=why)])
        target = await self._payees.target(merchant, order)
        draft, destination = draft_order(self._desk, merchant, order, target)
        name = order.destination.name if order.destination is not None else destination.name
        asked = [draft.fingerprint.hex(), draft.reference, draft.execute, name, draft.comment]
        asked += [order.execute_at.isoformat()] if order.execute_at is not None else []
        objection = DestinationRetired() if target is not None and target.retired else self._objection(merchant, draft, destination)
        command = CreateOnce(
            draft, name_of(self._desk, merchant, key, "create", asked), objection, sticks=not isinstance(objection, UNREMEMBERED)
        )
        made = await self._desk.keyed.create(merchant.shard, command, deadline=begin_by, ruled=merchant.ruled)
        if isinstance(made, Refusal):
            raise made
        return encode(201 if made.fresh else 200, words.payout(made.payout))

    def _objection(self, merchant: Merchant, draft: CreatePayout, destination: Destination) -> Refusal | None:
        """Why a well-formed payout may not be made now, if it may not. Money is asked for under the lock."""
        if destination.rail is Rail.SBP and destination.bank not in self._accepted:
            return UnknownBank()
        if draft.execute_at is not None and not is_within_a_year(draft.execute_at, self._desk.time.now()):
            return TimeOutOfReach()
        off = _switched_off(merchant)
        if off is not None:
            return off
        currency = draft.amount.currency
        if not self._desk.has_route(draft.rail, currency, sandbox_only=draft.sandbox_only):
            return NoRoute()
        if currency == "RUB" and draft.amount.minor <= self._minimums.get(draft.rail, 0):
            return BelowMinimum()
        return None

    async def _act(self, act: Name, merchant: Merchant, identifier: str, request: WireRequest, begin_by: float) -> WireAnswer:
        key = read_key(request)
        read_body(request, m.Nothing)
        payout_id = own_id(merchant, identifier)
        command = ActOnce(
            self._desk.act(merchant, payout_id, actor_of(merchant)),
            name_of(self._desk, merchant, key, act, [str(payout_id)]),
            _switched_off(merchant) if act == "execute" else None,
        )
        do = self._desk.keyed.execute if act == "execute" else self._desk.keyed.cancel
        result = await do(merchant.shard, command, deadline=begin_by)
        if isinstance(result, Refusal):
            raise result
        return encode(200, words.payout(result))

    # --- looking ---

    async def _find(self, merchant: Merchant, identifier: str, begin_by: float) -> Payout:
        act = self._desk.act(merchant, own_id(merchant, identifier), actor_of(merchant))
        found = await self._desk.look_by_id(merchant, act, deadline=begin_by)
        if isinstance(found, Refusal):
            raise found
        return found

    async def _list(self, merchant: Merchant, asked: m.PayoutsAsked, begin_by: float) -> m.Payouts:
        if asked.reference is not None:
            return await self._by_reference(merchant, asked, asked.reference, begin_by)
        since, until = (
            at if at is not None and at.year in _YEARS else None for at in (asked.created_from, asked.created_to)
        )
        filters = listing.Filters(asked.surface, asked.state, asked.rail, since, until)
        before = read_cursor(asked.cursor)
        return words.payouts(await listing.list_payouts(self._desk.database, merchant, filters, before, asked.limit))

    async def _by_reference(self, merchant: Merchant, asked: m.PayoutsAsked, reference: str, begin_by: float) -> m.Payouts:
        others = (asked.state, asked.rail, asked.created_from, asked.created_to, asked.cursor)
        if any(one is not None for one in others):
            raise bad("reference", "goes with no other filter than `surface`")
        check_reference(reference)
        surface = asked.surface or "own"
        busy = self._desk.keyed.is_creating(self._desk.base(merchant, surface, reference, UUID(int=0)))
        found = await listing.find_by_reference(self._desk, merchant, surface, reference, deadline=begin_by)
        if found is None and busy:
            raise Refused("not_begun", "A payout of this reference is being made now.")
        return words.payouts(listing.Page([found] if found is not None else [], None))

    async def _balances(self, merchant: Merchant, asked: m.BalancesAsked) -> m.Balances:
        if asked.at is None:
            return words.balances(await balances_of(self._desk.database, merchant))
        if asked.at.year not in _YEARS:
            raise bad("at", "is out of its range")
        return words.balances(await balances_as_of(self._desk.database, merchant, asked.at), asked.at)

    async def _top_ups(self, merchant: Merchant, asked: m.TopUpsAsked) -> m.TopUps:
        before = read_cursor(asked.cursor, bits=128)
        return words.top_ups(await listing.list_top_ups(self._desk.database, merchant, before, asked.limit), asked.limit)

    def _fee_quote(self, merchant: Merchant, asked: m.FeeAsked) -> m.FeeQuote:
        faults: list[m.FieldFault] = []
        money = read_money(asked.amount, asked.currency, faults, at="amount", of="currency")
        if money is None:
            raise faulty(faults)
        charged = fee(merchant.fee_rule(asked.rail, self._desk.fees), money)
        if money.minor + charged.minor > MAX_MINOR:
            raise bad("amount", "is too large")
        return m.FeeQuote(rail=asked.rail, amount=words.amount(money), fee=words.amount(charged), total=words.amount(money + charged))

    def _rails(self, merchant: Merchant) -> m.Rails:
        found = []
        for rail in Rail:
            currencies = sorted({name for route in self._desk.routes if rail in route.rails for name in route.currencies})
            rule = merchant.fee_rule(rail, self._desk.fees)
            told = m.Fee(basis_points=rule.basis_points, minimum_minor=rule.minimum_minor, maximum_minor=rule.maximum_minor)
            if currencies:
                found.append(m.Rail(rail=rail.value, currencies=currencies, details=DETAILS[rail], fee=told))
        return m.Rails(items=found)


def _switched_off(merchant: Merchant) -> Refusal | None:
    if merchant.payouts == "denied":
        return PayoutsDenied()
    return None if merchant.payouts == "on" else PayoutsOff()


class Stands:
    """Where the key of a request stands, once that is known."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: Standing | None = None


def with_headers(answer: WireAnswer, *headers: tuple[str, str]) -> WireAnswer:
    return replace(answer, headers=answer.headers + headers)
