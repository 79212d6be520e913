"""The courier: takes merchants' events to their webhook endpoints. Claim, post, record; nothing is locked while it posts.

At least once, in order for each payout, with an id that stays the same: a crash after a post and before its record means that the
receiver gets the same message again. An endpoint is one courier's at a time (a lease by the database's clock, with an epoch), and
all couriers share the endpoints. Which event is next, and what a failure means, is `lane.py`'s.

However many endpoints it holds, a round asks the database a handful of questions: which of them have something new, the events themselves,
and one statement for how far all of them came. Endpoints for which nothing happens cost nothing but that.

One slow receiver delays nobody: a try that takes long gives its place to another (`places.py`).

When something is tried again, and until when a replaced secret signs as well, goes by the database's clock, which each claim reads: another
courier may have to wait for what this one wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from disburse.connectors.webhooks import Answered, Unanswered
from disburse.domain.ports import World
from disburse.operations.desk import Desk, SealBroken, StoreUnavailable
from disburse.operations.webhook_work import Told, WebhookWork
from disburse.protocols.events import encode_event, event_of
from disburse.protocols.webhooks import headers_of
from disburse.workers.lane import LONGEST_ASKED_S, READ_AHEAD, Flight, Lane, try_again_in_s
from disburse.workers.pace import Pace
from disburse.workers.places import Places, Try

CONNECTOR = "webhooks"
"""The name under which alerts about endpoints are counted."""

_log = structlog.get_logger("disburse.courier")


class Post(Protocol):
    """What carries a message: `connectors/webhooks.py`."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline_s: float
    ) -> Answered | Unanswered: ...


@dataclass(frozen=True, slots=True)
class CourierLimits:
    """`together`: tries at the same time that are not slow yet, which they are after `slow_s`; `in_all`: with those that are.

    `call_s`: a whole try. `gather_s`: between two rounds. `record_s`: between two records. `claim_s`: between two claims. `most`: endpoints
    that are claimed at a time. `lease_s` is well beyond `call_s`: no try is begun that could outlive it.
    """

    together: int = 1000
    in_all: int = 4000
    slow_s: float = 1.0
    call_s: float = 20.0
    lease_s: float = 60.0
    poll_s: float = 0.25
    gather_s: float = 0.05
    record_s: float = 0.2
    claim_s: float = 1.0
    buckets_s: float = 10.0
    most: int = 2000


DEFAULT_LIMITS = CourierLimits()


class Courier:
    """One worker's courier over the buckets it is given, all from 0 on. `told` hears how each try ended: delivered, failed, or gone."""

    def __init__(
        self,
        desk: Desk,
        post: Post,
        world: World,
        worker_id: str,
        *,
        shards: Iterable[int] = (0,),
        limits: CourierLimits = DEFAULT_LIMITS,
        told: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._desk = desk
        self._post = post
        self._world = world
        self._work = WebhookWork(desk, worker_id, limits.lease_s)
        self._shards = list(shards)
        self._buckets_at = 0.0
        self._limits = limits
        self._told = told
        self._rounds: dict[int, _Round] = {}
        self._under_way: dict[asyncio.Task[None], None] = {}
        self._places = Places(limits.together, limits.in_all, limits.slow_s)
        self._stopping = False
        self.pace = Pace(world.clock, limits.poll_s)

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self._see_buckets()
            for shard in self._shards:
                with contextlib.suppress(StoreUnavailable):  # the next round says it again
                    await self._round(shard)
            await self.pace.rest()
            await self._world.clock.sleep(self._limits.gather_s)

    async def finish(self) -> None:
        """Begin nothing more, wait for the tries under way, record them, and let go of the endpoints."""
        self._stopping = True
        while self._under_way:
            await asyncio.gather(*self._under_way)
        for shard, one in self._rounds.items():
            with contextlib.suppress(StoreUnavailable):  # the leases run out by themselves
                await self._record(shard, one, every=False)
                await self._work.release(shard, [(name, lane.held.epoch) for name, lane in one.lanes.items()])
        self._rounds.clear()

    async def _see_buckets(self) -> None:
        """See to it that no bucket is left out: a merchant may have been put into one that the settings do not name."""
        now = self._world.clock.monotonic()
        if now >= self._buckets_at:
            self._buckets_at = now + self._limits.buckets_s
            self._shards += range(len(self._shards), await self._desk.highest_bucket() + 1)

    # --- a round ---

    async def _round(self, shard: int) -> None:
        one, now = self._rounds.setdefault(shard, _Round()), self._world.clock.monotonic()
        every = now >= one.lease_from + self._limits.lease_s / 4
        if every or now >= one.record_at:
            one.record_at = now + self._limits.record_s
            await self._record(shard, one, every=every)
        await self._close(shard, one)
        beat = now >= one.claim_at
        if beat:
            one.claim_at = now + self._limits.claim_s
            await self._claim(shard, one)
        if one.lanes:
            known = await self._work.look(shard, all_of_them=beat)
            if beat:
                self._drop_lost(one, known)
            await self._read(shard, one, known)
            self._places.see_slow(now)
            self._fill(one)

    async def _claim(self, shard: int, one: _Round) -> None:
        fair, held = await self._work.share(shard), sum(not lane.closing for lane in one.lanes.values())
        if held > fair:
            idle = [lane for lane in one.lanes.values() if not lane.flying and not lane.closing]
            for lane in idle[: held - fair]:
                lane.closing = True
        elif held < fair:
            began = self._world.clock.monotonic()  # before the clock is read that leases are counted from
            for claimed in await self._work.claim(shard, list(one.lanes), min(fair - held, self._limits.most)):
                name = claimed.webhook.webhook_id
                one.lanes[name] = one.awake[name] = Lane(claimed)
                one.lease_ends[name] = began + self._limits.lease_s

    async def _record(self, shard: int, one: _Round, *, every: bool) -> None:
        """Write how far the lanes came; `every`: all of them, which prolongs their leases."""
        began, made = self._world.clock.monotonic(), []
        for lane in one.lanes.values():
            if every or lane.dirty:
                made.append((lane, lane.progress()))
        if not made:
            return
        try:
            ours = await self._work.record(shard, [progress for _, progress in made], prolong=every)
        except BaseException:
            for lane, _ in made:
                lane.dirty = True
            raise
        for lane, progress in made:
            name = progress.webhook_id
            if name in ours:
                lane.recorded(progress)
                if every:
                    one.lease_ends[name] = began + self._limits.lease_s
            elif one.lanes.get(name) is lane:
                one.drop(name)  # another has it by now: what is under way here may arrive twice
        if every:
            one.lease_from = began

    async def _close(self, shard: int, one: _Round) -> None:
        """Let go of lanes that are to be closed and have nothing under way; stop those that were given up."""
        for lane in list(one.lanes.values()):
            if lane.give_up is not None and not lane.flying and not lane.dirty:
                await self._stop(shard, lane, lane.give_up)
                lane.closing = True
        done = [(name, lane) for name, lane in one.lanes.items() if lane.closing and not lane.flying and not lane.dirty]
        if done:
            await self._work.release(shard, [(name, lane.held.epoch) for name, lane in done])
            for name, _ in done:
                one.drop(name)
            one.claim_at = 0.0  # what was changed is taken again as it stands now

    async def _stop(self, shard: int, lane: Lane, why: str) -> None:
        webhook = lane.held.webhook
        state = "disabled" if why == "gone" else "paused"
        if await self._work.stop(shard, webhook.merchant_id, webhook.webhook_id, lane.held.epoch, state, why):
            self._desk.on_alert(CONNECTOR, f"webhook_{state}")
            _log.error(
                "a webhook endpoint takes nothing any more", alert=f"webhook_{state}", reason=why, merchant=webhook.merchant_id,
                webhook=str(webhook.webhook_id),
            )  # fmt: skip

    # --- reading ---

    def _drop_lost(self, one: _Round, known: Mapping[UUID, tuple[int, int, int]]) -> None:
        """Forget endpoints that are not ours any more; `known` are all that are."""
        for name in [name for name, lane in one.lanes.items() if known.get(name, (0,))[0] != lane.held.epoch]:
            one.drop(name)

    async def _read(self, shard: int, one: _Round, known: Mapping[UUID, tuple[int, int, int]]) -> None:
        """Read what is new for whoever has room, and the texts of late events that are due: one statement for all of it."""
        now, wanted = self._desk.time.now(), _Wanted()
        for name, (epoch, version, last) in known.items():
            lane = one.lanes.get(name)
            if lane is None or epoch != lane.held.epoch:
                continue  # a claim that is not heard of yet, or a lease that another has now: the next beat sees to it
            if version != lane.held.webhook.version:
                lane.closing = True  # persons changed it: it is claimed anew, as it stands then
            elif last > lane.read_to:
                lane.last, one.awake[name] = last, lane
        for lane in one.awake.values():
            wanted.of(lane, now)
        if not wanted.ranges:
            return
        rows = await self._work.read(shard, list(wanted.ranges))
        texts: dict[int, dict[int, Told]] = {}
        for row in rows:
            texts.setdefault(row.merchant_id, {})[row.number] = row
        for lane, after, up_to, again in wanted.live:
            of = texts.get(lane.held.webhook.merchant_id, {})
            lane.take([of[n] for n in range(after + 1, up_to + 1)], up_to, again=again)
        for lane, number in wanted.late:
            lane.have(texts[lane.held.webhook.merchant_id][number])

    # --- trying ---

    def _fill(self, one: _Round) -> None:
        """Begin what may be begun, one try of each endpoint in turn, another endpoint first each time."""
        lanes = [lane for lane in one.awake.values() if not lane.quiet]
        one.first = (one.first + 1) % max(len(lanes), 1)
        turn = lanes[one.first :] + lanes[: one.first]
        while turn:
            turn = [lane for lane in turn if self._begin(one, lane)]
        one.awake = {name: lane for name, lane in one.awake.items() if not lane.idle}

    def _begin(self, one: _Round, lane: Lane) -> bool:
        """Begin one try of an endpoint; False where none may be begun."""
        name, limits = lane.held.webhook.webhook_id, self._limits
        if self._stopping or one.lanes.get(name) is not lane or not self._places.free(lane):
            return False
        # A process that was frozen may wake up after its lease: somebody else may be posting there by now.
        began = self._world.clock.monotonic()
        if began + limits.call_s + 1 > one.lease_ends.get(name, 0.0):
            return False
        flight = lane.pick(self._desk.time.now())
        if flight is None:
            return False
        made = self._places.take(lane, began)
        task = asyncio.get_running_loop().create_task(self._send(one, made, flight))
        self._under_way[task] = None
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self.pace.wake()

    async def _send(self, one: _Round, made: Try, flight: Flight) -> None:
        lane = made.lane
        try:
            answer = await self._call(lane, flight)
        except Exception as fault:  # a mistake of ours about one message is no reason to lose the others
            answer = Unanswered(f"fault: {type(fault).__name__}")
        finally:
            self._places.leave(made)
        self._settle(lane, flight, answer)
        self._begin(one, lane)  # the next of the same endpoint need not wait for a round

    async def _call(self, lane: Lane, flight: Flight) -> Answered | Unanswered:
        event = event_of(flight.told)
        body = encode_event(event)
        try:
            keys = self._work.keys(lane.held)
        except SealBroken:
            return Unanswered("its secret cannot be opened")
        headers = headers_of(keys, event.id, int(self._desk.time.now().timestamp()), body)
        return await self._post.post(lane.held.webhook.url, headers, body, self._limits.call_s)

    def _settle(self, lane: Lane, flight: Flight, answer: Answered | Unanswered) -> None:
        """What an answer means: 2xx it was taken, 410 never again, anything else later."""
        now, tries = self._desk.time.now(), (flight.late.tries if flight.late is not None else 0) + 1
        pause = try_again_in_s(tries) * self._world.random.uniform(0.8, 1.2)
        match answer:
            case Answered(status=status) if 200 <= status < 300:
                lane.ended(flight, str(status), now, again_in_s=None)
                self._told("delivered")
            case Answered(status=410):
                lane.ended(flight, "410", now, again_in_s=pause)
                lane.give_up = "gone"
                self._told("gone")
            case Answered(status=status, retry_after_s=asked):
                heeded = min(asked, LONGEST_ASKED_S) if asked is not None and status in (429, 503) else 0.0
                asks = max(heeded, 1.0) if status == 429 else heeded
                lane.ended(flight, str(status), now, again_in_s=pause, rest_for_s=asks)
                self._told("failed")
            case Unanswered(why=why):
                lane.ended(flight, why, now, again_in_s=pause)
                self._told("failed")


class _Round:
    """What a courier holds of one bucket. `lease_ends`: by this process's clock, by endpoint. `awake`: lanes with something to do."""

    def __init__(self) -> None:
        self.lanes: dict[UUID, Lane] = {}
        self.awake: dict[UUID, Lane] = {}
        self.lease_ends: dict[UUID, float] = {}
        self.lease_from = self.record_at = 0.0
        self.claim_at = 0.0
        self.first = 0

    def drop(self, name: UUID) -> None:
        del self.lanes[name]
        self.awake.pop(name, None)
        self.lease_ends.pop(name, None)


class _Wanted:
    """What is to be read in one statement, and for whom. Endpoints of one merchant often want the same."""

    def __init__(self) -> None:
        self.ranges: dict[tuple[int, int, int], None] = {}
        self.live: list[tuple[Lane, int, int, bool]] = []
        self.late: list[tuple[Lane, int]] = []

    def of(self, lane: Lane, now: datetime) -> None:
        """What this endpoint wants."""
        webhook, room = lane.held.webhook, lane.room(now)
        if room and lane.last > lane.read_to:
            self._add(lane, lane.read_to, min(lane.last, lane.read_to + room), again=False)
        if room and lane.again_to is not None and webhook.resend_to is not None and lane.again_to < webhook.resend_to:
            self._add(lane, lane.again_to, min(webhook.resend_to, lane.again_to + READ_AHEAD), again=True)
        for number in lane.late_to_read(now):
            self.ranges[webhook.merchant_id, number - 1, number] = None
            self.late.append((lane, number))

    def _add(self, lane: Lane, after: int, up_to: int, *, again: bool) -> None:
        self.ranges[lane.held.webhook.merchant_id, after, up_to] = None
        self.live.append((lane, after, up_to, again))
