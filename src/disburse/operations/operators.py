"""Operators: the people who run the installation. Lives here: making one, and knowing one by token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from disburse.domain.ports import World
from disburse.domain.refusals import Refusal
from disburse.operations.secrets import digest, new_secret
from disburse.storage.database import Database, Transaction


class OperatorNameTaken(Refusal):
    """Another operator has this name."""


class UnknownOperator(Refusal):
    """The operator's token is not known."""


class NeedsOperator(Refusal):
    """This needs a person."""


def is_person(actor: str) -> bool:
    """Whether an actor is a person whose token was shown, not the command line as such."""
    return actor.startswith("operator:")


@dataclass(frozen=True, slots=True)
class NewOperator:
    """An operator just made; the token is shown once."""

    operator_id: int
    name: str
    token: str

    def __repr__(self) -> str:
        return f"NewOperator({self.operator_id}, {self.name!r})"


async def add_operator(database: Database, world: World, *, name: str, actor: str) -> NewOperator:
    """Make an operator with a token of its own. Raises OperatorNameTaken."""
    token = new_secret(world.random, "dsbop_")
    at = world.clock.now()

    async def work(tx: Transaction) -> int:
        number: int = await tx.fetchval("UPDATE installation SET operators = operators + 1 RETURNING operators")
        taken = await tx.fetchrow("SELECT operator_id, token_digest FROM operators WHERE name = $1", name)
        if taken is not None:
            if not hmac.compare_digest(taken["token_digest"], digest(token)):
                raise OperatorNameTaken()
            return int(taken["operator_id"])  # ours, from a run whose commit we did not hear of
        await tx.execute(
            "INSERT INTO operators (operator_id, name, token_digest, created_at, actor) VALUES ($1, $2, $3, $4, $5)",
            number,
            name,
            digest(token),
            at,
            actor,
        )
        return number

    return NewOperator(await database.run(work), name, token)


async def operator_by_token(database: Database, token: str) -> tuple[int, str]:
    """(id, name) of the operator with this token. Raises UnknownOperator."""

    async def work(tx: Transaction) -> tuple[int, str] | None:
        row = await tx.fetchrow("SELECT operator_id, name FROM operators WHERE token_digest = $1", digest(token))
        return (row[0], row[1]) if row is not None else None

    found = await database.run(work)
    if found is None:
        raise UnknownOperator()
    return found
