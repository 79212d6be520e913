"""Connectors as an operator configures them: every mistake is told, no secret is, and each instance keeps its own name."""

from __future__ import annotations

import io
import json
import pickle
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from disburse.assembly import Instruments
from disburse.connectors.kind import is_name
from disburse.connectors.sandbox import SandboxConnector, book_of
from disburse.connectors.sandbox_remote import RemoteSandboxConnector
from disburse.connectors.unitpay import UnitPayConnector
from disburse.domain.outcomes import Unknown
from disburse.kinds import Configured, kinds, make_connectors
from disburse.logs import configure
from disburse.settings import BadSettings, Settings, load_settings, plain_settings, settings_from
from disburse.wiring import route_of, routes_of
from disburse.world import real_world
from tests.connectors.certificates import Authority
from tests.connectors.loopback import says, serving
from tests.connectors.unitpay_house import error, http, order
from tests.house.sources import ROOT
from tests.strangers import installed

SECRET = "s3cr3t-s3cr3t"
ACME = f"""
[connectors.acme]
kind = "unitpay"
login = "partner@example.com"
secret_key = "{SECRET}"
"""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def settings_of(directory: Path, text: str, **values: Any) -> Settings:
    file = directory / "disburse.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {}, {"data": str(directory), **values})


def connectors_of(
    directory: Path, text: str, opened: AsyncExitStack, environment: dict[str, str] | None = None, **values: Any
) -> dict[str, Configured]:
    settings = settings_of(directory, text, **values)
    return make_connectors(settings, real_world().clock, directory, opened, environment=environment or {})


def test_the_shipped_kinds_are_registered_as_strangers_are() -> None:
    """pyproject.toml names the kinds that ship, and the installed package has just those."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["disburse.connectors"]
    assert set(declared) == {"sandbox", "sandbox-http", "unitpay", "intellectmoney"}
    assert {name: entry.value for name, entry in kinds().items()} == declared, "install disburse anew: make test does"


async def test_any_number_of_one_kind(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Two accounts at one provider are two connectors, each under its own name, in the order of the file."""
    second = ACME.replace("acme", "acme-2").replace("partner@", "other@") + "rails = ['sbp']\n"
    made = connectors_of(tmp_path, second + ACME, stack)
    assert [(name, one.kind, one.connector.name) for name, one in made.items()] == [
        ("acme-2", "unitpay", "acme-2"), ("acme", "unitpay", "acme"),
    ]  # fmt: skip
    assert all(isinstance(one.connector, UnitPayConnector) for one in made.values())
    assert [len(one.connector.capabilities.rails) for one in made.values()] == [1, 4]


async def test_the_switches_make_sandboxes(tmp_path: Path, stack: AsyncExitStack) -> None:
    """`sandbox` and `sandbox_bank_url` are connectors of the shipped kinds under the names they always had, tried last."""
    made = connectors_of(tmp_path, ACME, stack, sandbox=True, sandbox_bank_url="http://127.0.0.1:1", sandbox_guard=True)
    assert [(name, one.kind, one.in_process) for name, one in made.items()] == [
        ("acme", "unitpay", False), ("sandbox-http", "sandbox-http", False), ("sandbox", "sandbox", True),
    ]  # fmt: skip
    assert isinstance(made["sandbox-http"].connector, RemoteSandboxConnector)
    assert isinstance(made["sandbox"].connector, SandboxConnector)
    assert made["sandbox"].connector.capabilities.deduplicates_for_s > 0
    assert book_of("sandbox") == "sandbox-bank.jsonl" and book_of("second") == "sandbox-bank-second.jsonl"


async def test_beside_a_real_provider_a_sandbox_carries_test_money_alone(tmp_path: Path, stack: AsyncExitStack) -> None:
    """No wage is "paid" by a bank without money because the real one refused it; where all are sandboxes they carry everything."""
    made = [one.connector for one in connectors_of(tmp_path, ACME, stack, sandbox=True).values()]
    real, play = routes_of(made)
    assert real.currencies == {"RUB"} and play.currencies == {"TST"}
    assert routes_of(made[1:]) == [route_of(made[1])]


@pytest.mark.parametrize(
    "text, why",
    [
        ("[connectors.acme]\nlogin = 'x'", "does not say its kind. Known: intellectmoney, sandbox, sandbox-http, unitpay"),
        ("[connectors.acme]\nkind = 7", "does not say its kind"),
        ("[connectors.acme]\nkind = 'unitpai'", "a kind that is not installed: unitpai. Did you mean unitpay?"),
        ("[connectors.acme]\nkind = 'zzz'", "Installed: intellectmoney, sandbox"),
        (ACME + "secret_kay = 'x'", "There is no key secret_kay in [connectors.acme]. Did you mean secret_key?"),
        (ACME + "[connectors.acme.http]\nproxi = 'x'", "There is no key proxi in [connectors.acme.http]. Did you mean proxy?"),
        (ACME + "[connectors.acme.limits.card]\nminimum = 1",
         "There is no key minimum in [connectors.acme.limits.card]. Did you mean minimum_minor?"),
        (ACME + "[connectors.acme.balance_probe]\npurs = 1", "There is no key purs in [connectors.acme.balance_probe]. Did you"),
        (ACME + "[connectors.acme.limits.cart]\nminimum_minor = 1", "A setting in [connectors.acme] is wrong"),
        (ACME + "rails = []", "A setting in [connectors.acme] is wrong"),
        (ACME + "rails = ['qiwi']", "UnitPay does not pay to qiwi"),
        (ACME + "url = 'http://unitpay.ru/api'", "plain http is for this machine alone"),
        (ACME + "spelling = 'round'", "A setting in [connectors.acme] is wrong"),
        (ACME + "[connectors.acme.http]\nproxy = 'http://me:pw@proxy:3128'", "a name and password go into proxy_login"),
        (ACME + "[connectors.acme.http]\nproxy = 'https://proxy:3128'", "proxy is http://HOST:PORT"),
        (ACME + "[connectors.acme.http]\nproxy = 'http://proxy'", "proxy is http://HOST:PORT"),
        (ACME + "[connectors.acme.http]\nproxy = 'http://proxy:port'", "proxy is http://HOST:PORT"),
        (ACME + "[connectors.acme.http]\nproxy_login = 'me:pw'", "proxy_login needs proxy"),
        (ACME + "[connectors.acme.http]\nkey_file = 'x'", "key_file needs certificate_file"),
        (ACME + "[connectors.acme.http]\nconnections = 0", "connections is 1 to 10,000"),
        (ACME.replace("acme", "Acme"), "is no name for a connector"),
        (ACME.replace("acme", "a" * 31), "is no name for a connector"),
        (ACME.replace("[connectors.acme]", '[connectors."a:b"]'), "is no name for a connector"),
        (ACME.replace(f'"{SECRET}"', '""'), "a secret is text"),
        (ACME.replace(f'"{SECRET}"', "7"), "a secret is text"),
        (ACME.replace(f'"{SECRET}"', '{ file = "" }'), "a secret is text"),
        (ACME.replace(f'"{SECRET}"', '{ vault = "x" }'), "a secret is text"),
        (ACME.replace(f'"{SECRET}"', '{ file = "x", environment = "Y" }'), "a secret is text"),
        ("[connectors.sandbox]\nkind = 'sandbox'\n[connectors.sandbox.http]\nproxy = 'x'", "There is no key http"),
    ],
)  # fmt: skip
async def test_a_mistake_is_told_exactly(tmp_path: Path, stack: AsyncExitStack, text: str, why: str) -> None:
    """What is wrong in a connector's table is refused with its place and the nearest that is right, and without any secret."""
    with pytest.raises(BadSettings) as refused:
        connectors_of(tmp_path, text, stack)
    assert why in str(refused.value)
    assert SECRET not in str(refused.value) and "pw@" not in str(refused.value)


@pytest.mark.parametrize("text", ["connectors = 7", "[connectors]\nacme = 'unitpay'", "connectors = ['acme']"])
def test_connectors_are_tables(tmp_path: Path, text: str) -> None:
    """Anything else under `connectors` is refused."""
    with pytest.raises(BadSettings):
        settings_of(tmp_path, text)


async def test_one_name_is_given_once(tmp_path: Path, stack: AsyncExitStack) -> None:
    """A connector called sandbox and the switch of that name do not fight over one name in the books."""
    with pytest.raises(BadSettings, match="switched on as well"):
        connectors_of(tmp_path, "[connectors.sandbox]\nkind = 'sandbox'", stack, sandbox=True)


@pytest.mark.parametrize("name", ["a", "acme", "acme-2", "a1-b2-c3", "a" * 30])
def test_a_name(name: str) -> None:
    """Small letters, digits and single hyphens, a letter first, at most 30."""
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "a--b", "A", "a_b", "a b", "a:b", "a/b", "а", "a\n", "a" * 31])
def test_no_name(name: str) -> None:
    """Whatever would mean something in an account's name, a URL or a file's name is no name."""
    assert not is_name(name)


# --- secrets -----------------------------------------------------------------------------------------------------


async def test_settings_show_no_secret(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Neither the settings nor what is made of them shows a secret, printed, formatted or taken apart by pickle into a repr."""
    settings = settings_of(tmp_path, ACME)
    made = make_connectors(settings, real_world().clock, tmp_path, stack)
    shown = f"{settings!r} {settings} {made!r} {pickle.loads(pickle.dumps(settings))!r}"
    assert SECRET not in shown and "unitpay" in shown


async def test_a_door_process_has_the_same_connectors(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Settings that travel to a process of ours as a line of JSON make the same connectors there."""
    settings = settings_of(tmp_path, ACME + "[connectors.acme.limits.card]\nmaximum_minor = 7\n", sandbox=True)
    arrived = settings_from(json.loads(json.dumps(plain_settings(settings))))
    here, there = (make_connectors(one, real_world().clock, tmp_path, stack) for one in (settings, arrived))
    assert {name: one.connector.capabilities for name, one in here.items()} == {
        name: one.connector.capabilities for name, one in there.items()
    }
    made = there["acme"].connector
    assert isinstance(made, UnitPayConnector) and made._credentials().secret_key == SECRET


@pytest.mark.parametrize("source", ["text", "file", "environment"])
async def test_a_secret_comes_from_where_it_is(tmp_path: Path, stack: AsyncExitStack, source: str) -> None:
    """A secret may stand in the settings, in a file (its last line break is not part of it) or in the environment."""
    (tmp_path / "key").write_text(f"{SECRET}\n", encoding="utf-8")
    written = {"text": f'"{SECRET}"', "file": f'{{ file = "{tmp_path / "key"}" }}', "environment": '{ environment = "KEY" }'}
    text = ACME.replace(f'"{SECRET}"', written[source])
    made = connectors_of(tmp_path, text, stack, {"KEY": SECRET})["acme"].connector
    assert isinstance(made, UnitPayConnector)
    assert made._credentials().secret_key == SECRET


@pytest.mark.parametrize(
    "written, why",
    [
        ('{ file = "no-such-file" }', "The secret in no-such-file cannot be read: No such file or directory."),
        ('{ environment = "NO_SUCH" }', "The variable NO_SUCH, which should hold a secret, is not set."),
        ('{ environment = "EMPTY" }', "is not set"),
    ],
)
async def test_a_missing_secret_stops_the_connector_and_no_other_command(
    tmp_path: Path, stack: AsyncExitStack, written: str, why: str
) -> None:
    """A secret that is not there is found when the connector starts; an installation can be looked at without it."""
    [one] = connectors_of(tmp_path, ACME.replace(f'"{SECRET}"', written), stack, {"EMPTY": " "}).values()
    with pytest.raises(BadSettings) as refused:
        await one.connector.start(_nobody)
    assert why in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
async def test_a_file_without_a_secret_is_refused(tmp_path: Path, stack: AsyncExitStack, content: bytes) -> None:
    """An empty file, one that is no text, and one that is far too long hold no secret."""
    (tmp_path / "key").write_bytes(content)
    [one] = connectors_of(tmp_path, ACME.replace(f'"{SECRET}"', f'{{ file = "{tmp_path / "key"}" }}'), stack).values()
    with pytest.raises(BadSettings):
        await one.connector.start(_nobody)


async def test_certificates_are_read_at_the_start(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Files that do not fit together stop the connector with a sentence; files that do let it start."""
    authority = Authority.create(tmp_path, "authority")
    certificate, key = authority.vouch("us")
    _, other = authority.vouch("them")
    text = ACME + f"[connectors.acme.http]\nca_file = '{authority.file}'\ncertificate_file = '{certificate}'\nkey_file = '%s'\n"
    [wrong] = connectors_of(tmp_path, text % other, stack).values()
    with pytest.raises(BadSettings, match=r"The certificates of \[connectors.acme.http\] cannot be used"):
        await wrong.connector.start(_nobody)
    [right] = connectors_of(tmp_path, text % key, stack).values()
    await right.connector.start(_nobody)


async def _nobody(callback: object) -> None:
    raise AssertionError("nobody calls back")


# --- alerts ------------------------------------------------------------------------------------------------------


async def test_an_alert_is_a_line_and_a_figure(tmp_path: Path, stack: AsyncExitStack) -> None:
    """What needs a person is logged at level error with the provider's code and the table's version, and counted."""
    written, instruments = io.StringIO(), Instruments(real_world())
    configure(real_world().clock, stream=written, pretty=False)
    serve = await stack.enter_async_context(serving())
    server = await serve(says(http(error(777))))
    settings = settings_of(tmp_path, ACME + f"url = 'http://127.0.0.1:{server.port}/api'")
    made = make_connectors(settings, real_world().clock, tmp_path, stack, instruments.gauges.alerted)
    assert await made["acme"].connector.submit(order()) == Unknown("error 777, which is not listed")
    [line] = [json.loads(line) for line in written.getvalue().splitlines()]
    assert {name: line[name] for name in ("level", "event", "connector", "alert", "code", "version")} == {
        "level": "error", "event": "a provider needs a person", "connector": "acme", "alert": "unlisted_code", "code": 777,
        "version": "2026-11-21",
    }  # fmt: skip
    counted = instruments.metrics.registry.get_sample_value("disburse_alerts_total", {"connector": "acme", "alert": "unlisted_code"})
    assert counted == 1


# --- strangers ---------------------------------------------------------------------------------------------------

BAD = {
    "raises": ("raise LookupError('s3cr3t-s3cr3t')", "stranger:KIND", "cannot be loaded from stranger:KIND: LookupError"),
    "lacks": ("", "stranger:KIND", "cannot be loaded"),
    "no_kind": ("KIND = 'unitpay'", "stranger:KIND", "is no Kind"),
    "renames": (
        "from disburse.connectors.kind import Kind\nfrom disburse.connectors.sandbox import SandboxConnector, SandboxSettings\n"
        "KIND = Kind(SandboxSettings, lambda name, settings, around: SandboxConnector(around.spool('x'), around.clock))\n",
        "stranger:KIND", "gives its connectors names of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_a_stranger_that_is_no_use_is_told(tmp_path: Path, stack: AsyncExitStack, case: str) -> None:
    """A package that cannot be loaded, is no kind, or renames its connectors is refused by name, whatever it raises."""
    source, entry, why = BAD[case]
    with installed(tmp_path / "packages", "stranger", source, {"strange": entry}):
        with pytest.raises(BadSettings) as refused:
            connectors_of(tmp_path, "[connectors.acme]\nkind = 'strange'", stack)
        assert why in str(refused.value) and SECRET not in str(refused.value)


async def test_nobody_takes_the_name_of_another_kind(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Two packages that bring one kind are told, and neither is used: money must not go where a package's order on a path says."""
    with installed(tmp_path / "packages", "stranger", "", {"unitpay": "stranger:KIND"}), pytest.raises(BadSettings) as refused:
        connectors_of(tmp_path, ACME, stack)
    assert "Two packages bring a kind of connector called unitpay" in str(refused.value)


async def test_a_stranger_is_imported_only_when_it_is_configured(tmp_path: Path, stack: AsyncExitStack) -> None:
    """A broken package that nobody uses hurts nobody."""
    with installed(tmp_path / "packages", "stranger", "raise LookupError", {"strange": "stranger:KIND"}):
        assert list(connectors_of(tmp_path, ACME, stack)) == ["acme"]
