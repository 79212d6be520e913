"""What a business "no" is. Lives here: the base class. Each room's refusals stand beside the rule that raises them.

A refusal is small and named, carries its facts, and knows nothing of HTTP: doors translate it.
A broken assumption of ours is not a refusal but an AssertionError.
"""

from __future__ import annotations

from dataclasses import dataclass


class Refusal(Exception):
    """The request cannot be done."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text if text is not None else (type(self).__doc__ or "").strip().split("\n")[0])

    @property
    def name(self) -> str:
        """The refusal's stable name on surfaces: the class name in snake case, such as `insufficient_funds`."""
        return "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field. `value` is what may be shown (masked by whoever made the fault), `why` reads after the field's name."""

    field: str
    why: str
    value: str = ""
    line: int | None = None
