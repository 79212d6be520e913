"""The REST door of registries: `/v1/registries`. A file comes in whole, is planned at once, and is applied by its digest.

Lives here: what a merchant may ask of registries. May not live here: files (`registry_files.py`), SQL, HTTP. Planning holds and pays nothing, so a
repeat of a POST harms nothing: the same rows cannot be applied twice without a person's yes. With an Idempotency-Key it plans nothing a second time.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import Final, Literal, cast
from uuid import UUID

import msgspec

from disburse.api.allowance import Allowances
from disburse.api.kernel import Why
from disburse.api.lateness import Within
from disburse.api.places import STREAM_S, Places
from disburse.api.registry_files import BadFile, How, plan_file
from disburse.api.registry_progress import Progress
from disburse.api.rest import ANSWER_WITHIN_S, PROBLEMS, Stands, with_headers
from disburse.api.rest_orders import actor_of, name_of
from disburse.domain.merchant import Merchant
from disburse.domain.money import minor_text
from disburse.domain.refusals import Refusal
from disburse.domain.registry import TotalsDisagree
from disburse.domain.registry_states import FINAL, BadRowNumbers, LetPass, RegistryState, WrongRegistryState
from disburse.operations import registries, repeats
from disburse.operations.desk import StoreUnavailable
from disburse.operations.registries import Registry, Result, Start
from disburse.operations.registry_plan import EmptyRegistry, PlanGivenUp, PlannedMeanwhile
from disburse.operations.registry_rules import Terms
from disburse.protocols import rest_registry_messages as r
from disburse.protocols.rest import (
    encode,
    read_bearer,
    read_body,
    read_cursor,
    read_id,
    read_key,
    read_query,
    write_cursor,
)
from disburse.protocols.rest_messages import Amount, FieldFault, Nothing, RailName
from disburse.protocols.rest_problems import KINDS, Refused, bad, encode_problem
from disburse.protocols.rest_routes import Route, WrongMethod, find_route
from disburse.protocols.wire import EVENT_STREAM, WireAnswer, WireRequest

BODY_LIMIT: Final = 8 << 20
"""A file of more bytes is for the command line."""
WITHIN_S: Final = 30.0
"""So long planning one file may take."""

_NAMES: Final[dict[type[Refusal], str]] = {
    registries.NoSuchRegistry: "not_found", registries.FundingGap: "insufficient_funds", registries.PayoutsNotOn: "payouts_off",
    registries.NothingToPay: "not_all_good", WrongRegistryState: "wrong_state", BadFile: "bad_file", TotalsDisagree: "bad_file",
    EmptyRegistry: "bad_file", PlanGivenUp: "wrong_state",
}  # fmt: skip


class RegistryDoor:
    """Answers everything below `/v1/registries`. One per process."""

    bounds_itself = True
    body_limit = BODY_LIMIT

    def __init__(
        self, terms: Terms, how: How, allowances: Allowances, *, places: Places | None = None, longest_s: float = STREAM_S
    ) -> None:
        self._allowances = allowances
        self._terms = terms
        self._desk = terms.desk
        self._database = terms.desk.database
        self._how = how
        self._progress = Progress(terms.desk, places or Places(), longest_s=longest_s)
        self._in_time = Within(terms.desk.world.clock, ANSWER_WITHIN_S)
        self._in_long_time = Within(terms.desk.world.clock, WITHIN_S)

    async def answer(self, request: WireRequest) -> WireAnswer:
        """The answer to a request. Raises only what is our own mistake."""
        stands = Stands()
        answer = await self._judge(request, stands)
        return with_headers(answer, *stands.at.headers) if stands.at is not None else answer

    async def _judge(self, request: WireRequest, stands: Stands) -> WireAnswer:
        try:
            route, identifier = find_route(request.method, request.path)
            with (self._in_long_time if route.name == "registry_create" else self._in_time)():
                caller = await self._desk.recognition.by_api_key(read_bearer(request))
                if caller is None:
                    raise Refused("unauthorized")
                stands.at = self._allowances.take(caller.key_id)
                if stands.at is not None and stands.at.wait_s:
                    raise Refused("too_many_requests", after_s=stands.at.wait_s)
                return await self._serve(route, identifier, caller.merchant, request)
        except WrongMethod as wrong:
            return with_headers(encode_problem(wrong), ("allow", ", ".join(wrong.allowed)))
        except Refused as problem:
            answer = encode_problem(problem)
            return with_headers(answer, ("www-authenticate", "Bearer")) if problem.name == "unauthorized" else answer
        except Refusal as refusal:
            name = _NAMES.get(type(refusal), refusal.name)
            if name not in KINDS:
                raise AssertionError(f"no problem tells of {name}") from None
            return encode_problem(Refused(name, str(refusal)))
        except (TimeoutError, StoreUnavailable):
            return encode_problem(Refused("outcome_unknown" if request.method == "POST" else "not_begun"))

    def refuse(self, request: WireRequest, why: Why) -> WireAnswer:
        """The answer to a request that the door did not get, or did not answer."""
        return encode_problem(Refused(PROBLEMS[why]))

    async def _serve(self, route: Route, identifier: str, merchant: Merchant, request: WireRequest) -> WireAnswer:
        match route.name:
            case "registry_create":
                return await self._create(merchant, request)
            case "registry_list":
                return encode(200, await self._list(merchant, read_query(request, r.RegistriesAsked)))
            case "registry_rows":
                return encode(200, await self._rows(await self._find(merchant, identifier), read_query(request, r.RegistryRowsAsked)))
            case "registry_apply":
                asked = read_body(request, r.Apply)
                start = Start(_own(identifier), bytes.fromhex(asked.digest), asked.only_good, actor_of(merchant), asked.again)
                await registries.start(self._terms, start, merchant=merchant)
            case "registry_cancel":
                read_body(request, Nothing)
                await registries.cancel(self._terms, _own(identifier), actor_of(merchant), merchant=merchant)
            case "registry_get":
                read_query(request, Nothing)
            case "registry_stream":
                read_query(request, Nothing)
                registry = await self._find(merchant, identifier)
                self._progress.places.check(merchant)
                return WireAnswer(200, EVENT_STREAM, b"", stream=self._progress.stream(merchant, lambda: self._seen(merchant, registry)))
            case _:
                raise Refused("not_found")
        return encode(200, await self._told(await self._find(merchant, identifier)))

    async def _create(self, merchant: Merchant, request: WireRequest) -> WireAnswer:
        asked = read_query(replace(request, body=b""), r.NewRegistryAsked)
        if not asked.name.isprintable():
            raise bad("name", "has characters that cannot be printed")
        how = replace(self._how, kind=asked.kind)
        try:
            pay = LetPass(asked.pay)
        except BadRowNumbers as refusal:
            raise bad("pay", "is not row numbers such as 17,23-40, or all") from refusal
        content = hashlib.sha256(request.body).hexdigest()
        named = name_of(self._desk, merchant, read_key(request), "registry_create", [content, asked.name, asked.kind, asked.again, str(pay)])
        known = await repeats.look_up(self._database, merchant, named)
        if known is None:
            try:
                planned = await plan_file(
                    self._terms, merchant, io.BytesIO(request.body), asked.name, how, actor=actor_of(merchant), again=asked.again == "true", pay=pay,
                    request=named,
                )  # fmt: skip
                return encode(201, await self._told(planned.registry))
            except PlannedMeanwhile:
                known = await repeats.look_up(self._database, merchant, named)
        if known is None:
            raise AssertionError("a key that was known is not")
        return encode(200, await self._told(await registries.find(self._database, known, merchant=merchant)))

    async def _find(self, merchant: Merchant, identifier: str) -> Registry:
        return await registries.find(self._database, _own(identifier), merchant=merchant)

    async def _seen(self, merchant: Merchant, registry: Registry) -> r.Registry:
        with self._in_time():
            return await self._told(await registries.find(self._database, registry.registry_id, merchant=merchant))

    async def _told(self, registry: Registry) -> r.Registry:
        standing = await registries.look(self._database, registry.registry_id)
        lacking = await registries.gaps(self._database, registry) if registry.state in _BEFORE else []
        told = _registry(standing.registry)
        return _with_ends(told, standing, [Amount(amount=gap.text(), currency=gap.currency) for gap in lacking])

    async def _list(self, merchant: Merchant, asked: r.RegistriesAsked) -> r.Registries:
        before = read_cursor(asked.cursor, bits=128)
        found = await registries.of_merchant(self._database, merchant, UUID(int=before) if before is not None else None, asked.limit)
        more = write_cursor(found[-1].registry_id.int) if len(found) == asked.limit else None
        return r.Registries(items=[_registry(one) for one in found], next_cursor=more)

    async def _rows(self, registry: Registry, asked: r.RegistryRowsAsked) -> r.RegistryRows:
        after = read_cursor(asked.cursor) or 0
        found = await registries.page(self._database, registry, min(after, 2**31 - 1), asked.limit, only=asked.verdict)
        more = write_cursor(found[-1].number) if len(found) == asked.limit else None
        return r.RegistryRows(items=[_row(one) for one in found], next_cursor=more)


_BEFORE: Final = (RegistryState.PLANNED, RegistryState.AWAITING_APPROVAL, RegistryState.APPROVED)


def _own(identifier: str) -> UUID:
    text = read_id(identifier)
    if text is None:
        raise Refused("not_found")
    return UUID(text)


def _money(minor: int | None, currency: str | None) -> Amount | None:
    return None if minor is None or currency is None else Amount(amount=minor_text(minor, currency), currency=currency)


def _registry(one: Registry) -> r.Registry:
    return r.Registry(
        id=str(one.registry_id), state=cast(r.RegistryState, str(one.state)), final=one.state in FINAL, name=one.file_name,
        digest=one.digest.hex() if one.digest is not None else None, only_good=one.only_good, rows=one.rows_read, good=one.good, bad=one.bad,
        held=one.held, made=one.made, found=one.found, refused=one.refused, given_up=one.given_up, left=one.left, paid=0, failed=0, ended=0,
        waits=one.waits, totals=[], funding_gap=[], created_at=one.created_at, updated_at=one.updated_at,
    )  # fmt: skip


def _with_ends(told: r.Registry, standing: registries.Standings, gaps: list[Amount]) -> r.Registry:
    """The same with its totals, its funding gap, and how its payouts have ended."""
    totals = [
        r.RegistryTotal(
            rail=cast(RailName, rail), rows=rows, amount=Amount(amount=minor_text(amount, currency), currency=currency),
            fee=Amount(amount=minor_text(cost, currency), currency=currency),
        )
        for rail, currency, rows, amount, cost in (registries.totals_of(standing.registry) if standing.registry.plan else [])
    ]  # fmt: skip
    ends = standing.ends
    return msgspec.structs.replace(told, totals=totals, funding_gap=gaps, paid=ends.paid, failed=ends.failed, ended=ends.ended)


def _row(one: Result) -> r.RegistryRow:
    return r.RegistryRow(
        row=one.number, line=one.line, verdict=cast(Literal["good", "bad", "held"], one.verdict), outcome=registries.outcome_of(one), reference=one.reference, rail=one.rail,
        destination=one.display, amount=_money(one.amount_minor, one.currency), fee=_money(one.fee_minor, one.currency),
        payout=str(one.payout_id) if one.payout_id is not None else None, reason=one.reason or one.fate_reason,
        faults=[FieldFault(field=fault["field"], why=fault["why"]) for fault in one.fault_list],
    )  # fmt: skip
