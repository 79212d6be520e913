"""Money: every posting read again and added up by the auditor itself, and where a payout's money must lie.

Lives here: the ledger's invariants (L and H of reliability). `follow` walks new postings in their order and adds them to the
auditor's own sums; `compare` holds the cached balances against those; `of_payout` looks at one payout as it now stands. A
posting is read as it is: no account, reason or phase is taken from the product's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from disburse.simulation.auditor.laws import DEAD, FINAL, MAY_BE_NEGATIVE, MOST_MINOR, OWN, ROUTES, SET_ASIDE
from disburse.simulation.auditor.rows import Memory, News, Row, nobody
from disburse.simulation.auditor.truths import Violation

_ONE_PROVIDER: Final = frozenset({"doubt", "heard", "paid", "contradiction", "reversal"})
"""Reasons whose money stays with one provider, where both accounts are a provider's."""


def kind_of(account: str) -> str:
    """`in_flight` of `in_flight:sandbox`."""
    return account.partition(":")[0]


def follow(memory: Memory, news: News) -> Iterator[Violation]:
    """Postings not seen before, one after the other: each by itself, then what it leaves in its accounts."""
    for row in sorted(news.new("postings"), key=lambda row: (row["shard"], row["merchant_id"], row["number"])):
        yield from _alone(row)
        yield from _origin(memory, row)
        place, amount = (row["shard"], row["merchant_id"], row["currency"]), row["amount_minor"]
        for account, change in ((row["source"], -amount), (row["destination"], amount)):
            left = memory.sums[*place, account] = memory.sums.get((*place, account), 0) + change
            if left < 0 and kind_of(account) not in MAY_BE_NEGATIVE:
                told = f"posting {row['number']} of merchant {row['merchant_id']} leaves {left} in {account}"
                yield Violation("L4", told, row["origin_id"])
        first = memory.phases.setdefault((row["origin_id"], row["phase"]), row)
        if first is not row:
            told = f"the phase {row['phase']} was posted twice, by {first['number']} and {row['number']}"
            yield Violation("L7", told, row["origin_id"])
        if row["reason"] == "reversal":
            yield from _reversal(memory, row)


def _alone(row: Row) -> Iterator[Violation]:
    source, destination, reason = row["source"], row["destination"], row["reason"]
    where, payout = f"posting {row['number']} of merchant {row['merchant_id']}", row["origin_id"]
    amount = row["amount_minor"]
    if type(amount) is not int or not 1 <= amount <= MOST_MINOR:
        yield Violation("L6", f"{where} moves {amount!r}", payout)
    if source == destination:
        yield Violation("L1", f"{where} goes from {source} to itself", payout)
    if (reason, kind_of(source), kind_of(destination)) not in ROUTES:
        yield Violation("L1", f"{where} goes from {source} to {destination} for the reason {reason}", payout)
    elif reason in _ONE_PROVIDER and source.partition(":")[2] != destination.partition(":")[2]:
        yield Violation("L1", f"{where} goes from one provider to another: {source} to {destination}", payout)
    if nobody(row):
        yield Violation("W1", f"{where} names nobody", payout)


def _origin(memory: Memory, row: Row) -> Iterator[Violation]:
    """L8: a posting has the merchant and the currency of what it was made for."""
    origin = memory.payouts.get(row["origin_id"]) or memory.origins.get(row["origin_id"])
    where = f"posting {row['number']} of merchant {row['merchant_id']}"
    if origin is None:
        yield Violation("L8", f"{where} was made for nothing that is known", row["origin_id"])
        return
    if (origin["merchant_id"], origin["currency"]) != (row["merchant_id"], row["currency"]):
        yield Violation("L8", f"{where} is of another merchant or currency than what it was made for", row["origin_id"])
    outside = row["reason"] in ("top_up", "withdrawal")
    if outside and origin["amount_minor"] != row["amount_minor"]:
        yield Violation("L7", f"{where} moves another amount than the {row['reason']} it books", row["origin_id"])
    if row["reason"] != "reversal" and outside == (row["origin_id"] in memory.payouts):
        yield Violation("L8", f"{where} is a {row['reason']} of the wrong kind of origin", row["origin_id"])


def _reversal(memory: Memory, row: Row) -> Iterator[Violation]:
    """L5: a correction turns one earlier posting round, whole."""
    there = memory.phases.get((row["origin_id"], row["phase"].removeprefix("reverse-")))
    way = ("source", "destination", "amount_minor", "currency")
    back = (row["destination"], row["source"], row["amount_minor"], row["currency"])
    if there is None or there is row or tuple([there[column] for column in way]) != back:
        told = f"reversal {row['number']} of merchant {row['merchant_id']} turns no posting round"
        yield Violation("L5", told, row["origin_id"])


def compare(memory: Memory, merchants: Iterable[tuple[int, int]]) -> Iterator[Violation]:
    """L2 and L3: these merchants' cached balances are the sums of their postings, and come to nothing together."""
    wanted = dict.fromkeys(merchants)
    kept = {key: row["balance_minor"] for key, row in memory.tables["balances"].items() if key[:2] in wanted}
    together: dict[tuple[int, str], int] = {}
    for (_, merchant, currency, _), balance in kept.items():
        together[merchant, currency] = together.get((merchant, currency), 0) + balance
    for (merchant, currency), left in together.items():
        if left:
            yield Violation("L2", f"the accounts of merchant {merchant} in {currency} come to {left}")
    for key in dict.fromkeys([*kept, *[key for key in memory.sums if key[:2] in wanted]]):
        if kept.get(key, 0) != memory.sums.get(key, 0):
            _, merchant, currency, account = key
            told = f"{account} of merchant {merchant} in {currency} is {kept.get(key, 0)}, its postings make {memory.sums.get(key, 0)}"
            yield Violation("L3", told)


def top_ups(memory: Memory, news: News) -> Iterator[Violation]:
    """L7: what came in stands in the books and is told, once."""
    for row in news.new("top_ups"):
        booked = [one for one in memory.of("postings", row["top_up_id"]) if one["reason"] == "top_up"]
        if len(booked) != 1:
            yield Violation(
                "L7", f"top-up {row['top_up_id']} of merchant {row['merchant_id']} has {len(booked)} postings"
            )
    told = {"top_up": "top_up", "withdrawal": "withdrawal", "top_up.reversed": "reversal"}
    events: dict[tuple[int, str], int] = {}
    for row in news.new("events"):
        if row["kind"] in told:
            key = (row["merchant_id"], told[row["kind"]])
            events[key] = events.get(key, 0) + 1
    for row in news.new("postings"):
        if row["origin_id"] in memory.origins:
            key = (row["merchant_id"], row["reason"])
            events[key] = events.get(key, 0) - 1
    for (merchant, what), difference in events.items():
        if difference:
            yield Violation(
                "W1", f"of merchant {merchant} as many postings as events tell of a {what}, but for {difference}"
            )


def of_payout(memory: Memory, payout: Row) -> Iterator[Violation]:
    """H1 to H5 and E11: one payout's money, by its own postings, lies where its state says and was charged once."""
    name, state = payout["payout_id"], payout["state"]
    postings = memory.of("postings", name)
    lies: dict[str, int] = {}
    for row in postings:
        for account, change in ((row["source"], -row["amount_minor"]), (row["destination"], row["amount_minor"])):
            lies[account] = lies.get(account, 0) + change
    amount, fee = payout["amount_minor"], payout["fee_minor"]
    held = [row["amount_minor"] for row in postings if row["reason"] == "hold"]
    if len(held) > 1 or any(one != amount + fee for one in held):
        yield Violation("H1", f"held {held} for {amount} and a fee of {fee}", name)
    charged = -sum(minor for account, minor in lies.items() if kind_of(account) in OWN)
    if charged > amount + fee:
        yield Violation("E11", f"the merchant was charged {charged} for {amount} and a fee of {fee}", name)
    yield from _beyond_proof(payout, postings, memory.of("evidence", name))
    yield from _released(memory, payout, postings)
    want = _where(memory, payout, bool(held))
    have = {account: minor for account, minor in lies.items() if minor and kind_of(account) in OWN | {"fees"}}
    if have != want:
        invariant = "H2" if state in FINAL else "H3"
        yield Violation(invariant, f"{state}, its money lies {_told(have)} and should {_told(want)}", name)
    outside = sum(minor for account, minor in lies.items() if kind_of(account) in ("paid", "suspense"))
    left = amount - payout["returned_minor"] if state in ("paid", "returned") else 0
    if outside != left:
        yield Violation("E11", f"{state}, {outside} lies beyond the merchant's accounts and should be {left}", name)


def _told(lies: dict[str, int]) -> str:
    return ", ".join(f"{minor} in {account}" for account, minor in sorted(lies.items())) or "nowhere"


def _beyond_proof(payout: Row, postings: list[Row], said: list[Row]) -> Iterator[Violation]:
    """E11: what lies in suspense is what a provider said it had paid, or persons say was paid, of that attempt."""
    for row in postings:
        if row["reason"] != "contradiction":
            continue
        attempt = row["phase"].split("-")[1] if "-" in row["phase"] else ""
        told = [one for one in said if str(one["attempt"]) == attempt and one["verdict"] in ("Settled", "VouchedPaid")]
        amounts = [payout["amount_minor"] if one["kind"] == "person" else _amount(one, payout) for one in told]
        if row["amount_minor"] not in amounts:
            yield Violation("E11", f"{row['amount_minor']} lies in suspense, told was {amounts}", payout["payout_id"])


def _amount(message: Row, payout: Row) -> int:
    """What a message says was paid, minor units; the payout's amount where it does not say."""
    digits = message["detail"].partition(" ")[0].replace(".", "")
    return int(digits) if digits.isdigit() else int(payout["amount_minor"])


def _released(memory: Memory, payout: Row, postings: list[Row]) -> Iterator[Violation]:
    """H2 and H4: a hold is settled or released, never both, and not released while an attempt may still pay."""
    name = payout["payout_id"]
    back = [row for row in postings if row["destination"] == "available" and kind_of(row["source"]) in SET_ASIDE]
    gone = [row for row in postings if row["destination"] == "fees" or (row["phase"] == "end" and row not in back)]
    if any(row["reason"] == "release" for row in back) and gone:
        yield Violation("H2", "its hold was released and settled as well", name)
    live = [row["number"] for row in memory.attempts(name) if row["state"] not in DEAD]
    if any(row["reason"] == "release" for row in back) and live:
        yield Violation("H4", f"its hold was released while attempt {live[0]} may still pay", name)


def _where(memory: Memory, payout: Row, was_held: bool) -> dict[str, int]:
    """The merchant's accounts, and the fees, as this payout's postings should leave them."""
    amount, fee, state = payout["amount_minor"], payout["fee_minor"], payout["state"]
    lies: dict[str, int] = {}
    if state in ("paid", "returned"):
        lies = {"available": -amount - fee + payout["returned_minor"], "fees": fee}
    elif state in ("queued", "scheduled", "awaiting_approval"):
        lies = {"available": -amount - fee, "held": amount + fee}
    elif state in ("in_flight", "in_doubt"):
        live = [row["connector"] for row in memory.attempts(payout["payout_id"]) if row["state"] not in DEAD]
        lies = {"available": -amount - fee, "held": fee, f"{state}:{live[-1] if live else ''}": amount}
    return {account: minor for account, minor in lies.items() if minor}


def set_aside(memory: Memory) -> Iterator[Violation]:
    """H3: held, in_flight and in_doubt of a merchant are the amounts and fees of its payouts that were executed and are not final."""
    owed: dict[tuple[int, str], int] = {}
    for payout in memory.payouts.values():
        if payout["state"] not in FINAL and payout["state"] not in ("created", "unfunded"):
            key = (payout["merchant_id"], payout["currency"])
            owed[key] = owed.get(key, 0) + payout["amount_minor"] + payout["fee_minor"]
    for (_, merchant, currency, account), row in memory.tables["balances"].items():
        if kind_of(account) in SET_ASIDE:
            owed[merchant, currency] = owed.get((merchant, currency), 0) - row["balance_minor"]
    for (merchant, currency), difference in owed.items():
        if difference:
            yield Violation(
                "H3", f"of merchant {merchant} in {currency} {difference} more is owed to payouts than is set aside"
            )


def numbered(memory: Memory, news: News) -> Iterator[Violation]:
    """L9 and W1: payouts, postings and events of a merchant are numbered 1, 2, 3, up to the counter on its row."""
    for table, invariant in (("payouts", "L9"), ("postings", "L9"), ("events", "W1")):
        for row in sorted(news.new(table), key=lambda row: (row["shard"], row["merchant_id"], row["number"])):
            place = (table, row["shard"], row["merchant_id"])
            due = memory.numbers.get(place, 0) + 1
            if row["number"] != due:
                told = f"{table} of merchant {row['merchant_id']}: number {row['number']} came where {due} was due"
                yield Violation(invariant, told, row.get("payout_id") or row.get("origin_id"))
            memory.numbers[place] = max(row["number"], due)
        for shard, merchant in news.merchants():
            kept = memory.tables["merchants"].get((shard, merchant))
            counter, last = kept[table] if kept else None, memory.numbers.get((table, shard, merchant), 0)
            if counter != last:
                yield Violation(invariant, f"merchant {merchant} counts {counter} {table}, the last has number {last}")
