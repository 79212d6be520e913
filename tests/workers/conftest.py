"""A town for workers: a merchant, a provider, a clock that a test moves, and a real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from disburse.domain.ports import World
from disburse.storage.database import Database
from tests.workers.provider import Provider, Town


@pytest.fixture
def bank() -> Provider:
    return Provider()


@pytest.fixture
async def town(database: Database, world: World, tmp_path: Path, bank: Provider) -> Town:
    return await Town(database, world, tmp_path, [bank]).settle_in()
