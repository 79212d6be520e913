"""What the conformance tests are given: one running server for all of them, and what it logs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from disburse.logs import configure
from tests.conformance.running import Running, running


@pytest.fixture(scope="package")
def served(server: Callable[[str], str], template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that runs for as long as this folder's tests do."""
    with running(server, template, tmp_path_factory.mktemp("served")) as one:
        yield one


class Log:
    """What the server logged since the test began."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if line["event"] == event]


@pytest.fixture
def log(served: Running) -> Log:
    """The server's log from here on."""
    heard = Log()
    configure(served.house.world.clock, level="debug", stream=heard.stream, pretty=False)
    return heard
