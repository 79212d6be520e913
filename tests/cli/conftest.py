"""What the tests of the command line share: an installation a module, and commands run in this process against it.

The installation's server is kept running between commands, so that each takes a fraction of a second. `tests/cli/test_program.py`
runs the program as others do, as a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from disburse.cli.main import main
from disburse.storage.embedded import EmbeddedServer


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Commands:
    """Runs commands on one installation."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Run a command in this process. Keyword arguments are environment variables for it."""
        out, err = io.StringIO(), io.StringIO()
        given = {"DISBURSE_DATA": str(self.data), **self.environment, **environment}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for name in [name for name in os.environ if name.startswith("DISBURSE_") or name == "COLUMNS"]:
                patch.delenv(name)
            for name, value in given.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(list(arguments))
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str, **environment: str) -> Any:
        """Run a command with --json that must succeed; what it printed."""
        done = self(*arguments, "--json", **environment)
        assert done.code == 0, done.out + done.err
        assert done.err == ""
        return done.json

    def no(self, *arguments: str, code: int = 1, **environment: str) -> dict[str, str]:
        """Run a command that must be refused, for a person and for a script alike; the error of the latter."""
        told = self(*arguments, **environment)
        assert told.code == code, told.out + told.err
        assert told.out == "" and told.err.startswith("disburse: ") and "Traceback" not in told.err
        assert len(told.err.splitlines()) == 1
        done = self(*arguments, "--json", **environment)
        assert (done.code, done.err) == (code, "")
        error = done.json["error"]
        assert sorted(error) == ["message", "name", "next"]
        assert error["message"] in told.err and error["next"] in told.err
        return dict(error)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands on a fresh installation, whose server runs until the module's tests are over."""
    data = tmp_path_factory.mktemp("cli") / "data"
    server = EmbeddedServer(data)
    server.start()
    try:
        yield Commands(data)
    finally:
        server.leave()
