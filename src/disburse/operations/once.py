"""What was read without a lock and may be believed once (decision 9). Whoever takes it changes it, so who comes later reads again."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Holds something until it is taken."""

    __slots__ = ("_it",)

    def __init__(self, it: T) -> None:
        self._it: T | None = it

    def take(self) -> T | None:
        """What is held; None from then on."""
        it, self._it = self._it, None
        return it
