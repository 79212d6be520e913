"""Which certificate counts for a connector, and what becomes of payouts whose connector has none."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from disburse.certificates import Standing, code_of, read, shipped, standing_of, store
from disburse.certify.certificate import Certificate, Grade, covers, grade_of, promises_of
from disburse.connectors import unitpay
from disburse.connectors.contract import Capabilities
from disburse.connectors.kind import GROUP
from disburse.domain.destinations import Rail
from disburse.domain.payout import PayoutState
from disburse.domain.routing import Freight, Objection, Route, Why, decide, may_go_elsewhere
from disburse.kinds import make_connectors
from disburse.operations.explain_routing import say_decision
from disburse.settings import BadSettings, Settings, load_settings
from disburse.wiring import routes_of, working
from disburse.world import real_world
from tests.strangers import installed
from tests.test_working import house_of, pay, rich_merchant, until

ABLE = Capabilities(frozenset({Rail.CARD}), frozenset({"RUB"}), deduplicates_for_s=100.0, not_found_final_after_s=10.0, callbacks=True)
CERTIFICATE = Certificate(
    kind="strange", code="x 1", grade=Grade.A, promises=promises_of(ABLE), judged=1, failures=[], at="2026-11-21T00:00:00+00:00"
)
SOURCE = """
from disburse.connectors.kind import Kind
from disburse.connectors.sandbox_remote import KIND as OURS
from disburse.connectors.sandbox_simulator import simulate
KIND = Kind(OURS.settings, OURS.make, simulator=simulate)
"""
TABLE = "[connectors.acme]\nkind = 'strange'\nurl = 'http://127.0.0.1:1'\n"


@pytest.mark.parametrize(
    "change, covered",
    [
        ({}, True),
        ({"deduplicates_for_s": 50.0}, True),
        ({"deduplicates_for_s": 101.0}, False),
        ({"deduplicates_for_s": float("inf")}, False),
        ({"not_found_final_after_s": None}, True),
        ({"not_found_final_after_s": 11.0}, True),
        ({"not_found_final_after_s": 9.0}, False),
        ({"callbacks": False}, True),
        ({"two_step": True}, False),
        ({"execute_again_after_s": 1.0}, False),
        ({"rails": frozenset({Rail.SBP})}, True),
    ],
    ids=str,
)
def test_a_certificate_covers_what_was_tried(change: dict[str, object], covered: bool) -> None:
    """As much as was promised when it was tried, or less; never more."""
    assert covers(CERTIFICATE, "strange", "x 1", replace(ABLE, **change)) is covered  # type: ignore[arg-type]


def test_a_certificate_is_of_a_kind_and_code() -> None:
    """Another kind's, or other code's, does not count."""
    assert not covers(CERTIFICATE, "other", "x 1", ABLE) and not covers(CERTIFICATE, "strange", "x 2", ABLE)
    promises = msgspec.structs.replace(CERTIFICATE.promises, deduplicates_for_s=None)
    forever = msgspec.structs.replace(CERTIFICATE, promises=promises)
    assert covers(forever, "strange", "x 1", replace(ABLE, deduplicates_for_s=float("inf")))


@pytest.mark.parametrize("costs, grade", [([], "A"), (["B"], "B"), (["B", "C", "B"], "C")])
def test_the_worst_decides(costs: list[str], grade: str) -> None:
    """The grade is the least that any failed scenario leaves."""
    assert grade_of(costs) == grade


def test_a_certificate_is_kept(tmp_path: Path) -> None:
    """What was stored is read again; one that cannot be read is told, and never taken for none."""
    assert read(tmp_path, "acme") is None
    path = store(tmp_path, "acme", CERTIFICATE)
    assert read(tmp_path, "acme") == CERTIFICATE
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BadSettings, match="Certify acme again"):
        read(tmp_path, "acme")


def test_a_strangers_code_is_known_by_its_files(tmp_path: Path) -> None:
    """A changed file is other code; ours is known by our version."""
    found = []
    for n, source in enumerate((SOURCE, SOURCE + "# changed\n", SOURCE)):
        with installed(tmp_path / str(n), "stranger", source, {"strange": "stranger:KIND"}):
            [entry] = [one for one in metadata.entry_points(group=GROUP) if one.name == "strange"]
            found.append(code_of(entry, entry.load()))
    assert found[0] == found[2] != found[1] and found[0].startswith("stranger 1.0 sha256:")
    assert code_of(metadata.EntryPoint("unitpay", "disburse.connectors.unitpay:KIND", GROUP), unitpay.KIND).startswith("Disburse ")


def _settings(directory: Path, text: str) -> Settings:
    (directory / "disburse.toml").write_text(text, encoding="utf-8")
    return load_settings(directory / "disburse.toml", {}, {"data": str(directory)})


async def _standing(directory: Path, text: str) -> tuple[Standing, Capabilities]:
    with installed(directory / "packages", "stranger", SOURCE, {"strange": "stranger:KIND"}):
        async with AsyncExitStack() as opened:
            [one] = make_connectors(_settings(directory, text), real_world().clock, directory, opened).values()
            return one.standing, one.connector.capabilities


async def test_without_a_certificate_nothing_is_sent(tmp_path: Path) -> None:
    """A stranger's connector that nobody certified may not send."""
    standing, able = await _standing(tmp_path, TABLE)
    assert (standing.grade, standing.why, able.sends) == (Grade.C, "no certificate", False)


async def test_an_operator_may_let_it_send(tmp_path: Path) -> None:
    """`uncertified = true` lets it send without any promise; the word is checked, and it is no word against a bad certificate."""
    standing, able = await _standing(tmp_path, TABLE + "uncertified = true\n")
    assert standing.grade is Grade.B and able.sends and "the settings let it send" in standing.why
    bad = msgspec.structs.replace(CERTIFICATE, grade=Grade.C, promises=promises_of(able), code="")
    with installed(tmp_path / "more", "stranger", SOURCE, {"strange": "stranger:KIND"}):
        [entry] = [one for one in metadata.entry_points(group=GROUP) if one.name == "strange"]
        store(tmp_path, "acme", msgspec.structs.replace(bad, code=code_of(entry, entry.load())))
        told = standing_of("acme", "strange", entry.load(), entry, able, tmp_path, uncertified=True)
    assert told.grade is Grade.C
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(BadSettings, match="uncertified is true or false"):
        await _standing(other, TABLE + "uncertified = 1\n")


async def test_what_ships_is_certified(tmp_path: Path) -> None:
    """The kinds that ship have grade A out of the box, and a certificate of their own counts before the shipped one."""
    text = "[connectors.acme]\nkind = 'unitpay'\nlogin = 'x'\nsecret_key = 'x'\n"
    async with AsyncExitStack() as opened:
        [one] = make_connectors(_settings(tmp_path, text), real_world().clock, tmp_path, opened).values()
        assert (one.standing.grade, one.standing.why) == (Grade.A, "certified as it ships")
        [mine] = [cert for cert in shipped() if cert.kind == "unitpay"]
        [entry] = [found for found in metadata.entry_points(group=GROUP) if found.name == "unitpay"]
        store(tmp_path, "acme", msgspec.structs.replace(mine, grade=Grade.B, code=code_of(entry, entry.load())))
        [one] = make_connectors(_settings(tmp_path, text), real_world().clock, tmp_path, opened).values()
        assert one.standing.grade is Grade.B and one.made.capabilities.deduplicates_for_s > 0
        assert one.connector.capabilities.deduplicates_for_s == 0


# --- routing -----------------------------------------------------------------------------------------------------

BARRED = Route("acme", frozenset({"card"}), frozenset({"RUB"}), barred=True)
OPEN = Route("other", frozenset({"card"}), frozenset({"RUB"}))
FREIGHT = Freight("card", "RUB", 100)


def test_a_barred_route_waits() -> None:
    """What only a barred route could carry waits for its certificate, and the reason is told; another route is taken meanwhile."""
    decision = decide([BARRED], FREIGHT)
    assert decision.waits and decision.objections == (Objection("acme", Why.CERTIFICATE),)
    assert "it has no certificate that lets it send; so it waits" in say_decision(decision)
    assert decide([BARRED, OPEN], FREIGHT).chosen == "other"
    assert not may_go_elsewhere([BARRED], FREIGHT) and may_go_elsewhere([BARRED, OPEN], FREIGHT)


async def test_payouts_wait_for_a_certificate(dsn: str, tmp_path: Path) -> None:
    """A payout whose only connector is not certified is queued and not failed, and is paid once there is a certificate."""
    table = {"kind": "strange", "url": "http://127.0.0.1:1"}
    with installed(tmp_path / "packages", "stranger", SOURCE, {"strange": "stranger:KIND"}):
        async with house_of(dsn, tmp_path / "data", connectors={"acme": table}) as house:
            assert [route.barred for route in routes_of(list(house.connectors.values()))] == [True]
            payout = await pay(house, await rich_merchant(house), "10.00")
            async with working(house, api=True, workers=True):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await until(house, payout, PayoutState.FAILED, PayoutState.IN_FLIGHT, PayoutState.IN_DOUBT)
        async with house_of(dsn, tmp_path / "data", sandbox=True, connectors={"acme": table}) as house:
            # It would be looked at again within half a minute; nobody wants to wait for that here.
            await house.database.run(lambda tx: tx.execute("UPDATE attempts SET due_at = '2000-01-01Z' WHERE state = 'due'"))
            async with working(house, api=True, workers=True):
                await until(house, payout, PayoutState.PAID)
