"""What one seed's day is like: how many processes, which providers, which faults and how often, and ugly settings.

Swarm style: every seed has a subset of the faults, each at a rate of its own, so that some days are all crashes and some all
garbage; one in five has none. May not live here: how a fault is done.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from disburse.simulation.provider import Temper
from disburse.simulation.stories import FEWEST, Story, story_of
from disburse.simulation.streams import Streams, log_uniform
from disburse.wiring import Rhythm

STORE: Final = ("statement", "commit", "deadlock", "store_away", "store_clock")
PROCESS: Final = ("crash", "crash_at_port", "freeze", "clock")
NET: Final = ("refused", "unreachable", "lost", "silent", "reset", "spoilt", "late", "partition")
PROVIDER: Final = ("provider_crash", "later", "refuses", "short", "returns", "misreports", "hides", "flaps", "crossed",
                   "unlisted", "callbacks", "forged")  # fmt: skip
CLIENT: Final = ("twice", "changed", "impatient", "persons")
_FIRST: Final = (*STORE, *PROCESS, *NET, *PROVIDER, *CLIENT)
ADDED: Final[dict[str, tuple[float, float]]] = {
    "stop": (0.004, 0.06), "deaf": (0.2, 0.6), "gateway": (0.2, 0.6), "stumbles": (0.3, 0.6),
    "internal": (0.05, 0.6), "zombie": (0.05, 0.6), "slow": (0.2, 0.6), "relents": (0.05, 0.6),
    "cheats": (0.02, 0.1), "outage": (0.2, 1.5),
}  # fmt: skip
"""Kinds that came later, and between which rates. Each is drawn from a stream of its own, so that a new one leaves all that was drawn before as it was."""

COPIES: Final = "doubled"
"""Requests that a gateway repeats by itself. Such a day has besides only what `BESIDE_COPIES` names, since most of what goes wrong on the
way keeps a copy from arriving; where the question about a refused copy is lost as well, that is a story.
"""
BESIDE_COPIES: Final = (*STORE, "crash", "crash_at_port", "clock", "later", "refuses", "short", *CLIENT)

LEAP: Final = "leap"
"""The database's clock is set ahead while a two-step provider makes an operation, and that takes long: its owner's lease is over, its owner
is not. On such days everybody looks often and the database is slow, so that the others find it in between; and there is besides only what
`BESIDE_LEAPS` names, since who is struck at that moment writes nothing down.
"""
BESIDE_LEAPS: Final = ("crash", "freeze", "clock", "later", "refuses", "short", "flaps", "crossed", "stumbles", "zombie", *CLIENT)
RARE: Final = (COPIES, LEAP)
"""Kinds that have days of their own, and those seldom."""

FAULTS: Final = (*_FIRST, *ADDED, *RARE)
"""Every kind of fault, by the name that `disburse simulate --faults` takes."""
SCENES: Final = ("rules", "webhooks", "registries")
"""What some days have beside the ordinary (`scenes.py`), by the name that `disburse simulate --scenes` takes."""

_FEW: Final = 3


@dataclass(frozen=True, slots=True)
class Knobs:
    """`rates`: how often each fault of this day happens, 0 to 1 at each chance, or for those of time, times a virtual minute.

    `again_s`: what two-step connectors are given as `execute_again_after_s`. `nervous`: so many failed calls make a provider count
    as down, None: the product's own setting. `patience`: merchants are short of money and ask so often before they give up a
    payout; None: more money comes, and they go on. `bucket`: where the last merchant is put; the settings name bucket 0 alone. `narrow`: the
    workers' settings have fewer rails than the doors', as while new ones are rolled out: what a door took for a phone has no route at the claim.
    `scenes`: what this day has beside the ordinary; then half as many ordinary payouts leave room for it.
    """

    servers: int
    workers: int
    merchants: int
    payouts: int
    providers: tuple[str, ...]
    rates: dict[str, float]
    rhythm: Rhythm
    safety_s: float
    lease_s: float
    call_s: float
    window: int
    largest: int
    writers: int
    pool: int
    slowest_s: float
    answer_wait_ms: int
    again_s: float
    nervous: int | None
    patience: int | None
    temper: Temper = field(default_factory=Temper)
    bucket: int = 0
    narrow: bool = False
    scenes: tuple[str, ...] = ()


def draw(streams: Streams, only: Collection[str] | None = None, scenes: Collection[str] | None = None) -> Knobs:
    """This seed's day. `only`: no other faults than these; `scenes`: these, whatever the seed has."""
    knobs = streams["knobs"]
    call_s = knobs.choice((2.0, 5.0, 5.0))
    rates = _rates(knobs)
    rates |= _added_rates(streams, rates)
    rates |= _slow_for_persons(streams["knobs/slow for persons"], rates)
    story = story_of(streams.seed)
    chosen, time_s = _scenes(streams["scenes"], story.scenes if story is not None and scenes is None else scenes)
    if story is not None:
        rates = story.draw(streams["knobs/story"])
    elif rates:
        rates |= _rate_of_leaps(streams[f"knobs/{LEAP}"])
        rates = _day_of_copies(rates, streams[f"knobs/{COPIES}"])
    if LEAP in rates:
        rates = {name: rate for name, rate in rates.items() if name in (LEAP, *BESIDE_LEAPS)}
    if rates and chosen and story is None and streams["scenes"].random() < 0.4:
        rates["clock"] = log_uniform(streams["scenes"], 2.0, 8.0)  # what scenes are about are times, mostly
    if only is not None:
        rates = {name: rate for name, rate in rates.items() if name in only}
    day = _day(streams, call_s, rates, chosen, time_s)
    if story is not None:
        return _of_story(day, story, streams["knobs/story"])
    return _with_leaps(day, streams[f"knobs/{LEAP}"]) if LEAP in rates else day


def _day(streams: Streams, call_s: float, rates: dict[str, float], chosen: tuple[str, ...], time_s: float) -> Knobs:
    knobs, hides_s = streams["knobs"], log_uniform(streams["knobs/hides"], 2.0, 40.0)
    return Knobs(
        servers=knobs.choice((1, 1, 2)),
        workers=knobs.choice((1, 2, 2, 3)),
        merchants=knobs.choice((1, 1, 2, 3)),
        payouts=knobs.randint(4, 14) // (2 if chosen else 1),
        providers=_providers(knobs),
        rates=rates,
        rhythm=Rhythm(
            poll_s=knobs.choice((2.0, 4.0, 8.0)),
            watch_s=knobs.choice((1.0, 3.0)),
            pulse_s=knobs.choice((5.0, 30.0)),
            house_s=knobs.choice((30.0, 120.0)),
            time_s=time_s,
            claims=knobs.choice((1, 2, 10, 500)),
            questions=knobs.choice((1, 3, 200)),
        ),
        safety_s=log_uniform(knobs, 20.0, 240.0),
        lease_s=call_s + knobs.choice((5.0, 6.0, 25.0)),
        call_s=call_s,
        window=knobs.choice((1, 3, 1000)),
        largest=knobs.choice((1, 2, 500)),
        writers=knobs.choice((1, 2)),
        pool=knobs.choice((3, 4, 10)),
        slowest_s=log_uniform(knobs, 0.001, 0.3),
        answer_wait_ms=knobs.choice((0, 500, 2000)),
        again_s=streams["knobs/again"].choice((6.0, 15.0, 60.0)),
        nervous=streams["knobs/nervous"].choice((None, None, 1, 2, 3)),
        patience=streams["knobs/patience"].choice((None, None, None, None, 2, 4)),
        temper=_temper(knobs, rates, hides_s),
        bucket=streams["knobs/bucket"].choice((0, 0, 0, 0, 0, 1)),
        narrow=streams["knobs/narrow"].random() < 0.25,
        scenes=chosen,
    )


def _scenes(stream: random.Random, wanted: Collection[str] | None) -> tuple[tuple[str, ...], float]:
    """The scenes of a day, about one day in seven has each; and how often the timekeeper looks."""
    drawn = [name for name in SCENES if stream.random() < 0.15]
    chosen = tuple(drawn if wanted is None else [name for name in SCENES if name in wanted])
    often = stream.choice((2.0, 5.0, 10.0))
    return chosen, often if "rules" in chosen else 60.0


def _providers(knobs: random.Random) -> tuple[str, ...]:
    """Banks of the sandbox's kind, or real kinds; never both, since a sandbox beside a real one carries test money alone."""
    if knobs.random() < 0.4:
        return tuple(knobs.choice(("bank", "bank", "guarded")) for _ in range(knobs.choice((1, 1, 2))))
    kinds = ["unitpay", "moneynew", "moneyold"]
    knobs.shuffle(kinds)
    return tuple(kinds[: knobs.choice((1, 1, 2, 3))])


def _rates(knobs: random.Random) -> dict[str, float]:
    if knobs.random() < 0.25:
        return {}
    chosen = [name for name in _FIRST if knobs.random() < 0.5]
    if knobs.random() < 0.15:
        chosen = [knobs.choice(_FIRST) for _ in range(_FEW)]
    rates: dict[str, float] = {}
    for name in chosen:
        match name:
            case "crash" | "freeze" | "clock" | "store_clock" | "persons" | "store_away" | "partition" | "provider_crash" | "forged":
                rates[name] = log_uniform(knobs, 0.5, 8.0)  # a virtual minute
            case "statement" | "commit" | "deadlock" | "crash_at_port":
                rates[name] = log_uniform(knobs, 0.01, 0.2)
            case _:
                rates[name] = log_uniform(knobs, 0.05, 0.6)
    return rates


def _added_rates(streams: Streams, rates: Mapping[str, float]) -> dict[str, float]:
    """The kinds that came later; quiet days stay quiet, and days of few kinds pure."""
    added = {name: streams[f"knobs/{name}"] for name in ADDED if len(rates) > _FEW}
    return {name: log_uniform(stream, *ADDED[name]) for name, stream in added.items() if stream.random() < 0.5}


def _slow_for_persons(own: random.Random, rates: Mapping[str, float]) -> dict[str, float]:
    """Persons come where providers take their time."""
    if "persons" not in rates or "later" in rates or own.random() >= 0.5:
        return {}
    return {"later": log_uniform(own, 0.2, 0.6)}


def _rate_of_leaps(own: random.Random) -> dict[str, float]:
    return {LEAP: own.uniform(0.4, 0.6)} if own.random() < 0.16 else {}


def _of_story(day: Knobs, story: Story, own: random.Random) -> Knobs:
    temper = replace(day.temper, longest_s=max(day.temper.longest_s, story.late_s))
    providers, safety_s, payouts = own.choice(story.providers), max(day.safety_s, story.long_s), max(day.payouts, FEWEST)
    return replace(day, providers=providers, safety_s=safety_s, payouts=payouts, patience=None, temper=temper)


def _with_leaps(day: Knobs, own: random.Random) -> Knobs:
    rhythm, lease_s = replace(day.rhythm, poll_s=0.8), day.lease_s + 5.0 - day.call_s
    slowest_s, safety_s = own.uniform(0.1, 0.8), min(max(day.safety_s, 45.0), 80.0)
    two_step = any(name.startswith("money") for name in day.providers)
    providers = day.providers if two_step else (own.choice(("moneynew", "moneyold")),)
    return replace(
        day, providers=providers, rhythm=rhythm, call_s=5.0, lease_s=lease_s, slowest_s=slowest_s, safety_s=safety_s
    )


def _day_of_copies(rates: dict[str, float], own: random.Random) -> dict[str, float]:
    if own.random() >= 0.08:
        return rates
    return {name: rate for name, rate in rates.items() if name in BESIDE_COPIES} | {COPIES: own.uniform(0.2, 0.6)}


def _temper(knobs: random.Random, rates: dict[str, float], hides_s: float) -> Temper:
    def rate(name: str, most: float) -> float:
        return min(rates.get(name, 0.0), most)

    returned = max(rate("returns", 0.3), 0.5 if "deaf" in rates else 0.0)  # of a return nothing tells but a callback
    return Temper(
        later=rate("later", 0.6), longest_s=log_uniform(knobs, 2.0, 72 * 3600.0), refuses=rate("refuses", 0.3),
        short=rate("short", 0.4), returns=returned, misreports=min(1.5 * rate("misreports", 0.6), 0.5), hides=rate("hides", 0.6),
        cheats=rate("cheats", 0.1), strict=rate(COPIES, 0.6),
        hides_s=hides_s, flaps=rate("flaps", 0.5), crossed=rate("crossed", 0.3), unlisted=rate("unlisted", 0.3),
        gateway=rate("gateway", 0.6), stumbles=rate("stumbles", 0.6),
        internal=min(3 * rate("internal", 1.0), 0.9), relents=min(3 * rate("relents", 1.0), 1.0), calls=1 + 2 * ("callbacks" in rates),
    )  # fmt: skip
