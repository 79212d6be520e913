"""`disburse connector`: what is configured and whether it answers, asked without a database, telling no secret."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from disburse.connectors.sandbox_wire import NOT_FOUND
from tests.cli.conftest import Commands
from tests.conformance.running import Running, running
from tests.connectors.loopback import says, serving
from tests.connectors.unitpay_house import http

SECRET = "s3cr3t-s3cr3t"


@pytest.fixture
def bare(tmp_path: Path) -> Commands:
    """Commands on a data directory without an installation: the settings alone say which connectors there are."""
    return Commands(tmp_path)


@contextmanager
def answering(body: Any, status: int = 200) -> Iterator[str]:
    """A provider in a thread of its own, which says one thing to everybody."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    where: list[str] = []

    async def live() -> None:
        async with serving() as serve:
            where.append(f"http://127.0.0.1:{(await serve(says(http(body, status)))).port}/api")
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield where[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def configure(commands: Commands, url: str, *, secret: str = f'"{SECRET}"', more: str = "") -> None:
    text = f"[connectors.acme]\nkind = 'unitpay'\nlogin = 'me@example.com'\nsecret_key = {secret}\nurl = '{url}'\n{more}"
    (commands.data / "disburse.toml").write_text(text, encoding="utf-8")


FUNDS = {"result": {"email": "me@example.com", "balance": "250.00", "balance_payout": "245.03"}}


def test_the_list_tells_kind_promises_and_whether_it_answers(bare: Commands) -> None:
    """Name, kind and capabilities of each connector, and whether its provider answers; never a secret."""
    with answering(FUNDS) as url:
        configure(bare, url, more="[connectors.acme.limits.card]\nmaximum_minor = 6000000\n[connectors.acme.fees.card]\nbasis_points = 350\n")
        [told] = bare.ok("connector", "list")
        shown = bare("connector", "list")
    assert (told["name"], told["kind"], told["reachable"], told["why"]) == ("acme", "unitpay", True, None)
    assert told["balance"] == [{"amount": "245.03", "currency": "RUB"}]
    able = told["capabilities"]
    assert able["rails"] == ["card", "sbp", "usdt", "webmoney"] and able["currencies"] == ["RUB"]
    assert able["deduplicates_for_ever"] is True and able["deduplicates_for_s"] is None
    assert able["limits"] == [{"rail": "card", "currency": "RUB", "minimum": "0.01", "maximum": "60000.00"}]
    assert able["fees"] == [{"rail": "card", "currency": "RUB", "basis_points": 350, "minimum": "0.00", "maximum": None}]
    assert shown.code == 0 and "harmless for ever" in shown.out and "acme" in shown.out
    assert SECRET not in json.dumps(told) + shown.out + shown.err


def test_a_provider_that_does_not_answer_is_told(bare: Commands) -> None:
    """The list says who does not answer and why; `check` says it with its exit code."""
    configure(bare, "http://127.0.0.1:1/api")
    [told] = bare.ok("connector", "list")
    assert (told["reachable"], told["why"]) == (False, "the connection is refused")
    done = bare("connector", "check", "acme", "--json")
    assert done.code == 1 and done.json["reachable"] is False
    assert bare("connector", "check", "acme").code == 1


def test_a_refused_key_is_an_answer_that_helps(bare: Commands) -> None:
    """A provider that refuses our key is not called reachable, and its code is told."""
    with answering({"error": {"message": f"wrong {SECRET}", "code": -32000}}) as url:
        configure(bare, url)
        done = bare("connector", "check", "acme")
    assert done.code == 1 and "error -32000" in done.out
    assert SECRET not in done.out + done.err


def test_one_missing_secret_hides_no_other_connector(bare: Commands) -> None:
    """A secret that is not there is told in the list, beside connectors that have theirs."""
    with answering(FUNDS) as url:
        second = f"[connectors.other]\nkind = 'unitpay'\nlogin = 'x'\nsecret_key = '{SECRET}'\nurl = '{url}'\n"
        configure(bare, url, secret='{ environment = "ACME_KEY" }', more=second)
        first, other = bare.ok("connector", "list")
        assert first["reachable"] is False and "ACME_KEY" in first["why"] and other["reachable"] is True
        first, other = bare.ok("connector", "list", ACME_KEY=SECRET)
        assert first["reachable"] is True


def test_the_list_can_be_had_without_asking_anybody(bare: Commands) -> None:
    """With --no-ask no provider hears of it; a sandbox in the process has nobody to be asked."""
    configure(bare, "http://127.0.0.1:1/api")
    assert [one["reachable"] for one in bare.ok("connector", "list", "--no-ask")] == [None]
    assert [one["reachable"] for one in bare.ok("connector", "list", DISBURSE_SANDBOX="1")] == [False, None]


def test_a_stand_alone_sandbox_bank_is_asked_about_an_id_that_never_was(bare: Commands) -> None:
    """A provider without a balance is asked what became of nothing, which moves nothing."""
    with answering(NOT_FOUND, 404) as url:
        [told] = bare.ok("connector", "list", DISBURSE_SANDBOX_BANK_URL=url)
        assert told["kind"] == "sandbox-http" and told["reachable"] is True


def test_mistakes_are_told(bare: Commands) -> None:
    """An unknown name, a list of banks that is not offered, and settings that are wrong each have their own words and code."""
    assert "No connector is configured. Kinds that are installed: intellectmoney, sandbox, sandbox-http, unitpay." in bare("connector", "list").out
    done = bare("connector", "check", "acme", "--json")
    assert done.code == 1 and done.json["error"]["name"] == "no_such_connector"
    done = bare("connector", "check", "sandbox", "--banks", DISBURSE_SANDBOX="1")
    assert done.code == 2 and "has no list of banks" in done.err
    configure(bare, "http://example.com/api")
    done = bare("connector", "list")
    assert done.code == 2 and "plain http is for this machine alone" in done.err and SECRET not in done.err


@pytest.fixture
def far(server: Callable[[str], str], template: str, tmp_path: Path) -> Iterator[Running]:
    with running(server, template, tmp_path / "far") as one:
        yield one


def test_our_own_door_is_checked(bare: Commands, far: Running) -> None:
    """Pointed at a Disburse, `check` tells the merchant's balance and the banks that can be paid to."""
    made = far.merchant(funds="77.50")
    url = f"http://127.0.0.1:{far.port}/api"
    text = f"[connectors.acme]\nkind = 'unitpay'\nlogin = '{made.merchant.login}'\nsecret_key = '{made.unitpay_secret_key}'\nurl = '{url}'\n"
    (bare.data / "disburse.toml").write_text(text, encoding="utf-8")
    told = bare.ok("connector", "check", "acme", "--banks")
    assert told["balance"] == [{"amount": "77.50", "currency": "RUB"}]
    assert {"bank_id": "100000000001", "name": "Газпромбанк", "name_en": "Gazprombank"} in told["banks"]
    shown = bare("connector", "check", "acme", "--banks")
    assert shown.code == 0 and "77.50 RUB" in shown.out and "Gazprombank" in shown.out
    assert made.unitpay_secret_key not in shown.out + json.dumps(told)


def test_our_own_intellectmoney_door_is_checked(bare: Commands, far: Running) -> None:
    """A provider that has no balance and knows no id of ours is asked for a token: the right password is taken, a wrong one told."""
    made = far.merchant()
    text = (
        "[connectors.im]\nkind = 'intellectmoney'\ngeneration = 'old'\nlogin = '%s'\npassword = '%s'\n"
        f"base_url = 'http://127.0.0.1:{far.port}'\n"
    )
    (bare.data / "disburse.toml").write_text(text % (made.merchant.login, made.password), encoding="utf-8")
    [told] = bare.ok("connector", "list")
    assert (told["name"], told["kind"], told["reachable"], told["why"]) == ("im", "intellectmoney", True, None)
    assert told["capabilities"]["two_step"] is True and told["capabilities"]["rails"] == ["card", "qiwi"]
    assert told["capabilities"]["deduplicates_for_s"] == 0
    (bare.data / "disburse.toml").write_text(text % (made.merchant.login, SECRET), encoding="utf-8")
    done = bare("connector", "check", "im")
    assert done.code == 1 and "no token, our login is refused" in done.out and SECRET not in done.out + done.err
