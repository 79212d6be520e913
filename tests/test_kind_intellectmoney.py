"""IntellectMoney as an operator configures it: a table of the settings file becomes a connector, and every mistake is told."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from disburse.assembly import Instruments
from disburse.connectors.contract import Question
from disburse.connectors.intellectmoney import IntellectMoneyConnector
from disburse.connectors.intellectmoney_alerts import WORDS, word_of
from disburse.connectors.intellectmoney_table import BadDecisions
from disburse.domain.destinations import Rail
from disburse.domain.outcomes import Unknown
from disburse.kinds import make_connectors
from disburse.logs import configure
from disburse.settings import BadSettings
from disburse.world import real_world
from tests.connectors.upstream import GUID, state, upstream
from tests.test_kinds import connectors_of, settings_of

SECRET = "s3cr3t-s3cr3t"
IM = f"""
[connectors.im]
kind = "intellectmoney"
login = "works@example.com"
password = "{SECRET}"
bearer = "{SECRET}"
sign_secret_key = "{SECRET}"
"""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def test_both_generations_are_configured(tmp_path: Path, stack: AsyncExitStack) -> None:
    """One kind, two accounts: the new generation pays cards and by SBP, the old one cards and wallets; each keeps its name."""
    old = "[connectors.im-old]\nkind = 'intellectmoney'\ngeneration = 'old'\nlogin = 'x'\npassword = 'y'\n"
    made = connectors_of(tmp_path, IM + "http = { connections = 7 }\n" + old, stack)
    assert [(name, one.kind, one.connector.name, one.in_process) for name, one in made.items()] == [
        ("im", "intellectmoney", "im", False), ("im-old", "intellectmoney", "im-old", False),
    ]  # fmt: skip
    assert all(isinstance(one.connector, IntellectMoneyConnector) for one in made.values())
    assert made["im"].connector.capabilities.rails == {Rail.CARD, Rail.SBP}
    assert made["im-old"].connector.capabilities.rails == {Rail.CARD, Rail.QIWI}
    assert made["im"].connector.capabilities.two_step


@pytest.mark.parametrize(
    "text, why",
    [
        (IM.replace("password", "pasword"), "There is no key pasword in [connectors.im]. Did you mean password?"),
        (IM + "generation = 'newest'", "A setting in [connectors.im] is wrong"),
        (IM.replace("bearer", "# "), "bearer is missing: the new generation needs it"),
        (IM + "base_url = 'http://example.com'\ntoken_s = 0", "secrets and cards; token_s is more than 0"),
        (IM + "[connectors.im.http]\nproxi = 'x'", "There is no key proxi in [connectors.im.http]. Did you mean proxy?"),
        (IM + "[connectors.im.http]\nconnections = 0", "connections is 1 to 10,000"),
        (IM.replace(f'password = "{SECRET}"', 'password = ""'), "a secret is text"),
    ],
)  # fmt: skip
async def test_a_mistake_is_told_exactly(tmp_path: Path, stack: AsyncExitStack, text: str, why: str) -> None:
    """What is wrong in the table is refused with its place, and without any secret."""
    with pytest.raises(BadSettings) as refused:
        connectors_of(tmp_path, text, stack)
    assert why in str(refused.value) and SECRET not in str(refused.value)


@pytest.mark.parametrize("written, why", [
    ('{ environment = "NO_SUCH" }', "The variable NO_SUCH, which should hold a secret, is not set."),
    ('"a\\u0007b"', "password holds a character that cannot be printed"),
])  # fmt: skip
async def test_a_secret_is_read_when_the_connector_starts(tmp_path: Path, stack: AsyncExitStack, written: str, why: str) -> None:
    """A house with a secret that is missing or cannot be one can be looked at; only starting the connector tells of it."""
    text = IM.replace(f'password = "{SECRET}"', f"password = {written}")
    [one] = connectors_of(tmp_path, text, stack).values()
    with pytest.raises(Exception) as refused:
        await one.connector.start(_nobody)
    assert why in str(refused.value) and SECRET not in str(refused.value)


async def test_an_own_table_that_is_not_there_stops_the_connector(tmp_path: Path, stack: AsyncExitStack) -> None:
    """The decision table is read at the start too: making a connector opens nothing."""
    [one] = connectors_of(tmp_path, IM + f"decisions = '{tmp_path / 'none.toml'}'", stack).values()
    with pytest.raises(BadDecisions, match="cannot be read"):
        await one.connector.start(_nobody)


async def test_nothing_shows_a_secret(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Neither the settings nor the connector shows a secret, the login included."""
    settings = settings_of(tmp_path, IM)
    shown = f"{settings!r} {make_connectors(settings, real_world().clock, tmp_path, stack)!r}"
    assert SECRET not in shown and "works@example.com" not in shown


async def test_an_alert_is_a_sentence_and_a_figure(tmp_path: Path, stack: AsyncExitStack) -> None:
    """What needs a person is a sentence in the log, an alert as all kinds give it, and a figure whose label is one of a few words."""
    written, instruments = io.StringIO(), Instruments(real_world())
    configure(real_world().clock, stream=written, pretty=False)
    async with upstream(getoperationstate=state("Paid")) as provider:
        settings = settings_of(tmp_path, IM + f"base_url = 'http://127.0.0.1:{provider.server.port}'")
        made = make_connectors(settings, real_world().clock, tmp_path, stack, instruments.gauges.alerted)
        assert await made["im"].connector.inquire(Question("id-1", GUID, 5.0)) == Unknown("ask: unlisted state Paid")
    sentence, alert = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (sentence["event"], sentence["operation"], sentence["why"]) == ("alert_provider_answer", "ask", "unlisted state Paid")
    assert {name: alert[name] for name in ("level", "event", "connector", "alert", "version")} == {
        "level": "error", "event": "a provider needs a person", "connector": "im", "alert": "unlisted_state",
        "version": sentence["version"],
    }  # fmt: skip
    labels = {"connector": "im", "alert": "unlisted_state"}
    assert instruments.metrics.registry.get_sample_value("disburse_alerts_total", labels) == 1


@pytest.mark.parametrize("why, word", [
    ("our login is refused", "login_refused"), ("unlisted state Paid", "unlisted_state"), ("unlisted code 7", "unlisted_code"),
    ("state NotEnoughMoney", "provider_short_of_money"), ("state Error", "state_needs_a_person"),
    ("refused, [WRONG_SIGN]", "access_refused"),
    ("refused, code 2, for a reason that is not in the table", "unlisted_refusal"), ("something new", "provider_answer"),
])  # fmt: skip
def test_the_words_of_alerts(why: str, word: str) -> None:
    """Every sentence has its word, and no sentence makes a new one."""
    assert word_of(why) == word and word in {*dict(WORDS).values(), "provider_answer"}


async def _nobody(callback: object) -> None:
    raise AssertionError("nobody calls back")
