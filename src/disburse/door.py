"""A door process (`python -m disburse.door`): the program `crew.py` starts. Not for people; it takes its order on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import structlog

from disburse import logs, server
from disburse.assembly import Instruments, make_app
from disburse.cli import mistakes
from disburse.cli.serve import PATIENCE_S, serve_front
from disburse.crew import Line, Link
from disburse.domain.ports import World
from disburse.outgoing import outgoing
from disburse.settings import settings_from
from disburse.wiring import open_house, working
from disburse.world import real_world


async def _main(world: World, line: socket.socket) -> None:
    link = await Link.over(world.clock, line)
    order = await link.read()
    settings = settings_from(order["settings"])
    logs.configure(world.clock, level=settings.log_level)
    instruments = Instruments(world)

    async def counted() -> list[str]:
        return [instruments.metrics.counted().decode()]

    async def mind() -> None:
        with contextlib.suppress(Exception):
            await link.run(counted, _ignore)
        os._exit(1)  # whoever minds this door is gone

    minding = asyncio.create_task(mind())
    sockets = [socket.socket(fileno=number) for number in order["sockets"]]
    async with open_house(settings, world, gauges=instruments.gauges, patience_s=PATIENCE_S) as house:
        front = make_app(house, instruments)
        front.metrics.others = link.ask
        async with working(house, api=True, workers=False) as loops, outgoing(house, api=True, workers=False) as news:
            loops += news
            structlog.get_logger("serve").info("opened", role="door", pid=os.getpid())
            await serve_front(front, house, sockets, loops, lambda: link.say(open=True))
    minding.cancel()


def _ignore(_: Line) -> None:
    """Nothing else is said to a door."""


def main(line: socket.socket) -> int:
    """Be a door until told otherwise. What goes wrong is told in the words of the commands: a traceback shows what others wrote."""
    try:
        server.run(_main(real_world(), line))
    except Exception as fault:
        mistakes.debug(fault)
        return mistakes.tell(mistakes.explain(fault), as_json=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(socket.socket(fileno=0)))
