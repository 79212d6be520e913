"""`disburse quarantine`: a database that was restored or copied sends nothing until a person has looked. Lives here: that look."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from disburse.cli import show
from disburse.cli.place import HERE, Place, actor, run
from disburse.domain.refusals import Refusal
from disburse.operations.installation import release_quarantine
from disburse.operations.operators import NeedsOperator, is_person
from disburse.wiring import House


class NotQuarantined(Refusal):
    """This installation is not in quarantine."""


def quarantine(
    *,
    release: Annotated[
        bool, Parameter(negative="", help="Accept the database as it is; only after comparing it with every provider's book.")
    ] = False,
    place: Place = HERE,
) -> None:
    """Show whether this installation is in quarantine: its database is not the one it last ran on, or lost something; nothing is sent.

    With --release a person (DISBURSE_OPERATOR) accepts it; start every process anew afterwards.
    """

    async def work(house: House) -> bool:
        if not release:
            return house.installation.quarantined
        who = await actor(house)
        if not is_person(who):
            raise NeedsOperator()
        if not house.installation.quarantined:
            raise NotQuarantined()
        at = house.world.clock.now()
        await house.database.run(lambda tx: release_quarantine(tx, at, who))
        return False

    held = run(place, work)
    if place.json:
        show.say_json({"quarantined": held})
    elif held:
        show.say("In quarantine: this database is not the one the installation last ran on, or a worker found that it lost something. Nothing is sent.")
    else:
        show.say("Not in quarantine." if not release else "Released. Start every process anew.")
