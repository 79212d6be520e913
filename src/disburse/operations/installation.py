"""Who this installation is. Lives here: its one row, made once, and the check that this is still the database we left.

A database restored from a backup or copied beside the original has another timeline or system identifier than its row says:
it starts in quarantine, sends nothing and waits for persons (invariant R2). After a failover a worker that was at work before it may
accept the new timeline in their place (`witness.py`), or find that history was lost: then everybody waits for persons.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from disburse.domain.identifiers import payout_id
from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.storage.database import Database, Transaction
from disburse.storage.lineage import SYSTEM, TIMELINE, Lineage, lineage_of

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Installation:
    """`quarantined`: the database is not the one that this installation last ran on, or a worker found that it forgot something.

    `lineage`: who the database is. `may_continue`: it may be what became of that one by a failover, and a witness may still say so.
    """

    installation_id: UUID
    quarantined: bool
    lineage: Lineage
    may_continue: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the row says: the lineage that was accepted, by whom if it was not the first, and who disputes it."""

    lineage: Lineage
    by: str | None
    disputed_by: str | None
    installation_id: UUID


class AnotherKeyFile(Refusal):
    """This database belongs to an installation with another key file."""


async def is_new(tx: Transaction) -> bool:
    """Whether no installation was made in this database yet."""
    return await tx.fetchrow("SELECT 1 FROM installation") is None


async def open_installation(tx: Transaction, world: World, key_check: bytes) -> Installation:
    """The installation of this database; made when there is none. Raises AnotherKeyFile: with another key nothing sealed opens."""
    here = await lineage_of(tx)
    fresh = payout_id(0, world.clock.now(), world.random.bytes(10))
    await tx.execute(
        """INSERT INTO installation (installation_id, created_at, system_identifier, timeline, key_check)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING""",
        fresh,
        world.clock.now(),
        here.system_identifier,
        here.timeline,
        key_check,
    )
    row = await tx.fetchrow("SELECT installation_id, key_check FROM installation")
    accepted = await read_accepted(tx)
    if row is None or accepted is None:
        raise AssertionError("the installation has no row")
    if not hmac.compare_digest(row["key_check"], key_check):
        raise AnotherKeyFile()
    same, undisputed = here == accepted.lineage, accepted.disputed_by is None
    may_continue = undisputed and here.may_continue(accepted.lineage)
    return Installation(row["installation_id"], quarantined=not (same and undisputed), lineage=here, may_continue=may_continue)


async def wait_for_witness(
    database: Database, world: World, key_check: bytes, opened: Installation, patience_s: float
) -> Installation:
    """After a failover a worker that was at work before it needs some seconds to vouch: wait for its word so long."""
    ends = world.clock.monotonic() + patience_s
    while opened.quarantined and opened.may_continue and world.clock.monotonic() < ends:
        await world.clock.sleep(_LOOK_S)
        opened = await database.run(lambda tx: open_installation(tx, world, key_check))
    return opened


async def read_accepted(tx: Transaction) -> Accepted | None:
    """The lineage that the installation's row names; None where no installation was made."""
    row = await tx.fetchrow("SELECT system_identifier, timeline, released_by, disputed_by, installation_id FROM installation")
    if row is None:
        return None
    lineage = Lineage(row["system_identifier"], row["timeline"])
    return Accepted(lineage, row["released_by"], row["disputed_by"], row["installation_id"])


async def dispute(tx: Transaction, at: datetime, actor: str) -> None:
    """This database lost what a worker had been told was committed: everybody stops until persons have compared. The first is kept."""
    await tx.execute("UPDATE installation SET disputed_at = $1, disputed_by = $2 WHERE disputed_by IS NULL", at, actor)


async def accept_failover(tx: Transaction, before: Accepted, at: datetime, actor: str) -> bool:
    """Accept the present timeline on a witness's word; False when somebody changed the row meanwhile. Who and when is kept."""
    changed = await tx.execute(
        f"""UPDATE installation SET timeline = {TIMELINE}, released_at = $1, released_by = $2
            WHERE system_identifier = {SYSTEM} AND timeline = $3 AND disputed_by IS NULL""",
        at,
        actor,
        before.lineage.timeline,
    )
    return changed == "UPDATE 1"


async def release_quarantine(tx: Transaction, at: datetime, actor: str) -> None:
    """Accept the database as it is: a person has compared it with the providers' books. Who and when is kept; objections are over."""
    await tx.execute(
        f"""UPDATE installation SET system_identifier = {SYSTEM},
               timeline = {TIMELINE}, released_at = $1, released_by = $2,
               disputed_at = NULL, disputed_by = NULL""",
        at,
        actor,
    )
