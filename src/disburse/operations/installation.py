"""Who this installation is. Lives here: its one row, made once, and the check that this is still the database we left.

A database restored from a backup or copied beside the original has another timeline or system identifier than its row says:
it starts in quarantine, sends nothing and waits for persons (invariant R2).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.domain.identifiers import payout_id
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.storage.database import Transaction

# Of what is written now. The control file tells the old one for minutes after a promotion, until the next checkpoint ends.
_TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4"


@dataclass(frozen=True, slots=True)
class Installation:
    """`quarantined`: the database is not the one that this installation last ran on."""

    installation_id: UUID
    quarantined: bool


class AnotherKeyFile(Refusal):
    """This database belongs to an installation with another key file."""


async def is_new(tx: Transaction) -> bool:
    """Whether no installation was made in this database yet."""
    return await tx.fetchrow("SELECT 1 FROM installation") is None


async def open_installation(tx: Transaction, world: World, key_check: bytes) -> Installation:
    """The installation of this database; made when there is none. Raises AnotherKeyFile: with another key nothing sealed opens."""
    here = await tx.fetchrow(
        f"SELECT (SELECT system_identifier FROM pg_control_system()) AS system_identifier, {_TIMELINE} AS timeline"
    )
    if here is None:
        raise AssertionError("the server does not say who it is")
    fresh = payout_id(0, world.clock.now(), world.random.bytes(10))
    await tx.execute(
        """INSERT INTO installation (installation_id, created_at, system_identifier, timeline, key_check)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING""",
        fresh,
        world.clock.now(),
        here["system_identifier"],
        here["timeline"],
        key_check,
    )
    row = await tx.fetchrow("SELECT installation_id, system_identifier, timeline, key_check FROM installation")
    if row is None:
        raise AssertionError("the installation has no row")
    if not hmac.compare_digest(row["key_check"], key_check):
        raise AnotherKeyFile()
    same = (row["system_identifier"], row["timeline"]) == (here["system_identifier"], here["timeline"])
    return Installation(row["installation_id"], quarantined=not same)


async def release_quarantine(tx: Transaction, at: datetime, actor: str) -> None:
    """Accept the database as it is: a person has compared it with the providers' books. Who and when is kept."""
    await tx.execute(
        f"""UPDATE installation SET system_identifier = (SELECT system_identifier FROM pg_control_system()),
               timeline = {_TIMELINE}, released_at = $1, released_by = $2""",
        at,
        actor,
    )
