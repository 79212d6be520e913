"""The two houses of `demo-two`: real installations, each a process of its own that can be killed and started again.

Lives here: how they are made, configured and run. A pays through three connectors of its settings file, all of them accounts at
B behind a line; B serves both protocols and pays through its sandbox bank. Nothing here pays anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from disburse.domain.refusals import Refusal

START_S: Final = 90.0
END_S: Final = 30.0
UNITPAY, NEW, OLD = "up", "im", "im-old"
"""A's connectors by name: B's UnitPay door, and both generations of its IntellectMoney door."""

EXECUTE_AGAIN_AFTER_S: Final = 5.0
"""A minute by default. Our own door executes an operation once however often it is told to, so there is nothing to wait for."""

_KEPT: Final = {"DISBURSE_LOG_LEVEL": "error", "DISBURSE_PROCESSES": "1"}
_OF_A: Final = {"DISBURSE_CALL_S": "5", "DISBURSE_LEASE_S": "12"}
_OF_B: Final = {"DISBURSE_CALL_S": "1.5", "DISBURSE_LEASE_S": "7"}


class HouseFailed(Refusal):
    """A command or process of a house did not do what it must; the text is what it said."""


@dataclass
class Side:
    """One house: its directory, and the process that serves it. `keys` are its merchants' secrets by login."""

    data: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    keys: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a command of the product on this house and read its JSON. Raises HouseFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "disburse", *arguments, "--data", str(self.data), "--json"],
            capture_output=True, text=True, env=_environment(self.environment), timeout=START_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise HouseFailed(f"disburse {' '.join(arguments[:2])} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def add_merchant(self, name: str, login: str, *, answer_wait_s: int) -> None:
        """A merchant who may do everything, with ample money."""
        made = self.command("merchant", "add", name, "--login", login, "--pci-dss", "--sbp-bank", "100000000004")
        self.keys[login] = made
        self.command("merchant", "set", login, "--answer-wait", str(answer_wait_s))
        self.command("top-up", login, "100000000.00", "RUB", "--reference", "demo-two")

    async def start(self) -> None:
        """Serve, at the same port as before where there was one. Raises HouseFailed."""
        log = self.data.with_suffix(".log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "disburse", "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}",
                *self.arguments, stdout=subprocess.PIPE, stderr=log, env=_environment(self.environment),
            )  # fmt: skip
        if self.process.stdout is None:
            raise AssertionError("no output to read")
        async with asyncio.timeout(START_S):
            while line := await self.process.stdout.readline():
                if found := re.search(rb"https?://[^:\s]+:([0-9]+)", line):
                    self.port = int(found[1])
                    return
        raise HouseFailed(f"a house did not start: {self.data.with_suffix('.log').read_text('utf-8')[-500:]}")

    async def kill(self) -> None:
        """As the power fails: -9, and it is gone."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    async def end(self) -> None:
        """As a person ends it."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def side_a(folder: Path) -> Side:
    """House A, which pays through B."""
    return Side(folder / "a", (), dict(_OF_A))


def side_b(folder: Path) -> Side:
    """House B, which serves both protocols and pays through its sandbox bank."""
    return Side(folder / "b", ("--sandbox",), dict(_OF_B))


def furnish_b(side: Side) -> None:
    """One account for each protocol that A speaks to it."""
    side.add_merchant("A by UnitPay", "a-unitpay@example.org", answer_wait_s=1)
    side.add_merchant("A by IntellectMoney", "a-im@example.org", answer_wait_s=1)


def furnish_a(side: Side) -> None:
    """Three merchants: a shop whose wages go by UnitPay, a works (new generation), a plant (old generation)."""
    for name in ("shop", "works", "plant"):
        side.add_merchant(name.capitalize(), f"{name}@example.org", answer_wait_s=0)


def configure(a: Side, b: Side, line_port: int) -> None:
    """Write A's settings: three accounts at B, reached through the line, and which merchant's wages go first to which.

    The rules name whom to try first and forbid nobody: a wage that provably went nowhere may go by another account.
    """
    unitpay, im = b.keys["a-unitpay@example.org"], b.keys["a-im@example.org"]
    url = f"http://127.0.0.1:{line_port}"
    tables: list[tuple[str, dict[str, object]]] = [
        (f"[connectors.{UNITPAY}]", {
            "kind": "unitpay", "url": f"{url}/api", "login": unitpay["login"], "secret_key": unitpay["unitpay_secret_key"],
        }),
        (f"[connectors.{NEW}]", {
            "kind": "intellectmoney", "base_url": url, "login": im["login"], "password": im["password"],
            "bearer": im["bearer_token"], "sign_secret_key": im["sign_secret_key"], "execute_again_after_s": EXECUTE_AGAIN_AFTER_S,
        }),
        (f"[connectors.{OLD}]", {
            "kind": "intellectmoney", "base_url": url, "generation": "old", "login": im["login"], "password": im["password"],
            "execute_again_after_s": EXECUTE_AGAIN_AFTER_S,
        }),
    ]  # fmt: skip
    for login, connector in (("shop", UNITPAY), ("works", NEW), ("plant", OLD)):
        merchant = a.keys[f"{login}@example.org"]["merchant_id"]
        tables.append(("[[routes]]", {"name": login, "merchant": [merchant], "connectors": [connector]}))
    # JSON's strings, numbers and lists are TOML's too
    lines = [f"{head}\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) for head, table in tables]
    file = a.data / "disburse.toml"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines), encoding="utf-8")


def _environment(own: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISBURSE_")}
    return {**kept, **_KEPT, **own}
