"""`disburse api-key`: a merchant's keys for `/v1`. Lives here: add, list, end; for a merchant that has lost its last one, too."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from disburse.cli import show
from disburse.cli.mistakes import BadUsage
from disburse.cli.place import HERE, Place, actor, group, run
from disburse.cli.words import read_id
from disburse.operations import api_keys
from disburse.operations.api_keys import ApiKey, NewApiKey
from disburse.operations.merchants import find_merchant
from disburse.wiring import House

app = group("api-key")

LONGEST_NAME = 60


@app.command
def add(merchant: str, name: str, /, *, place: Place = HERE) -> None:
    """Make a further API key of a merchant's. It is shown once.

    Parameters
    ----------
    merchant:
        Its id or login.
    name:
        What the key is for.
    """
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise BadUsage(f"NAME has 1 to {LONGEST_NAME} characters that can be seen, without white space at the ends.")

    async def work(house: House) -> NewApiKey:
        found = await find_merchant(house.database, merchant)
        return await api_keys.add_key(house.desk, found, name, actor=await actor(house))

    made = run(place, work)
    if place.json:
        show.say_json(describe(made.key) | {"api_key": made.secret})
        return
    show.facts([("key id", made.key.key_id), ("name", made.key.name), ("API key", made.secret)], title="A new API key")
    show.say("The key is shown once: give it to the merchant's program, now.")


@app.command(name="list")
def list_all(merchant: str, /, *, place: Place = HERE) -> None:
    """List a merchant's API keys, those that ended too.

    Parameters
    ----------
    merchant:
        Its id or login.
    """

    async def work(house: House) -> list[ApiKey]:
        return await api_keys.list_keys(house.desk, await find_merchant(house.database, merchant))

    found = run(place, work)
    if place.json:
        show.say_json({"api_keys": [describe(one) for one in found]})
        return
    rows = [(one.key_id, one.name, one.ending, show.moment(one.created_at), show.moment(one.ends_at)) for one in found]
    show.table(("id", "name", "ending", "made", "ends"), rows)


@app.command
def end(merchant: str, key: str, /, *, place: Place = HERE) -> None:
    """End an API key. Every process refuses it within five seconds.

    Parameters
    ----------
    merchant:
        Its id or login.
    key:
        The key's id.
    """
    identifier = _read_id(key)

    async def work(house: House) -> ApiKey:
        found = await find_merchant(house.database, merchant)
        return await api_keys.end_key(house.desk, found, identifier, actor=await actor(house))

    ended = run(place, work)
    if place.json:
        show.say_json(describe(ended))
    else:
        show.say(f"{ended.key_id} ended.")


def describe(one: ApiKey) -> dict[str, Any]:
    """A key as JSON; its text is never in it."""
    return {
        "key_id": str(one.key_id),
        "merchant_id": one.merchant_id,
        "name": one.name,
        "ending": one.ending,
        "created_at": show.stamp(one.created_at),
        "ends_at": show.stamp(one.ends_at),
    }


def _read_id(text: str) -> UUID:
    found = read_id(text)
    if found is None:
        raise api_keys.NoSuchApiKey()
    return found
