"""What the auditor says of merchants with rules, of webhook receivers and of files, told rows and words that are made up here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from disburse.simulation.auditor import hooks, registries, rules
from disburse.simulation.auditor.hooks import Endpoint
from disburse.simulation.auditor.registries import File
from disburse.simulation.auditor.rows import KEYS, Memory, News
from disburse.simulation.auditor.rulebook import Asked, Limit, Policy, Rulebook, Rules, Word
from disburse.simulation.auditor.truths import BookEntry, Violation

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SHOWN = "payout of 10.00 RUB to card 4111**1111, at 2026-03-01 09:00:00 UTC"


def payout(name: str, state: str, minor: int = 1000, **more: Any) -> dict[str, Any]:
    return {
        "shard": 0, "payout_id": name, "merchant_id": 7, "surface": "own", "reference": name, "base": name, "state": state, "rail": "card",
        "amount_minor": minor, "fee_minor": 0, "currency": "RUB", "display": "4111**1111", "frozen": None, **more,
    }  # fmt: skip


def held(name: str, number: int) -> dict[str, Any]:
    return {"shard": 0, "merchant_id": 7, "number": number, "origin_id": name, "reason": "hold", "phase": "hold"}


def event(number: int, name: str | None, kind: str, detail: str | None = None) -> dict[str, Any]:
    state = kind.partition(".")[2] if name is not None else None
    return {"shard": 0, "merchant_id": 7, "number": number, "payout_id": name, "kind": kind, "state": state, "detail": detail}


def seen(memory: Memory, **tables: Iterable[dict[str, Any]]) -> News:
    """The memory after it has read these rows."""
    read = {table: list(tables.get(table, ())) for table in KEYS}
    rows = [{"name": table, "rows": 0, "changed": json.dumps(some) if some else None} for table, some in read.items()]
    return memory.take([*rows, {"name": "", "rows": 0, "changed": "1"}])


def said(found: Iterable[Violation]) -> list[str]:
    return [one.invariant for one in found]


def book(*, at: datetime | None = NOW, limits: tuple[Limit, ...] = (), policies: tuple[Policy, ...] = (), maker: str | None = None) -> Rulebook:
    made = Rulebook(NOW, NOW, rules={7: Rules(UTC, limits, policies, by_itself=True)})
    made.asked = {(7, name): Asked("card", "4111", at, maker) for name in ("a", "b", "c")}
    return made


def test_times() -> None:
    """What is on its way before the database's clock ever showed its time was sent early; what waits, or whose time was shown once, was not."""
    rulebook, memory = book(at=NOW + MINUTE), Memory()
    attempt = {"shard": 0, "payout_id": "a", "number": 1, "connector": "bank", "end_to_end_id": "a-1", "provider_reference": None}
    seen(memory, payouts=[payout("a", "queued")], attempts=[attempt])
    order = BookEntry("bank", "a-1", 1000, "RUB", NOW, "received")
    assert said(rules.of_payout(memory, rulebook, memory.payouts["a"])) == said(rules.order(memory, rulebook, order)) == ["E16"]
    assert said(rules.of_payout(memory, rulebook, payout("a", "scheduled"))) == []
    rulebook.shows(NOW + MINUTE)
    rulebook.shows(NOW)
    assert said(rules.of_payout(memory, rulebook, memory.payouts["a"])) == said(rules.order(memory, rulebook, order)) == []


VERA, GLEB = Word("vera", "a", SHOWN, True, True), Word("gleb", "a", SHOWN, True, True)


@pytest.mark.parametrize(
    ("words", "breaks"),
    [
        ([], True), ([VERA], True), ([VERA, VERA], True), ([VERA, GLEB], False),
        ([VERA, replace(GLEB, taken=None)], False),
        ([VERA, replace(GLEB, taken=False)], True),
        ([VERA, replace(GLEB, person="maker")], True),
        ([VERA, replace(GLEB, shown=SHOWN.replace("10.00", "11.00"))], True),
        ([VERA, replace(GLEB, shown=SHOWN.replace("09:00", "08:00"))], True),
        ([VERA, replace(GLEB, subject="b")], True),
        ([VERA, GLEB, replace(VERA, person="dina", yes=False)], True),
        ([VERA, GLEB, replace(VERA, person="dina", yes=False, taken=False)], False),
    ],
)  # fmt: skip
def test_persons(words: list[Word], breaks: bool) -> None:
    """Two persons have to have said yes to what it is, none of them the maker, and nobody no; what was not taken does not count."""
    rulebook, memory = book(policies=(Policy("any", 999, 2), Policy("card", 0, 1)), maker="maker"), Memory()
    rulebook.words = words
    seen(memory, payouts=[payout("a", "queued")])
    assert bool(said(rules.of_payout(memory, rulebook, memory.payouts["a"]))) == breaks
    assert said(rules.of_payout(memory, rulebook, payout("a", "awaiting_approval"))) == []


@pytest.mark.parametrize(
    ("limit", "states", "breaks"),
    [
        (Limit("day", "all", 1999), ["paid", "queued"], True),
        (Limit("day", "all", 2000), ["paid", "queued"], False),
        (Limit("day", "all", 1999), ["returned", "awaiting_approval"], True),
        (Limit("day", "all", 1999), ["paid", "failed"], False),
        (Limit("month", "payee", None, 1), ["paid", "in_doubt"], True),
        (Limit("day", "sbp", 1), ["paid", "paid"], False),
        (Limit("payout", "all", 999), ["queued"], True),
        (Limit("payout", "all", 1000), ["queued", "queued"], False),
    ],
)
def test_limits(limit: Limit, states: list[str], breaks: bool) -> None:
    """Limits hold for what holds money or paid it; what gave it back does not count, nor what another rail carried."""
    memory = Memory()
    names = "ab"[: len(states)]
    rows = [payout(name, state) for name, state in zip(names, states, strict=True)]
    seen(memory, payouts=rows, postings=[held(name, number) for number, name in enumerate(names, 1)])
    assert bool(said(rules.limits(memory, book(limits=(limit,)), 7))) == breaks


def test_money_lies_there() -> None:
    """What lacks money at the end may lack it only where there is none, or a limit leaves no room for it."""
    memory = Memory()
    seen(memory, payouts=[payout("a", "unfunded")])
    assert said(rules.left_lying(memory, book())) == []
    memory.sums[0, 7, "RUB", "available"] = 1000
    assert said(rules.left_lying(memory, book())) == ["E15"]
    assert said(rules.left_lying(memory, book(limits=(Limit("payout", "all", 999),)))) == []


KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def message(number: int, name: str, kind: str, *, key: bytes = KEY, **more: Any) -> tuple[dict[str, str], bytes]:
    """A signed message, as it arrives."""
    told = {"id": f"evt_7_{number}", "number": number, "merchant_id": 7, "type": kind, "payout": {"id": name, "state": kind.partition(".")[2]}}
    body = json.dumps({**told, **more}).encode()
    signature = base64.b64encode(hmac.new(key, f"evt_7_{number}.5.".encode() + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": f"evt_7_{number}", "webhook-timestamp": "5", "webhook-signature": f"v1,x v1,{signature}"}, body


def receiver(**more: Any) -> tuple[Memory, Endpoint]:
    memory = Memory()
    rows = [event(1, None, "top_up"), event(2, "a", "payout.queued"), event(3, "b", "payout.queued"), event(4, "a", "payout.paid")]
    seen(memory, events=rows, payouts=[payout("a", "paid"), payout("b", "queued")])
    return memory, Endpoint("hook", 7, [SECRET], more.get("types", ("payout.*",)), more.get("since", 0))


def test_what_arrives() -> None:
    """A message is signed by a secret of the receiver's, is an event that stands there and is wanted, and says the same each time."""
    memory, endpoint = receiver()
    good = message(2, "a", "payout.queued")
    assert said(hooks.arrival(memory, endpoint, *good)) == said(hooks.arrival(memory, endpoint, *good)) == []
    for headers, body in (
        message(2, "a", "payout.queued", key=b"another"), message(2, "a", "payout.paid"), message(2, "b", "payout.queued"),
        message(9, "a", "payout.queued"), message(2, "a", "payout.queued", more="words"), message(2, "a", "payout.queued", id="evt"),
        (good[0], good[1] + b" "), ({**good[0], "webhook-timestamp": "6"}, good[1]),
    ):  # fmt: skip
        assert said(hooks.arrival(memory, endpoint, headers, body)) == ["W2"]
    other = message(2, "a", "payout.queued", merchant_id=8)
    assert said(hooks.arrival(memory, endpoint, *other)) == ["S3"]
    picky = Endpoint("hook", 7, [SECRET], ("payout.paid",), 0)
    assert said(hooks.arrival(memory, picky, *good)) == ["W2"]


def test_order_of_a_payout() -> None:
    """An event comes after those before it of the same payout were taken; other payouts' do not matter."""
    memory, endpoint = receiver()
    assert said(hooks.arrival(memory, endpoint, *message(3, "b", "payout.queued"))) == []
    assert said(hooks.arrival(memory, endpoint, *message(4, "a", "payout.paid"))) == ["W2"]
    endpoint.taken.add(2)
    assert said(hooks.arrival(memory, endpoint, *message(4, "a", "payout.paid"))) == []
    assert said(hooks.arrival(memory, Endpoint("hook", 7, [SECRET], None, 3), *message(4, "a", "payout.paid"))) == []


def test_what_never_arrived() -> None:
    """In the end each event was taken, or its endpoint is stopped and the last word says so; what was taken adds up to the payouts."""
    memory, endpoint = receiver()
    assert said(hooks.at_the_end(memory, [endpoint])) == ["W2"]
    seen(memory, events=[event(5, None, "webhook.paused", "hook")])
    assert said(hooks.at_the_end(memory, [endpoint])) == []
    seen(memory, events=[event(6, None, "webhook.resumed", "hook")])
    assert said(hooks.at_the_end(memory, [endpoint])) == ["W2"]
    for number, name, kind in ((2, "a", "payout.queued"), (3, "b", "payout.queued"), (4, "a", "payout.paid")):
        assert said(hooks.arrival(memory, endpoint, *message(number, name, kind))) == []
        endpoint.taken.add(number)
    assert said(hooks.at_the_end(memory, [endpoint])) == []
    seen(memory, payouts=[payout("b", "paid")])
    assert said(hooks.at_the_end(memory, [endpoint])) == ["W3"]


def test_rows_of_a_file() -> None:
    """A good row becomes one payout and a bad one none, after enough persons said yes to the whole; it is over when all of it is."""
    memory, file, rulebook = Memory(), File(7, (1000, 2000), 3, 0), book()
    news = seen(memory, payouts=[payout("a", "queued")])
    assert said(registries.of_commit(memory, news, rulebook, [file])) == []
    asks = File(7, (1000, 2000), 3, 1)
    assert said(registries.of_commit(memory, news, rulebook, [asks])) == ["A1"]
    rulebook.words = [Word("vera", "r", "registry wages.csv: 2 payouts of 30.00 RUB", True, True)]
    assert said(registries.of_commit(memory, news, rulebook, [asks])) == []
    rulebook.words.append(Word("gleb", "r", "", False, True))
    assert said(registries.of_commit(memory, news, rulebook, [asks])) == ["A1"]
    news = seen(memory, payouts=[payout("b", "queued", 1000), payout("c", "queued", 1500)])
    assert said(registries.of_commit(memory, news, rulebook, [file])) == ["A3", "A2"]
    news = seen(memory, events=[event(1, None, "registry.completed", "r")])
    assert said(registries.of_commit(memory, news, rulebook, [file])) == ["A3", "A3"]


async def test_counters_of_files() -> None:
    """In the end the counters of a registry are what its payouts are, and one that was applied is over."""
    row = {
        "registry": "r", "merchant_id": 7, "state": "completed_with_errors", "rows_read": 3, "good": 2, "bad": 1, "held": 0, "made": 2,
        "found": 0, "refused": 0, "given_up": 0, "paid": 1, "failed": 1, "ended": 0,
    }  # fmt: skip
    memory, file = Memory(), File(7, (1000, 2000), 3, 0, 0, ["r"], {"r": None})
    seen(memory, payouts=[payout("a", "paid"), payout("b", "failed", 2000)])

    async def judged(**changes: Any) -> list[str]:
        async def fetch(sql: str, *values: Any) -> list[dict[str, Any]]:
            return [{**row, **changes}]

        return said(await registries.at_the_end(memory, fetch, [file]))

    assert await judged() == []
    assert await judged(paid=2, failed=0) == await judged(state="executing") == await judged(refused=1) == ["A3"]
    assert await judged(good=3, bad=0) == ["A2", "A3"]
    assert "A3" in await judged(made=1, found=1)
