"""Which database this is, and which line of its history. Lives here: how a server is asked who it is.

A promotion, and a recovery to a moment, begin a new timeline; a copy made by a dump has another system identifier. A session of a
primary sees one lineage as long as it lives, since the timeline of a running primary does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The timeline is that of what is written now. The control file tells the old one for minutes after a promotion, until the next
# checkpoint ends.
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4"
SYSTEM = "(SELECT system_identifier FROM pg_control_system())"


@dataclass(frozen=True, slots=True)
class Lineage:
    """A database and one line of its history."""

    system_identifier: int
    timeline: int

    def may_continue(self, before: Lineage) -> bool:
        """Whether this may be what became of another by a promotion: the same database, a later timeline."""
        return self.system_identifier == before.system_identifier and self.timeline > before.timeline


async def lineage_of(connection: Any) -> Lineage:
    """Who a primary is; a transaction or a connection is asked."""
    row = await connection.fetchrow(f"SELECT {SYSTEM} AS system_identifier, {TIMELINE} AS timeline")
    if row is None:
        raise AssertionError("the server does not say who it is")
    return Lineage(row["system_identifier"], row["timeline"])


async def write_something(connection: Any) -> None:
    """Make this transaction's COMMIT wait for the synchronous standby, as that of any that writes: only a real primary has one."""
    await connection.execute("SELECT pg_logical_emit_message(true, 'disburse', '')")


async def waits_for_standby(connection: Any) -> bool:
    """Whether a COMMIT here waits for a synchronous standby."""
    return bool(await connection.fetchval("SELECT current_setting('synchronous_standby_names') <> ''"))
