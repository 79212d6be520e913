"""API keys over `/v1`: make a further one, list, show, replace, end. A key is shown once, in the answer that makes it.

Lives here: reading what is asked and telling what came of it. May not live here: what keeps a merchant from locking itself out
(`operations/api_keys.py`).
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from disburse.api.rest_orders import actor_of, name_of, uuid_of
from disburse.domain.merchant import Merchant
from disburse.operations import api_keys
from disburse.operations.api_keys import ApiKey, NewApiKey
from disburse.operations.desk import Desk
from disburse.operations.recognise import Caller
from disburse.operations.repeats import Asked
from disburse.protocols import rest_event_messages as e
from disburse.protocols.rest import encode, read_body, read_key, read_query
from disburse.protocols.rest_messages import Nothing
from disburse.protocols.rest_problems import Refused, bad
from disburse.protocols.rest_routes import Route
from disburse.protocols.wire import WireAnswer, WireRequest


class ApiKeyDesk:
    """Answers `/v1/api-keys`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, route: Route, caller: Caller, identifier: str, request: WireRequest) -> WireAnswer:
        """The answer. Raises Refused, Refusal, StoreUnavailable."""
        merchant, by = caller.merchant, caller.key_id
        who = actor_of(merchant)
        match route.name:
            case "api_key_add":
                name = read_body(request, e.NewApiKey).name
                if not name.isprintable() or name != name.strip():
                    raise bad("name", "holds an invisible character, or white space at an end")
                return self._made(await api_keys.add_key(self._desk, merchant, name, actor=who, asked=self._asked(merchant, route, request, name)), by)
            case "api_key_list":
                read_query(request, Nothing)
                found = await api_keys.list_keys(self._desk, merchant)
                return encode(200, e.ApiKeys(items=[self._shown(one, by) for one in found]))
        which = uuid_of(identifier)
        match route.name:
            case "api_key_rotate":
                hours = read_body(request, e.Overlap).overlap_hours
                asked = self._asked(merchant, route, request, str(which), hours)
                return self._made(await api_keys.rotate_key(self._desk, merchant, which, overlap=timedelta(hours=hours), by=by, actor=who, asked=asked), by)
            case "api_key_disable":
                read_body(request, Nothing)
                return encode(200, self._shown(await api_keys.end_key(self._desk, merchant, which, by=by, actor=who), by))
        read_query(request, Nothing)
        for one in await api_keys.list_keys(self._desk, merchant):
            if one.key_id == which:
                return encode(200, self._shown(one, by))
        raise Refused("not_found")

    def _asked(self, merchant: Merchant, route: Route, request: WireRequest, *what: str | int) -> Asked:
        return Asked(name_of(self._desk, merchant, read_key(request), route.name, what))

    def _made(self, made: NewApiKey, by: UUID) -> WireAnswer:
        return encode(201 if made.fresh else 200, e.ApiKeyMade(api_key=made.secret or None, key=self._shown(made.key, by)))

    def _shown(self, one: ApiKey, by: UUID) -> e.ApiKey:
        now = self._desk.time.now()
        ended = one.ends_at is not None and one.ends_at <= now
        return e.ApiKey(
            id=str(one.key_id), name=one.name, ending=one.ending, state="ended" if ended else "active" if one.ends_at is None else "ending",
            this=one.key_id == by, created_at=one.created_at, ends_at=one.ends_at,
        )  # fmt: skip
