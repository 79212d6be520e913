"""The IntellectMoney connector against a provider on loopback that does its worst: executed at most as often as is proven harmless."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from disburse.connectors.contract import Answering, Question
from disburse.connectors.intellectmoney import IntellectMoneyConnector
from disburse.connectors.intellectmoney_alerts import ALERT_EVERY_S
from disburse.connectors.intellectmoney_table import BadDecisions, load_decisions
from disburse.connectors.intellectmoney_tokens import REST_S, YOUNG_S
from disburse.connectors.kind import Secret
from disburse.domain.destinations import Destination, Rail
from disburse.domain.outcomes import Accepted, NotSent, Outcome, Rejected, Settled, Unknown
from disburse.logs import configure
from disburse.world import RealClock
from tests.clock import FakeClock
from tests.connectors.upstream import (
    CARD,
    CLOSE,
    GUID,
    SECRETS,
    TOKEN,
    Upstream,
    envelope,
    http,
    refusal,
    state,
    token,
    upstream,
)

OTHER = "a654fe39-42eb-4ac3-a3ec-76d148b2ba3a"
QUESTION = Question("id-1", GUID, 5.0)
EXPIRED = refusal("[TOKEN_EXPIRED] The UserToken is not known or its time is over.")
SBP = Destination(Rail.SBP, "79510000071", "100000000004", "Иван И.")
SPOILT = {
    "closed": CLOSE,
    "HTTP 500": http(b'{"OperationState":{"Code":0}}', "500 Internal Server Error"),
    "HTTP 503": http(b"", "503 Service Unavailable"),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "a page": http(b"<html><body>Service</body></html>"),
    "half": http(b'{"OperationState":{"Code":0,"Desc":"x"},"Result":{"State":{"Co'),
    "nothing": http(b""),
    "another thing": http(b'{"jsonrpc":"2.0"}'),
    "a list": http(b"[]"),
    "deep": http(b"[" * 5000),
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    written = io.StringIO()
    configure(RealClock(), level="debug", stream=written, pretty=False)
    yield written


def alerts(log: io.StringIO) -> list[tuple[str, str]]:
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    return [(one["operation"], one["why"]) for one in told if one["event"] == "alert_provider_answer" and one["level"] == "error"]


def executed(provider: Upstream) -> int:
    return sum(method.lower() == "executeoperation" for method in provider.methods)


# --- the steps ---


@pytest.mark.parametrize("generation, destination, methods", [
    ("new", CARD, ["getUserToken", "createOperation", "executeOperation"]),
    ("new", SBP, ["getUserToken", "createOperation", "executeOperation"]),
    ("old", CARD, ["getUserToken", "CreateBankCardRussiaOperation", "ExecuteOperation"]),
    ("old", Destination(Rail.QIWI, "70000000000"), ["getUserToken", "CreateQiwiWalletOperation", "ExecuteOperation"]),
])  # fmt: skip
async def test_the_steps(generation: str, destination: Destination, methods: list[str]) -> None:
    """A token, an operation, its id stored, its execution: each once, in this order."""
    async with upstream() as provider:
        seen: list[list[str]] = []

        async def remember(reference: str) -> bool:
            seen.append(provider.methods)
            return reference == GUID

        order = replace(provider.order(destination), remember=remember)
        assert await provider.connector(generation).submit(order) == Accepted(GUID)
        assert provider.methods == methods and seen == [methods[:2]]


@pytest.mark.parametrize("generation, carrier, kind", [
    ("new", None, "application/json"), ("new", "form", "application/x-www-form-urlencoded"),
    ("old", None, "application/x-www-form-urlencoded"), ("old", "json", "application/json"),
])  # fmt: skip
async def test_carriers(generation: str, carrier: str | None, kind: str) -> None:
    """Parameters travel as the generation's pages say, or as the settings do; a token is asked for by a form, answers in JSON."""
    async with upstream() as provider:
        connector = provider.connector(generation, carrier=carrier)
        assert await connector.submit(provider.order()) == Accepted(GUID)
        assert await connector.inquire(QUESTION) == Settled(GUID)
        assert [one.headers["content-type"] for one in provider.sent] == ["application/x-www-form-urlencoded", kind, kind, kind]
        assert {one.headers["accept"] for one in provider.sent} == {"application/json"}


@pytest.mark.parametrize("keys, signed", [({}, True), ({"bearer": None, "sign_secret_key": None}, False)])
async def test_the_old_generation_with_and_without_proofs(keys: dict[str, Any], signed: bool) -> None:
    """On old paths Bearer and Sign are sent where the account has them, and not otherwise."""
    async with upstream() as provider:
        assert await provider.connector("old", **keys).submit(provider.order()) == Accepted(GUID)
        assert all(("sign" in one.headers, "authorization" in one.headers) == (signed, signed) for one in provider.sent)


async def test_a_capital_id_is_one_id() -> None:
    """An id in capitals and braces is remembered, and asked by, in lower case with hyphens."""
    capitals = "{" + GUID.upper() + "}"
    async with upstream(createoperation=state("Created", capitals), executeoperation=state("Completed", capitals)) as provider:
        assert await provider.connector().submit(provider.order()) == Settled(GUID)
        assert provider.remembered == [GUID] and provider.sent[-1].params["PayoutOperationId"] == GUID


async def test_what_is_not_remembered_is_not_executed() -> None:
    """Told that the attempt is not ours any more, the connector stops."""
    async with upstream() as provider:
        provider.remembers = False
        assert isinstance(await provider.connector().submit(provider.order()), Unknown)
        assert executed(provider) == 0


async def test_what_is_not_remembered_in_time_is_not_executed() -> None:
    """A memory that takes longer than the call may is none."""
    clock = FakeClock()
    async with upstream(clock) as provider:

        async def never(reference: str) -> bool:
            await asyncio.Event().wait()
            return True

        task = asyncio.create_task(provider.connector().submit(replace(provider.order(), remember=never)))
        while not task.done():
            await clock.advance(0.05)
            await asyncio.sleep(0.001)
        assert isinstance(await task, Unknown) and executed(provider) == 0


# --- answers that are none ---


@pytest.mark.parametrize("raw", list(SPOILT.values()), ids=list(SPOILT))
async def test_spoilt_answers(raw: bytes) -> None:
    """A spoilt answer to a token proves that nothing moved; to a create and an execute it is doubt; nothing is sent twice."""
    async with upstream(getusertoken=raw) as provider:
        assert isinstance(await provider.connector().submit(provider.order()), NotSent)
        assert isinstance(await provider.connector().inquire(QUESTION), Unknown)
        assert set(provider.methods) == {"getUserToken"}
    async with upstream(createoperation=raw) as provider:
        assert isinstance(await provider.connector().submit(provider.order()), Unknown)
        assert provider.methods == ["getUserToken", "createOperation"] and provider.remembered == []
    async with upstream(executeoperation=raw) as provider:
        connector = provider.connector()
        assert isinstance(await connector.submit(provider.order()), Unknown) and executed(provider) == 1
        assert isinstance(await connector.execute_again(QUESTION), Unknown) and executed(provider) == 2
    async with upstream(getoperationstate=raw) as provider:
        assert isinstance(await provider.connector().inquire(QUESTION), Unknown)


async def test_nobody_there() -> None:
    """Without a connection nothing is sent; after an execution that is no proof any more."""
    async with upstream() as provider:
        connector = provider.connector(base_url="http://127.0.0.1:1")
        assert isinstance(await connector.submit(provider.order()), NotSent)
        assert isinstance(await connector.execute_again(QUESTION), Unknown)
        assert isinstance(await connector.inquire(QUESTION), Unknown)
        assert isinstance(await connector.inquire(Question("id-1", None, 5.0)), Unknown)
        assert isinstance(await connector.execute_again(Question("id-1", "no guid", 5.0)), Unknown)


@pytest.mark.parametrize("method, answer", [
    ("executeoperation", state("Completed", OTHER)),
    ("executeoperation", state("Completed", None)),
    ("getoperationstate", state("Completed", OTHER)),
    ("getoperationstate", state("Failed", None)),
])  # fmt: skip
async def test_an_answer_about_something_else(method: str, answer: bytes, log: io.StringIO) -> None:
    """What does not name our operation is not believed, paid or failed, and a person is told."""
    async with upstream(**{method: answer}) as provider:
        connector = provider.connector()
        asked = connector.inquire(QUESTION) if method == "getoperationstate" else connector.submit(provider.order())
        assert isinstance(await asked, Unknown)
    assert [why for _, why in alerts(log)] == ["an answer about another operation"]


# --- what the table does not know ---


@pytest.mark.parametrize("answer, why", [
    (state("Paid"), "unlisted state Paid"),
    (state("Completed now 4111111111111111"), "unlisted state (no plain word)"),
    (envelope({"State": {"Code": 0, "Desc": ""}, "PayoutOperationId": GUID}), "unlisted state (no plain word)"),
    (state("Completed", inner=7), "unlisted code 7"),
    (envelope(None, 3), "unlisted code 3"),
    (envelope(None, -1), "unlisted code -1"),
    (envelope(None), "an answer without a state code"),
    (state("Error"), "state Error"),
    (state("NotEnoughMoney"), "state NotEnoughMoney"),
])  # fmt: skip
async def test_what_is_not_listed_is_doubt_and_an_alert(answer: bytes, why: str, log: io.StringIO) -> None:
    """A code or state outside the table, or one that needs a person, is Unknown after an execute, and logged as an error."""
    async with upstream(executeoperation=answer, getoperationstate=answer) as provider:
        connector = provider.connector()
        assert isinstance(await connector.submit(provider.order()), Unknown)
        assert not isinstance(await connector.inquire(QUESTION), Accepted | Settled | Rejected)
    assert alerts(log) == [("execute", why), ("ask", why)]


async def test_an_alert_is_told_once_a_minute(log: io.StringIO) -> None:
    """However many payouts a provider is wrong about, a person reads it once a minute, each thing by itself."""
    clock = FakeClock()
    async with upstream(clock, getoperationstate=[*[state("Paid")] * 30, state("Gone"), state("Paid")]) as provider:
        connector = provider.connector()
        for _ in range(31):
            await connector.inquire(QUESTION)
        assert [why for _, why in alerts(log)] == ["unlisted state Paid", "unlisted state Gone"]
        await clock.advance(ALERT_EVERY_S)
        await connector.inquire(QUESTION)
        assert len(alerts(log)) == 3


async def test_an_operation_that_is_more_than_made(log: io.StringIO) -> None:
    """Made in a state other than Created, an operation is remembered, so that it is asked about, and not executed."""
    async with upstream(createoperation=state("InProcess")) as provider:
        assert await provider.connector().submit(provider.order()) == Unknown("create: unlisted state InProcess")
        assert provider.remembered == [GUID] and executed(provider) == 0
    assert alerts(log) == [("create", "unlisted state InProcess")]


async def test_an_operation_without_an_id(log: io.StringIO) -> None:
    """What has no id cannot be remembered, so it is not executed."""
    async with upstream(createoperation=state("Created", None)) as provider:
        assert isinstance(await provider.connector().submit(provider.order()), Unknown)
        assert provider.remembered == [] and executed(provider) == 0
    assert alerts(log) == [("create", "made without an id")]


# --- refusals ---


@pytest.mark.parametrize("desc, outcome", [
    ("[BAD_PAN] The card number is none.", Rejected("bad_card")),
    ("[bad_pan] any case", Rejected("bad_card")),
    ("[NO_ROUTE] No provider.", Rejected("provider_has_no_route", elsewhere=True)),
    ("[TRY_LATER] There is too much to do.", NotSent("create: refused, [TRY_LATER]")),
    ("[WRONG_SIGN] The Sign header does not fit.", NotSent("create: refused, [WRONG_SIGN]")),
    ("Недостаточно прав", Rejected("refused_by_provider")),
    ("the text says [BAD_PAN] later", Rejected("refused_by_provider")),
])  # fmt: skip
async def test_refused_creates(desc: str, outcome: Outcome) -> None:
    """A refused create made nothing: what follows is the table's word for how the text begins."""
    for answer in (refusal(desc), state("", None, inner=2, desc=desc)):
        async with upstream(createoperation=answer) as provider:
            assert await provider.connector().submit(provider.order()) == outcome
            assert provider.methods == ["getUserToken", "createOperation"]


@pytest.mark.parametrize("desc", ["[BAD_PAN] x", "[NO_ROUTE] x", "[TRY_LATER] x", "[WRONG_SIGN] x", "anything else"])
async def test_a_refused_execute_says_nothing(desc: str) -> None:
    """Whatever the text of a refused execute or question, it is doubt: the payout may have been executed before."""
    async with upstream(executeoperation=refusal(desc), getoperationstate=refusal(desc)) as provider:
        connector = provider.connector()
        assert isinstance(await connector.submit(provider.order()), Unknown) and executed(provider) == 1
        assert isinstance(await connector.inquire(QUESTION), Unknown)


# --- tokens ---


async def test_one_token_for_many() -> None:
    """Twenty who need a token at once cause one request for it, and all use it."""
    async with upstream() as provider:
        connector = provider.connector()
        outcomes = await asyncio.gather(*[connector.submit(provider.order()) for _ in range(20)])
        assert outcomes == [Accepted(GUID)] * 20
        assert provider.methods.count("getUserToken") == 1
        assert {one.params["UserToken"] for one in provider.sent[1:]} == {TOKEN}


async def test_a_token_is_kept_as_long_as_it_may() -> None:
    """A token is used for five minutes, and then another is fetched."""
    clock = FakeClock()
    async with upstream(clock, getusertoken=[token("first"), token("second")]) as provider:
        connector = provider.connector()
        for ago, used in [(0, "first"), (299, "first"), (1, "second"), (299, "second")]:
            await clock.advance(ago)
            assert await connector.inquire(QUESTION) == Settled(GUID)
            assert provider.sent[-1].params["UserToken"] == used


@pytest.mark.parametrize("method, outcome", [
    ("createoperation", Accepted(GUID)), ("executeoperation", Accepted(GUID)), ("getoperationstate", Settled(GUID)),
])  # fmt: skip
async def test_an_expired_token_is_renewed_once(method: str, outcome: Outcome) -> None:
    """A call that was told so, and so did nothing, is put once more with a new token."""
    good = state("Created") if method == "createoperation" else state("InProcess" if method == "executeoperation" else "Completed")
    async with upstream(getusertoken=[token("old"), token("new")], **{method: [EXPIRED, good]}) as provider:
        connector = provider.connector()
        asked = connector.inquire(QUESTION) if method == "getoperationstate" else connector.submit(provider.order())
        assert await asked == outcome
        tries = [one.params["UserToken"] for one in provider.sent if one.method.lower() == method]
        assert tries == ["old", "new"] and provider.methods.count("getUserToken") == 2


@pytest.mark.parametrize("method, kind", [
    ("createoperation", NotSent), ("executeoperation", Unknown), ("getoperationstate", Unknown),
])  # fmt: skip
async def test_a_token_that_is_never_taken(method: str, kind: type[Outcome]) -> None:
    """A second refusal of a token ends the call: it is not put a third time."""
    async with upstream(**{method: EXPIRED}) as provider:
        connector = provider.connector()
        asked = connector.inquire(QUESTION) if method == "getoperationstate" else connector.submit(provider.order())
        assert isinstance(await asked, kind)
        assert [one.lower() for one in provider.methods].count(method) == 2


async def test_many_with_an_expired_token_renew_it_once() -> None:
    """Twenty calls that are told their token is over cause one more request for one."""
    taken = {"old": EXPIRED, "new": state("Created")}
    async with upstream(getusertoken=[token("old"), token("new")], createoperation=taken) as provider:
        connector = provider.connector()
        outcomes = await asyncio.gather(*[connector.submit(provider.order()) for _ in range(20)])
        assert outcomes == [Accepted(GUID)] * 20 and provider.methods.count("getUserToken") == 2


@pytest.mark.parametrize("method, puts", [("createoperation", 2), ("getoperationstate", 2), ("executeoperation", 1)])
async def test_an_old_token_is_suspected(method: str, puts: int) -> None:
    """Refused for a reason nobody knows, a harmless call is put once more with a new token; an execute is not."""
    clock = FakeClock()
    answers: Any = {method: refusal("Сессия истекла")}
    async with upstream(clock, **answers) as provider:
        connector = provider.connector()
        await connector.inquire(QUESTION)
        provider.server.requests.clear()
        await clock.advance(YOUNG_S + 1)
        await (connector.inquire(QUESTION) if method == "getoperationstate" else connector.submit(provider.order()))
        assert [one.lower() for one in provider.methods].count(method) == puts


async def test_a_refused_login_rests(log: io.StringIO) -> None:
    """Refused once, login and password are not tried again for half a minute, whoever asks; a person is told."""
    clock = FakeClock()
    async with upstream(clock, getusertoken=[refusal("[WRONG_CREDENTIALS] no"), token()]) as provider:
        connector = provider.connector()
        for _ in range(5):
            assert isinstance(await connector.submit(provider.order()), NotSent)
        assert provider.methods == ["getUserToken"] and alerts(log) == [("token", "our login is refused")]
        await clock.advance(REST_S + 1)
        assert await connector.submit(provider.order()) == Accepted(GUID)


async def test_who_waits_for_a_token_waits_no_longer_than_its_call() -> None:
    """A token that does not come leaves the payout unsent in time; those who wait longer still get it."""
    clock = FakeClock()
    async with upstream(clock) as provider:
        provider.says["getusertoken"] = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"]  # the rest never comes
        connector = provider.connector()
        task = asyncio.create_task(connector.submit(provider.order(deadline_s=1.0)))
        while not task.done():
            await clock.advance(0.05)
            await asyncio.sleep(0.001)
        assert await task == NotSent("create: no token in time") and clock.monotonic() < 2
        await connector.stop()


# --- what is never sent ---


@pytest.mark.parametrize("generation, destination, amount, outcome", [
    ("new", Destination(Rail.CARD, "41111111111111111111"), "50.00", Rejected("bad_card")),  # the documented one (I4)
    ("new", Destination(Rail.CARD, "4111111111111112"), "50.00", Rejected("bad_card")),
    ("old", Destination(Rail.QIWI, "7000000000"), "50.00", Rejected("bad_account")),  # I5
    ("new", replace(SBP, number="9510000071"), "50.00", Rejected("bad_account")),
    ("new", replace(SBP, bank=None), "50.00", Rejected("bank_not_carried_here", elsewhere=True)),
    ("new", replace(SBP, bank="TEST1"), "50.00", Rejected("bank_not_carried_here", elsewhere=True)),
    ("old", SBP, "50.00", Rejected("not_carried_here", elsewhere=True)),
    ("new", Destination(Rail.QIWI, "70000000000"), "50.00", Rejected("not_carried_here", elsewhere=True)),
    ("new", CARD, "10000000000.00", Rejected("amount_not_carried_here", elsewhere=True)),
])  # fmt: skip
async def test_what_this_provider_cannot_carry(generation: str, destination: Destination, amount: str, outcome: Outcome) -> None:
    """An order that the page does not allow is refused before anything is sent, a token neither."""
    async with upstream() as provider:
        assert await provider.connector(generation).submit(provider.order(destination, amount)) == outcome
        assert provider.methods == []


async def test_another_currency() -> None:
    """A currency that is not in the settings is not carried."""
    async with upstream() as provider:
        outcome = await provider.connector().submit(provider.order(currency="USD"))
        assert outcome == Rejected("not_carried_here", elsewhere=True) and provider.methods == []


async def test_nothing_secret_is_told(log: io.StringIO) -> None:
    """A provider that repeats card, phone, token and secrets in every text finds none of them in an outcome, a log or a repr."""
    leak = " ".join([CARD.number, SBP.number, TOKEN, *SECRETS.values()])
    answers = [refusal(leak), state(leak), state("Created", leak), envelope(None, 9, leak), http(leak.encode())]
    told: list[object] = []
    for method in ("getusertoken", "createoperation", "executeoperation", "getoperationstate"):
        for answer in answers:
            async with upstream(**{method: answer}) as provider:
                connector = provider.connector()
                told += [await connector.submit(provider.order(one)) for one in (CARD, SBP)]
                told += [await connector.inquire(QUESTION), provider.settings(), connector, vars(connector)]
    text = repr(told) + log.getvalue()
    assert alerts(log) and not [one for one in leak.split() if one in text]


# --- settings and the table ---


async def test_an_operators_own_table(tmp_path: Path) -> None:
    """An operator's table takes the place of ours: here a text and a state mean something that ours does not know."""
    shipped = Path(load_decisions.__code__.co_filename).with_name("intellectmoney_decisions.toml").read_text()
    own = shipped.replace("[TOKEN_EXPIRED]", "Сессия истекла").replace("[states.ask]", '[states.ask]\nPaid = { means = "settled" }')
    (tmp_path / "own.toml").write_text(own)
    async with upstream(
        createoperation=[refusal("сессия Истекла, войдите"), state("Created")], getoperationstate=state("PAID")
    ) as provider:
        connector = provider.connector(decisions=str(tmp_path / "own.toml"))
        assert await connector.submit(provider.order()) == Accepted(GUID)
        assert await connector.inquire(QUESTION) == Settled(GUID)


@pytest.mark.parametrize("own", [
    "", "version = 1", "\xff", 'version = "1"\n[codes]\nx = "handled"\n[inner_codes]\n[states]\nrefusals = []',
    'version = "1"\ncodes = {}\ninner_codes = {}\nrefusals = []\n[states.ask]\nFailed = { means = "rejected" }',
    'version = "1"\ncodes = {}\ninner_codes = {}\nstates = {}\nrefusals = [{begins = " ", means = "later"}]',
    'version = "1"\ncodes = {}\ninner_codes = {}\nstates = {}\nrefusals = [{begins = "x", means = "rejected"}]',
    'version = "1"\ncodes = {}\ninner_codes = {}\nstates = {}\nrefusals = [{begins = "x", means = "settled"}]',
])  # fmt: skip
def test_a_wrong_table(own: str, tmp_path: Path) -> None:
    """A table that is not whole is refused when the program starts."""
    (tmp_path / "own.toml").write_bytes(own.encode("latin-1"))
    with pytest.raises(BadDecisions):
        load_decisions(tmp_path / "own.toml")


async def test_wrong_settings_make_no_connector() -> None:
    """A connector is not made of settings that do not fit together."""
    async with upstream() as provider:
        with pytest.raises(Exception, match="bearer is missing"):
            IntellectMoneyConnector(provider.settings(bearer=None), provider.transport, provider.clock)


async def test_no_secret_is_read_before_it_is_needed(tmp_path: Path) -> None:
    """Making a connector reads nothing. Without its secrets or table `start` says what is wrong, and an order is not sent."""
    def missing() -> str:
        raise BadDecisions("the secret is not there")

    async with upstream() as provider:
        settings = msgspec.structs.replace(provider.settings(), password=Secret(missing))
        connector = IntellectMoneyConnector(settings, provider.transport, provider.clock)
        with pytest.raises(BadDecisions, match="the secret is not there"):
            await connector.start(_nobody)
        assert isinstance(await connector.submit(provider.order()), NotSent)
        assert isinstance(await connector.answers(1.0), Unknown)
        assert isinstance(await connector.inquire(QUESTION), Unknown)
        own = provider.connector(decisions=str(tmp_path / "none.toml"))
        with pytest.raises(BadDecisions, match=r"none\.toml cannot be read: No such file or directory"):
            await own.start(_nobody)
        assert isinstance(await own.submit(provider.order()), NotSent)
        assert provider.methods == []


async def test_whether_it_answers() -> None:
    """Asked whether it answers, it fetches a token and nothing else; a refused login is told in words of ours."""
    async with upstream() as provider:
        connector = provider.connector()
        assert isinstance(connector, Answering) and await connector.answers(5.0) is None
        assert [method.lower() for method in provider.methods] == ["getusertoken"]
    async with upstream(getusertoken=refusal("LEAK")) as provider:
        assert await provider.connector().answers(5.0) == Unknown("no token, our login is refused")


async def _nobody(callback: object) -> None:
    raise AssertionError("this provider calls nobody back")


async def test_what_the_api_does_not_have() -> None:
    """It has no balance, no banks and no callbacks, says so in its capabilities, and asks nobody."""
    told: list[tuple[str, ...]] = []
    async with upstream() as provider:
        connector = IntellectMoneyConnector(
            provider.settings(), provider.transport, provider.clock, tell=lambda *alert: told.append(alert)
        )
        assert isinstance(await connector.balance(1.0), Unknown) and isinstance(await connector.banks(1.0), Unknown)
        able = connector.capabilities
        assert (able.callbacks, able.status_by_our_id, able.deduplicates_for_s, able.not_found_final_after_s) == (False, False, 0, None)
        assert able.two_step and able.execute_again_after_s == 60.0
        assert provider.methods == [] and told == []
        provider.says["getoperationstate"] = [state("Paid")]
        await connector.inquire(QUESTION)
        assert told == [("intellectmoney", "ask", "unlisted state Paid", load_decisions().version)]
