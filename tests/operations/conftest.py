"""A shop of real operations on the test's own database."""

from __future__ import annotations

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.operations.shop import Shop

BOTH_WAYS = {"test_payouts", "test_claims", "test_evidence", "test_lost_tail"}
"""Here whatever is true of operations is shown of both ways of writing, carefully and hopefully (decision 9)."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shop" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("shop", ["careful", "hopeful"], indirect=True)


@pytest.fixture
def shop(database: Database, world: World, request: pytest.FixtureRequest) -> Shop:
    """A shop, careful unless the test is run both ways."""
    return Shop(database, world, hopeful=getattr(request, "param", "careful") == "hopeful")
