"""A merchant's program that speaks `/v1` over real HTTP to a running server. Every answer it gets must be one that the document describes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from disburse.api.rest import RestDoor
from disburse.data import accepted_member_ids, load_sbp_members
from disburse.operations.desk import Desk
from disburse.operations.merchants import NewMerchant
from tests.api.house import House
from tests.api.openapi import operation, undescribed
from tests.api.served import PATIENCE_S, Answer, Served, Wire, served

MEMBERS = load_sbp_members()
CARD = "4111111111111111"
CARD_TO = {"rail": "card", "number": CARD}
PHONE_TO = {"rail": "sbp", "phone": "79510000071", "bank": "100000000004"}
PURSE_TO = {"rail": "webmoney", "purse": "Z123456789012"}
ORDER: dict[str, Any] = {"amount": {"amount": "10.00", "currency": "RUB"}, "destination": PURSE_TO, "reference": "1782", "execute": True}
"""A payout that costs nothing beside its amount."""


def open_rest(
    house: House, *, desk: Desk | None = None, answer_within_s: float = 8.0, minimums: Mapping[str, int] | None = None, also: frozenset[str] = frozenset(),
    **settings: Any,
) -> RestDoor:
    """A door of the house, with the banks that ship."""
    return RestDoor(
        desk or house.desk, world=house.world, members=MEMBERS, accepted=accepted_member_ids(MEMBERS) | also,
        minimums=minimums or {}, answer_within_s=answer_within_s, **settings,
    )  # fmt: skip


def without(order: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """An order without some of its fields."""
    return {name: value for name, value in order.items() if name not in names}


@dataclass
class Program:
    """One merchant's program on one server."""

    house: House
    made: NewMerchant
    served: Served

    @property
    def merchant(self) -> Any:
        return self.made.merchant

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, raw: bytes | None = None, bearer: str | None = "",
        headers: tuple[str, ...] = (), kind: str | None = "application/json",
    ) -> Answer:  # fmt: skip
        """The answer to a request. `raw` in place of `body`: bytes as they are; `bearer` "" is this merchant's API key, None none."""
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: t", f"Content-Length: {len(content)}"]
        if bearer is not None:
            lines.append(f"Authorization: Bearer {bearer or self.made.api_key}")
        if content and kind is not None:
            lines.append(f"Content-Type: {kind}")
        if key is not None:
            lines.append(f"Idempotency-Key: {key}")
        wire = await self.served.wire()
        await wire.send("\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + content)
        try:
            answer = await wire.answer(head_only=method == "HEAD")
        finally:
            wire.close()
        self._check(method, path, answer)
        return answer

    def _check(self, method: str, path: str, answer: Answer) -> None:
        text = answer.body.decode()
        for secret in (CARD, self.made.api_key, "Traceback", "DETAIL"):
            assert secret not in text
        if operation(method, path) is not None:
            assert undescribed(method, path, answer.status, answer.headers["content-type"], answer.body) == []
        else:
            assert answer.status in (401, 404, 405) and answer.headers["content-type"] == "application/problem+json"

    async def create(self, order: Mapping[str, Any] = ORDER, *, key: str | None = None, **changes: Any) -> Answer:
        """POST /v1/payouts."""
        return await self.ask("POST", "/v1/payouts", {**order, **changes}, key=key)

    async def made_one(self, order: Mapping[str, Any] = ORDER, *, key: str | None = None, **changes: Any) -> dict[str, Any]:
        """A payout that this call made."""
        answer = await self.create(order, key=key, **changes)
        assert answer.status == 201, answer
        payout: dict[str, Any] = answer.json
        return payout

    async def get(self, identifier: str) -> dict[str, Any]:
        """A payout as it stands."""
        answer = await self.ask("GET", f"/v1/payouts/{identifier}")
        assert answer.status == 200, answer
        payout: dict[str, Any] = answer.json
        return payout

    async def act(self, identifier: str, act: str, *, key: str | None = None) -> Answer:
        """POST execute or cancel."""
        return await self.ask("POST", f"/v1/payouts/{identifier}/{act}", key=key)

    async def list(self, query: str = "") -> dict[str, Any]:
        """A page of payouts."""
        answer = await self.ask("GET", f"/v1/payouts?{query}" if query else "/v1/payouts")
        assert answer.status == 200, answer
        page: dict[str, Any] = answer.json
        return page

    async def keys_kept(self) -> int:
        """How many keys this merchant's rows are remembered under."""

        async def read(tx: Any) -> int:
            count: int = await tx.fetchval("SELECT count(*) FROM idempotency_keys WHERE shard = $1 AND merchant_id = $2", self.merchant.shard, self.merchant.merchant_id)
            return count

        return await self.house.database.run(read)

    async def payouts(self) -> int:
        """How many payouts this merchant has."""
        return len(await self.house.payouts(self.merchant))


def problem(answer: Answer) -> str:
    """The name of a problem; fails on anything else."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    document = answer.json
    assert document["status"] == answer.status and document["next"] and document["title"] and document["detail"]
    urn, _, name = document["type"].rpartition(":")
    assert urn == "urn:disburse:problem"
    told: str = name
    return told


@asynccontextmanager
async def program(house: House, door: RestDoor | None = None, login: str = "shop@example.com", **settings: Any) -> AsyncIterator[Program]:
    """A merchant with money, and its program before a running server."""
    made = await house.merchant(login, **settings)
    standing = door or open_rest(house)
    async with served([("/v1", standing), ("/v1/*", standing)]) as running:
        yield Program(house, made, running)


class Stream:
    """A program that reads server-sent events, byte by byte."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._text = b""

    @classmethod
    async def open(cls, shop: Program, after: int = 0, *headers: str, path: str = "/v1/events/stream") -> Stream:
        wire = await shop.served.wire()
        asked = f"?after={after}" if path == "/v1/events/stream" else ""
        lines = [f"GET {path}{asked} HTTP/1.1", "Host: t", f"Authorization: Bearer {shop.made.api_key}", *headers, "", ""]
        await wire.send("\r\n".join(lines).encode())
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200") and "content-type: text/event-stream" in head and "content-length" not in head
        return cls(wire)

    async def pieces(self) -> AsyncIterator[dict[str, str]]:
        """Each message as its fields, until the stream ends."""
        while True:
            while b"\n\n" in self._text:
                message, self._text = self._text.split(b"\n\n", 1)
                yield dict(line.split(": ", 1) for line in message.decode().split("\n"))
            async with asyncio.timeout(PATIENCE_S):
                length = int(await self.wire.reader.readuntil(b"\r\n"), 16)
                self._text += (await self.wire.reader.readexactly(length + 2))[:-2]
            if length == 0:
                return
