"""`disburse operator`: people who run the installation. Lives here: making one."""

from __future__ import annotations

from disburse.cli import show
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.words import read_name
from disburse.operations.operators import NewOperator, add_operator
from disburse.wiring import House

app = group("operator")


@app.command
def add(name: str, /, *, place: Place = HERE) -> None:
    """Make an operator with a token of its own, which is shown once.

    Put the token into DISBURSE_OPERATOR: what you do then carries your name.

    Parameters
    ----------
    name:
        The person's name.
    """
    person = read_name(name, "An operator's name")

    async def work(house: House) -> NewOperator:
        return await add_operator(house.database, house.world, name=person, actor=await actor(house))

    made = run(place, work, make=True)
    if place.json:
        show.say_json({"operator_id": made.operator_id, "name": made.name, "token": made.token})
        return
    show.facts([("operator", made.operator_id), ("name", made.name), ("token", made.token)], title="A new operator")
    show.say("The token is shown once: keep it. Use it as DISBURSE_OPERATOR.")
