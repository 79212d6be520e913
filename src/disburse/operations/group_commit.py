"""Group commit: what arrives while a transaction is in flight becomes the next one.

Lives here: the queue in front of one operation, per bucket. No lock fight: up to `writers` transactions of a bucket run at a
time, each of at most `largest` commands. Nothing waits for company that may not come; but after a transaction that carried
several commands its writer rests a moment (`rest_s`), so that the callers it answered can come again together. A data or
constraint error halves the batch until the row stands alone; a command whose transaction has not begun by its caller's deadline
is withdrawn. The operation may run twice (`storage/database.py`), so its commands carry their ids and times.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from disburse.domain.ports import Clock
from disburse.storage.database import Database, Hope, StoreUnavailable, Transaction

C = TypeVar("C")
R = TypeVar("R")

Operation = Callable[[Transaction, int, Sequence[C]], Awaitable[list[R]]]

LARGEST = 500
"""At most so many commands a transaction: more only adds latency (scale, section 2)."""


class Withdrawn(Exception):
    """The command's transaction had not begun by its caller's deadline: nothing was done and nothing will be."""


async def in_halves(
    items: Sequence[C],
    work: Callable[[Sequence[C]], Awaitable[list[R]]],
    alone: Callable[[C, Exception], Awaitable[R]],
) -> list[R]:
    """Do a worker's batch; where it breaks, its halves, until what breaks it stands alone and is given to `alone`.

    So one poisoned row never stops the others. StoreUnavailable passes through: then it is not the rows.
    """
    try:
        return await work(items)
    except StoreUnavailable:
        raise
    except Exception as fault:
        if len(items) == 1:
            return [await alone(items[0], fault)]
        half = len(items) // 2
        first = await in_halves(items[:half], work, alone)
        return first + await in_halves(items[half:], work, alone)


@dataclass(slots=True)
class _Waiting(Generic[C, R]):
    command: C
    answer: asyncio.Future[R]
    deadline: float | None
    key: Hashable | None


@dataclass(slots=True)
class _Bucket(Generic[C, R]):
    queue: deque[_Waiting[C, R]] = field(default_factory=deque)
    writing: int = 0
    woken: bool = False


class GroupCommit(Generic[C, R]):
    """The queue in front of one operation. `sizes` hears the length of each batch that was written.

    `hopeful`: the operation writes by one unit alone, so it may be tried without a lock first (`storage/unit.py`).
    """

    def __init__(
        self,
        database: Database,
        operation: Operation[C, R],
        clock: Clock,
        *,
        writers: int = 2,
        largest: int = LARGEST,
        rest_s: float = 0.0,
        sizes: Callable[[int], None] | None = None,
        hopeful: bool = False,
    ) -> None:
        self._hope = Hope() if hopeful else None
        self._database = database
        self._operation = operation
        self._clock = clock
        self._writers = writers
        self._largest = largest
        self._rest_s = rest_s
        self._sizes = sizes
        self._buckets: dict[int, _Bucket[C, R]] = {}
        self._waiting: Counter[Hashable] = Counter()
        self._tasks: dict[asyncio.Task[None], None] = {}  # kept in order: a set would order them by address

    async def submit(
        self, shard: int, command: C, *, deadline: float | None = None, key: Hashable | None = None
    ) -> R:
        """Have a command carried out and wait for its result; after `deadline` (monotonic) it is not begun any more.

        `key` names what the command is about, for `is_waiting`. A caller that stops waiting does not stop the command.
        Raises Withdrawn, StoreUnavailable (outcome not known), or what the command alone makes the operation raise.
        """
        bucket = self._buckets.setdefault(shard, _Bucket())
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        bucket.queue.append(_Waiting(command, answer, deadline, key))
        if key is not None:
            self._waiting[key] += 1
        self._wake(shard, bucket)
        return await answer

    def is_waiting(self, key: Hashable) -> bool:
        """Whether a command about this waits for its commit in this process."""
        return self._waiting[key] > 0 if key in self._waiting else False

    @property
    def depth(self) -> int:
        """How many commands wait for their transaction to begin."""
        return sum(len(bucket.queue) for bucket in self._buckets.values())

    async def drain(self) -> None:
        """Wait until everything submitted was answered."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _wake(self, shard: int, bucket: _Bucket[C, R]) -> None:
        """Begin the next transaction in the loop's next turn, so that what arrives in this turn travels along."""
        if not bucket.woken and bucket.writing < self._writers and bucket.queue:
            bucket.woken = True
            asyncio.get_running_loop().call_soon(self._begin, shard, bucket)

    def _begin(self, shard: int, bucket: _Bucket[C, R]) -> None:
        bucket.woken = False
        batch = self._take(bucket)
        if batch:
            bucket.writing += 1
            task = asyncio.get_running_loop().create_task(self._write(shard, bucket, batch))
            self._tasks[task] = None
            task.add_done_callback(lambda done: self._tasks.pop(done, None))
        self._wake(shard, bucket)

    def _take(self, bucket: _Bucket[C, R]) -> list[_Waiting[C, R]]:
        now = self._clock.monotonic()
        batch: list[_Waiting[C, R]] = []
        while bucket.queue and len(batch) < self._largest:
            waiting = bucket.queue.popleft()
            if waiting.deadline is not None and waiting.deadline <= now:
                self._answer(waiting, error=Withdrawn())
            else:
                batch.append(waiting)
        return batch

    async def _write(self, shard: int, bucket: _Bucket[C, R], batch: list[_Waiting[C, R]]) -> None:
        try:
            await self._run(shard, batch)
            if self._rest_s and len(batch) > 1:
                await self._clock.sleep(self._rest_s)
        finally:
            bucket.writing -= 1
            self._wake(shard, bucket)

    async def _run(self, shard: int, batch: list[_Waiting[C, R]]) -> None:
        commands = [waiting.command for waiting in batch]

        async def work(tx: Transaction) -> list[R]:
            return await self._operation(tx, shard, commands)

        try:
            results = await self._database.run(work, hope=self._hope)
        except StoreUnavailable as error:
            for waiting in batch:
                self._answer(waiting, error=error)
        except Exception as error:
            if len(batch) == 1:
                self._answer(batch[0], error=error)
                return
            half = len(batch) // 2
            await self._run(shard, batch[:half])
            await self._run(shard, batch[half:])
        else:
            if self._sizes is not None:
                self._sizes(len(batch))
            for waiting, result in zip(batch, results, strict=True):
                self._answer(waiting, result=result)

    def _answer(self, waiting: _Waiting[C, R], *, result: R | None = None, error: Exception | None = None) -> None:
        if waiting.key is not None:
            self._waiting[waiting.key] -= 1
            if self._waiting[waiting.key] <= 0:
                del self._waiting[waiting.key]
        if waiting.answer.done():
            return  # the caller has gone
        if error is not None:
            waiting.answer.set_exception(error)
        else:
            waiting.answer.set_result(result)  # type: ignore[arg-type]
