"""What a connector to a two-step provider can do beside the contract. Lives here: the shape; who may ask for it is the engine's.

`submit` makes an operation, hands its id to `Order.remember`, and executes it only when that says True. Whoever finds the
operation still not executed later executes the same one again (`domain/two_steps.py` says when that is allowed).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from disburse.connectors.contract import Question
from disburse.domain.outcomes import Outcome


@runtime_checkable
class TwoStep(Protocol):
    """A connector whose provider executes the same operation at most once, however often it is told to."""

    async def execute_again(self, question: Question) -> Outcome:
        """Execute the operation that `question.provider_reference` names, and no other. Never raises for what a provider does."""
        ...
