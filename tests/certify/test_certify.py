"""Certification: connectors that keep the contract get their grade, wrong ones fail by the scenario that shows why."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from disburse.certificates import shipped
from disburse.certification import CannotBeCertified, Certified, certify_kind
from disburse.certify.certificate import Grade
from disburse.certify.faults import FAULTS
from disburse.certify.scenarios import SCENARIOS
from disburse.connectors import intellectmoney, sandbox, sandbox_remote, unitpay
from disburse.connectors.kind import GROUP, Kind
from disburse.connectors.sandbox_remote import RemoteSandboxConnector, RemoteSandboxSettings
from disburse.world import real_world
from tests.certify import wrong

ENTRY = metadata.EntryPoint("certified", "disburse.connectors.unitpay:KIND", GROUP)
UNITPAY = {"login": "x", "secret_key": "x"}
NEW = {"login": "x", "password": "x", "bearer": "x", "sign_secret_key": "x"}
OLD = {"login": "x", "password": "x", "generation": "old"}
SHIPPED: list[tuple[str, Kind, dict[str, Any]]] = [
    ("unitpay", unitpay.KIND, UNITPAY),
    ("sandbox-http", sandbox_remote.KIND, {"url": "http://127.0.0.1:1"}),
    ("sandbox-http", sandbox_remote.KIND, {"url": "http://127.0.0.1:1", "guard": True}),
    ("intellectmoney", intellectmoney.KIND, NEW),
    ("intellectmoney", intellectmoney.KIND, OLD),
]


async def certified(directory: Path, kind: Kind, values: Mapping[str, Any], name: str = "certified") -> Certified:
    return await certify_kind(name, kind, ENTRY, values, real_world().clock, directory)


@pytest.mark.parametrize("number", range(len(SHIPPED)), ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(SHIPPED)])
async def test_what_ships_keeps_its_grade(tmp_path: Path, number: int) -> None:
    """Each kind that ships passes every scenario in each way that its promises differ, and ships just that certificate."""
    name, kind, values = SHIPPED[number]
    done = await certified(tmp_path, kind, values, name)
    assert [(one.scenario.name, one.fault, one.came) for one in done.results if one.failed] == []
    recorded = shipped()[number]
    assert len(shipped()) == len(SHIPPED)
    made = done.certificate
    assert (recorded.kind, recorded.grade, recorded.promises, recorded.judged, recorded.failures) == (
        made.kind, Grade.A, made.promises, made.judged, made.failures,
    ), "make the certificates again: python -m scripts.certificates"  # fmt: skip


async def test_unitpay_in_its_other_spelling(tmp_path: Path) -> None:
    """The operator's own keys are certified with the code: calls by POST and flat pass as well."""
    done = await certified(tmp_path, unitpay.KIND, {**UNITPAY, "http_method": "POST", "spelling": "flat"})
    assert done.certificate.grade is Grade.A and done.certificate.judged > 100


REPEATS = {"repeat-of-paid", "repeat-of-lost-answer", "repeat-of-late-order", "repeat-days-later", "repeat-after-restart"}
CASES: list[tuple[type[RemoteSandboxConnector], Grade, set[str]]] = [
    (wrong.Boaster, Grade.B, REPEATS),
    (wrong.Pessimist, Grade.C, {"order-5xx-before", "order-503-empty-before", "order-500-page-after", "order-502-after",
                                "order-500-own-words-after", "order-504-after", "order-internal-fault"}),
    (wrong.Believer, Grade.C, {"question-404-page-before", "question-404-page-after", "question-not-known-though-paid",
                               "question-flapping", "order-late", "provider-forgot"}),
    (wrong.Impatient, Grade.C, {"order-time-out-after", "order-hangs-before", "order-late", "order-drip-feed-after"}),
    (wrong.Innocent, Grade.C, {"order-lost-after", "order-reset-on-connect", "order-lost-before", "proxy-502"}),
    (wrong.Stubborn, Grade.C, {"order-lost-after", "order-lost-before", "order-unlisted-code"}),
    (wrong.Careless, Grade.C, {"order-another-sum"}),
    (wrong.Fragile, Grade.C, {"order-page-after", "order-garbage-after", "order-half-json-after", "order-no-state"}),
    (wrong.Credulous, Grade.B, {"callback-forged-paid", "callback-forged-refused", "callback-unsigned-paid", "callback-spliced"}),
    (wrong.Mute, Grade.C, {"order-paid", "order-lost-after"}),
]  # fmt: skip


@pytest.mark.parametrize("made, grade, names", CASES, ids=[made.__name__ for made, _, _ in CASES])
async def test_a_wrong_connector_fails_by_name(
    tmp_path: Path, made: type[RemoteSandboxConnector], grade: Grade, names: set[str]
) -> None:
    """A connector that is wrong in one way gets the grade that makes it harmless, and the scenarios that show why are named."""
    done = await certified(tmp_path, wrong.kind_of(made), {"url": "http://127.0.0.1:1"})
    failed = {one.scenario.name: one for one in done.results if one.failed}
    assert done.certificate.grade is grade
    assert names <= set(failed), names - set(failed)
    assert "nobody-listens" not in failed and "tls-other-name" not in failed
    for name in names:
        assert failed[name].fault and failed[name].came, name


async def test_a_wrong_word_is_told_exactly(tmp_path: Path) -> None:
    """What was expected and what came stand in the certificate, for a person who must mend it."""
    done = await certified(tmp_path, wrong.kind_of(wrong.Pessimist), {"url": "http://127.0.0.1:1"})
    told = {one.scenario: (one.expected, one.came) for one in done.certificate.failures}
    assert told["order-502-after"] == ("expected Unknown", "Rejected")
    done = await certified(tmp_path, wrong.kind_of(wrong.Boaster), {"url": "http://127.0.0.1:1"})
    told = {one.scenario: (one.expected, one.came) for one in done.certificate.failures}
    assert told["repeat-of-paid"] == ("expected one payment at most", "the provider paid 2 times")


@pytest.mark.parametrize(
    "kind, why",
    [(sandbox.KIND, "lives in this process"), (Kind(RemoteSandboxSettings, sandbox_remote.KIND.make), "brings no simulator")],
    ids=["in process", "no simulator"],
)
async def test_what_cannot_be_certified_is_told(tmp_path: Path, kind: Kind, why: str) -> None:
    """A provider without a wire, and a kind without a simulator, are refused with the reason."""
    with pytest.raises(CannotBeCertified, match=why):
        await certified(tmp_path, kind, {})


def test_the_table_is_whole() -> None:
    """Every scenario has a name of its own, a sentence, the gap that it comes from, and something that is judged."""
    names = [one.name for one in SCENARIOS]
    assert len(names) == len(set(names)) and len(FAULTS) >= 40
    for one in SCENARIOS:
        assert one.says.endswith(".") and one.gap and one.acts and one.costs in ("B", "C"), one.name
    struck = {act.fault.name for one in SCENARIOS for act in one.acts if act.fault is not None}
    assert struck == {fault.name for fault in FAULTS}
