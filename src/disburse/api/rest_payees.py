"""Payees over `/v1`: make one, list, show, add a destination, retire one; and where a payout that names a payee goes.

Lives here: reading what is asked and telling what came of it. May not live here: what keeps a name's meaning (`operations/payees.py`),
what a destination must look like (`rest_orders.py`).
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from disburse.api.rest_orders import actor_of, check_reference, name_of, own_id, read_to
from disburse.api.rest_words import UnknownBank
from disburse.domain.destinations import Destination, Rail
from disburse.domain.merchant import Merchant
from disburse.operations import payees
from disburse.operations.desk import Desk
from disburse.operations.payees import NoSuchDestination, NoSuchPayee, Payee, Target
from disburse.operations.repeats import Asked
from disburse.protocols import rest_payee_messages as p
from disburse.protocols.rest import encode, faulty, read_body, read_cursor, read_id, read_key, read_query, write_cursor
from disburse.protocols.rest_messages import FieldFault, NewPayout, Nothing, RailName, To
from disburse.protocols.rest_problems import bad
from disburse.protocols.rest_routes import Name, Route
from disburse.protocols.wire import WireAnswer, WireRequest


class PayeeDesk:
    """Answers `/v1/payees`. `accepted`: the banks that a destination may name."""

    def __init__(self, desk: Desk, *, accepted: frozenset[str]) -> None:
        self._desk = desk
        self._accepted = accepted

    async def answer(self, route: Route, merchant: Merchant, identifier: str, request: WireRequest) -> WireAnswer:
        """The answer. Raises Refused, Refusal, StoreUnavailable."""
        match route.name:
            case "payee_add":
                return await self._add(merchant, request)
            case "payee_list":
                return encode(200, await self._list(merchant, read_query(request, p.PayeesAsked)))
        which = own_id(merchant, identifier)
        match route.name:
            case "payee_destination_add":
                destination = self._read(merchant, read_body(request, p.NewDestination).destination)
                asked = self._asked(merchant, "payee_destination_add", request, str(which), destination)
                return encode(200, _shown(await payees.add_destination(self._desk, merchant, which, destination, actor=actor_of(merchant), asked=asked)))
            case "payee_destination_retire":
                named = _uuid("destination", read_body(request, p.Retired).destination)
                return encode(200, _shown(await payees.retire_destination(self._desk, merchant, which, named, actor=actor_of(merchant))))
        read_query(request, Nothing)
        return encode(200, _shown(await payees.read_payee(self._desk, merchant, which)))

    async def target(self, merchant: Merchant, order: NewPayout) -> Target | None:
        """Where an order goes that names a payee; None for one that names a destination. Raises Refused unless it names one of them."""
        if (order.destination is None) == (order.payee is None):
            raise bad("destination", "is missing, and so is `payee`" if order.payee is None else "cannot stand beside `payee`")
        if order.payee is None:
            if order.payee_destination is not None:
                raise bad("payee_destination", "needs `payee`")
            return None
        named = _uuid("payee_destination", order.payee_destination) if order.payee_destination is not None else None
        try:
            return await payees.target_of(self._desk, merchant, _uuid("payee", order.payee), named)
        except NoSuchPayee:
            raise bad("payee", "is none of yours") from None
        except NoSuchDestination:
            raise bad("payee_destination", "is none of this payee's") from None

    async def _add(self, merchant: Merchant, request: WireRequest) -> WireAnswer:
        order = read_body(request, p.NewPayee)
        check_reference(order.reference)
        destination = self._read(merchant, order.destination)
        asked = self._asked(merchant, "payee_add", request, order.reference, destination)
        made, fresh = await payees.add_payee(self._desk, merchant, order.reference, destination, actor=actor_of(merchant), asked=asked)
        return encode(201 if fresh else 200, _shown(made))

    def _asked(self, merchant: Merchant, act: Name, request: WireRequest, whose: str, to: Destination) -> Asked:
        """The request's key, and whether the bank is one that may be named now: a repeat of what was saved is not asked that."""
        unknown = to.rail is Rail.SBP and to.bank not in self._accepted
        where = self._desk.vault.fingerprint(to.fingerprint_text(), merchant.merchant_id).hex()
        name = name_of(self._desk, merchant, read_key(request), act, [whose, where, to.name])
        return Asked(name, UnknownBank() if unknown else None)

    def _read(self, merchant: Merchant, to: To) -> Destination:
        faults: list[FieldFault] = []
        found = read_to(to, merchant, faults)
        if found is None:
            raise faulty(faults)
        return found

    async def _list(self, merchant: Merchant, asked: p.PayeesAsked) -> p.Payees:
        if asked.reference is not None:
            if asked.cursor is not None:
                raise bad("reference", "goes with no other filter")
            check_reference(asked.reference)
            found = await payees.find_payee(self._desk, merchant, asked.reference)
            return p.Payees(items=[_shown(found)] if found is not None else [], next_cursor=None)
        rows = await payees.list_payees(self._desk, merchant, read_cursor(asked.cursor, bits=128), asked.limit)
        last = rows[-1].payee_id.int if len(rows) == asked.limit else None
        return p.Payees(items=[_shown(one) for one in rows], next_cursor=write_cursor(last))


def _uuid(field: str, text: str) -> UUID:
    found = read_id(text)
    if found is None:
        raise bad(field, "is no id")
    return UUID(found)


def _shown(one: Payee) -> p.Payee:
    return p.Payee(
        id=str(one.payee_id),
        reference=one.reference,
        destinations=[
            p.PayeeDestination(
                id=str(saved.destination_id), rail=cast(RailName, saved.rail), destination=saved.display, created_at=saved.created_at,
                retired_at=saved.retired_at,
            )  # fmt: skip
            for saved in one.destinations
        ],
        created_at=one.created_at,
    )
