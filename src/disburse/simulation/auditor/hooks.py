"""Webhooks: what arrived at merchants' receivers, beside the events that stand in our tables.

Lives here: W2 and W3, held by what receivers were sent and how they answered. Signatures are computed here anew. An `Endpoint` is filled in
by whoever makes a simulation; of our rows the auditor takes events and payouts alone, not how far a courier says it came.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from disburse.simulation.auditor.rows import Memory, Row
from disburse.simulation.auditor.truths import Violation


@dataclass(slots=True)
class Endpoint:
    """One receiver. `secrets`: those that it knows, the newest last. `types`: None for all, else kinds, or `payout.*`. `since`: events after this number.

    `arrived`: what came, by number, as it first came; `taken`: what it said 2xx to.
    """

    webhook_id: str
    merchant: int
    secrets: list[str]
    types: tuple[str, ...] | None
    since: int
    arrived: dict[int, bytes] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def wants(self, row: Row) -> bool:
        """Whether an event of its merchant is to come here."""
        if row["number"] <= self.since:
            return False
        return self.types is None or row["kind"] in self.types or row["kind"].partition(".")[0] + ".*" in self.types


def arrival(memory: Memory, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Iterator[Violation]:
    """What is wrong with a message that has just arrived. Notes that it did."""
    where = f"endpoint {endpoint.webhook_id}"
    if not signed(endpoint.secrets, headers, body):
        yield Violation("W2", f"{where} got a message that none of its secrets signed")
        return
    told: dict[str, Any] = json.loads(body)
    number = told["number"]
    row = _events(memory, endpoint.merchant).get(number)
    if told["merchant_id"] != endpoint.merchant:
        yield Violation("S3", f"{where} of merchant {endpoint.merchant} was told of merchant {told['merchant_id']}")
        return
    if row is None or (told["type"], (told["payout"] or {}).get("id")) != (row["kind"], row["payout_id"]):
        yield Violation("W2", f"{where} was told event {number} ({told['type']}), which is not there or another")
        return
    name = f"evt_{endpoint.merchant}_{number}"
    if (headers["webhook-id"], told["id"]) != (name, name) or endpoint.arrived.setdefault(number, body) != body:
        yield Violation("W2", f"{where} got event {number} under another id, or with other words, than before", row["payout_id"])
    if not endpoint.wants(row):
        yield Violation("W2", f"{where} got event {number} ({row['kind']}), which it does not want", row["payout_id"])
    before = [one for one in memory.of("events", row["payout_id"] or "") if one["number"] < number and endpoint.wants(one)]
    missed = [one["number"] for one in before if one["number"] not in endpoint.taken]
    if missed:
        yield Violation("W2", f"{where} got event {number} of a payout before it had taken event {missed[0]}", row["payout_id"])


def _events(memory: Memory, merchant: int) -> dict[int, Row]:
    return {key[2]: row for key, row in memory.tables["events"].items() if key[1] == merchant}


def signed(secrets: list[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of these secrets signed exactly these bytes, by this id and at this time."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    given = headers["webhook-signature"].split(" ")
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        if "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() in given:
            return True
    return False


def missing(memory: Memory, endpoint: Endpoint) -> list[Row]:
    """Events that this endpoint was to get and never took."""
    rows = _events(memory, endpoint.merchant)
    return [row for number, row in sorted(rows.items()) if endpoint.wants(row) and number not in endpoint.taken]


def stopped(memory: Memory, endpoint: Endpoint) -> bool:
    """Whether the last word about an endpoint, told in an event, is that nothing is sent there."""
    words = [row["kind"] for _, row in sorted(_events(memory, endpoint.merchant).items()) if row["detail"] == endpoint.webhook_id]
    lasting = [one for one in words if one in ("webhook.added", "webhook.paused", "webhook.disabled", "webhook.resumed")]
    return bool(lasting) and lasting[-1] in ("webhook.paused", "webhook.disabled")


def at_the_end(memory: Memory, endpoints: list[Endpoint]) -> Iterator[Violation]:
    """W2: every event came, or its endpoint is stopped and an event says so. W3: who folds what came has the payouts as they stand."""
    for endpoint in endpoints:
        where = f"endpoint {endpoint.webhook_id}"
        left = missing(memory, endpoint)
        if left and not stopped(memory, endpoint):
            yield Violation("W2", f"{where} is active and never took {len(left)} events, first {left[0]['number']} ({left[0]['kind']})")
        if left or endpoint.since or not (endpoint.types is None or "payout.*" in endpoint.types):
            continue
        folded: dict[str, str] = {}
        for _, body in sorted(endpoint.arrived.items()):
            payout = json.loads(body)["payout"]
            if payout is not None and payout["state"] is not None:
                folded[payout["id"]] = payout["state"]
        for name, payout in memory.payouts.items():
            if payout["merchant_id"] == endpoint.merchant and folded.get(name) != payout["state"]:
                yield Violation("W3", f"{where} was told that it is {folded.get(name)}, it is {payout['state']}", name)
