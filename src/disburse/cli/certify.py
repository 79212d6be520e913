"""`disburse connector certify`: hostile scenarios against a connector, and the grade that they come to.

Lives here: the command and what it prints. No database is opened, no provider is asked: all of it happens on loopback.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from structlog.testing import capture_logs

from disburse.certificates import store
from disburse.certification import Certified, certify_connector
from disburse.certify.certificate import Grade
from disburse.certify.run import Result
from disburse.cli import show
from disburse.cli.place import HERE, Place
from disburse.world import real_world

_LEAVES: Final = {
    Grade.A: "it may use all that it promises",
    Grade.B: "it sends and asks; none of its promises beyond that is used, and callbacks are hints",
    Grade.C: "nothing is sent through it",
}


def certify(name: str, /, *, place: Place = HERE) -> int:
    """Try a connector against a provider that misbehaves, on this machine alone, and keep the grade. Exit 1 unless it is A.

    Its provider is simulated by its kind, so nothing leaves the machine and no money moves. The certificate is kept in the
    data directory and holds until the connector's code or promises change.

    Parameters
    ----------
    name:
        The connector's name in the settings file.
    """
    settings = place.load()
    with (
        tempfile.TemporaryDirectory(prefix="disburse-certify-") as directory,
        show.waiting(f"certifying {name}"),
        capture_logs(),  # the provider errs on purpose: alerts about it are nobody's news
    ):
        done = asyncio.run(certify_connector(settings, name, real_world().clock, Path(directory)))
    path = store(Path(settings.data), name, done.certificate)
    if place.json:
        show.say_json(_for_scripts(name, path, done))
    else:
        _for_people(name, path, done)
    return 0 if done.certificate.grade is Grade.A else 1


def _for_people(name: str, path: Path, done: Certified) -> None:
    certificate = done.certificate
    groups: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for one in done.results:
        group = one.scenario.name.split("-")[0]
        groups[group] += one.judged
        failed[group] += one.failed
    names = {"order": "orders", "make": "first of two steps", "token": "tokens", "question": "questions", "callback": "callbacks",
             "repeat": "repeats", "tls": "TLS", "proxy": "proxies"}  # fmt: skip
    rows = [(names[group], groups[group], failed[group]) for group in names if groups[group]]
    rest = sum(groups[group] for group in groups if group not in names)
    rows.append(("the rest", rest, sum(failed[group] for group in failed if group not in names)))
    show.table(("scenarios", "judged", "failed"), rows)
    if any(one.failed for one in done.results):
        show.table(
            ("failed", "what happens there", "expected", "came", "leaves"),
            [
                (one.scenario.name, one.scenario.says, _expected(one), one.came, one.scenario.costs)
                for one in done.results
                if one.failed
            ],
        )
    show.facts(
        (
            ("connector", name),
            ("kind", certificate.kind),
            ("code", certificate.code),
            ("grade", f"{certificate.grade}: {_LEAVES[certificate.grade]}"),
            ("kept in", str(path)),
        )
    )


def _expected(one: Result) -> str:
    return (one.fault or "").removeprefix("expected ")


def _for_scripts(name: str, path: Path, done: Certified) -> dict[str, Any]:
    certificate = done.certificate
    return {
        "connector": name,
        "kind": certificate.kind,
        "code": certificate.code,
        "grade": str(certificate.grade),
        "judged": certificate.judged,
        "failed": [
            {
                "scenario": one.scenario.name, "says": one.scenario.says, "gap": one.scenario.gap, "expected": _expected(one),
                "came": one.came, "leaves": one.scenario.costs,
            }
            for one in done.results
            if one.failed
        ],
        "scenarios": [{"name": one.scenario.name, "judged": one.judged, "failed": one.failed} for one in done.results],
        "certificate": str(path),
    }  # fmt: skip
