"""`disburse connector certify`: the grade, its exit code, what failed in words and as data, and the list that shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Commands
from tests.strangers import installed

SECRET = "s3cr3t-s3cr3t"
ACME = f"[connectors.acme]\nkind = 'unitpay'\nlogin = 'me@example.com'\nsecret_key = '{SECRET}'\nurl = 'http://127.0.0.1:1/api'\n"
PESSIMIST = """
from disburse.connectors.kind import Kind
from disburse.connectors.sandbox_remote import RemoteSandboxConnector, RemoteSandboxSettings
from disburse.connectors.sandbox_simulator import simulate
from disburse.domain.outcomes import Rejected, Unknown

class Pessimist(RemoteSandboxConnector):
    async def submit(self, order):
        outcome = await super().submit(order)
        return Rejected("a fault there") if isinstance(outcome, Unknown) and outcome.why.startswith("HTTP 5") else outcome

def make(name, settings, around):
    return Pessimist(settings.url, around.transport(settings.http), name=name)

KIND = Kind(RemoteSandboxSettings, make, simulator=simulate)
BARE = Kind(RemoteSandboxSettings, make)
"""
THIRD = "[connectors.third]\nkind = 'pessimist'\nurl = 'http://127.0.0.1:1'\n"


@pytest.fixture
def bare(tmp_path: Path) -> Commands:
    """Commands on a data directory without an installation."""
    return Commands(tmp_path)


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[None]:
    with installed(
        tmp_path / "packages", "pessimist", PESSIMIST, {"pessimist": "pessimist:KIND", "bare": "pessimist:BARE"}
    ):
        yield


def settle(commands: Commands, text: str) -> None:
    (commands.data / "disburse.toml").write_text(text, encoding="utf-8")


def test_a_full_grade(bare: Commands) -> None:
    """A connector that keeps the contract ends with 0, its certificate is kept, and the list shows it; the real address is not asked."""
    settle(bare, ACME)
    [told] = bare.ok("connector", "list", "--no-ask")
    assert (told["grade"], told["certificate"]) == ("A", "certified as it ships")
    done = bare.ok("connector", "certify", "acme")
    assert (done["grade"], done["kind"], done["failed"]) == ("A", "unitpay", []) and done["judged"] > 100
    assert {"name": "order-lost-after", "judged": True, "failed": False} in done["scenarios"]
    kept = json.loads(Path(done["certificate"]).read_text("utf-8"))
    assert (kept["grade"], kept["judged"]) == ("A", done["judged"]) and SECRET not in json.dumps([done, kept])
    [told] = bare.ok("connector", "list", "--no-ask")
    assert told["grade"] == "A" and told["certificate"].startswith("certified 20")


def test_a_wrong_connector(bare: Commands, strangers: None) -> None:
    """Exit code 1, the failed scenarios by name with what was expected and what came, and a connector through which nothing is sent."""
    settle(bare, THIRD)
    done = bare("connector", "certify", "third", "--json")
    assert done.code == 1 and done.err == "" and done.json["grade"] == "C"
    [failed] = [one for one in done.json["failed"] if one["scenario"] == "order-502-after"]
    assert (failed["expected"], failed["came"], failed["leaves"]) == ("Unknown", "Rejected", "C")
    assert failed["says"] == "It is carried out; a gateway says 502." and failed["gap"] == "P1 to N2"
    shown = bare("connector", "certify", "third")
    assert shown.code == 1 and "order-502-after" in shown.out and "C: nothing is sent through it" in shown.out
    [told] = bare.ok("connector", "list", "--no-ask")
    assert told["grade"] == "C" and told["capabilities"]["sends"] is False
    assert "C: certified" in bare("connector", "list", "--no-ask").out


def test_what_cannot_be_certified(bare: Commands, strangers: None) -> None:
    """An unknown name, a kind without a simulator, and a provider in this process are refused, each in its words."""
    settle(bare, "[connectors.third]\nkind = 'bare'\nurl = 'http://127.0.0.1:1'\n")
    assert bare.no("connector", "certify", "nobody")["name"] == "no_such_connector"
    assert "brings no simulator of its provider" in bare.no("connector", "certify", "third")["message"]
    error = bare.no("connector", "certify", "sandbox", DISBURSE_SANDBOX="1")
    assert error["name"] == "cannot_be_certified" and "lives in this process" in error["message"]
    assert not (bare.data / "certificates").exists()
