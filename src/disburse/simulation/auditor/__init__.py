"""The auditor of a simulated run: its own books and its own rules, sharing no code with the product.

It reads raw rows through a callable that it is given, on a connection of its own, and nothing else of ours: the standard library
and this package are all that is imported here (a test holds that). It knows three truths: our database; the providers' own books;
and what the merchants' programs asked and were told. It is called after every commit (`after_commit`), when an order reaches a
provider (`received`), and at the end of each phase (`in_full`). A silent auditor returns an empty list.

How the invariants of the reliability page (section 1, read as the design reads them) are held:

    L1 L6 L7 L8   every posting as it comes: a known way, whole, once a phase, of its origin's merchant and currency  books
    L2 L3 L4      own sums after every posting: never below zero; cached balances equal them and come to nothing     books
    L5            rows of append-only tables never change or go; a reversal turns one posting round; grants          changes, books, schema
    L9 W1         payouts, postings, events without gaps, counters never down, an event for each change, actors      books, lives, changes
    H1 H2 H3 H4   one hold, ended once and whole, money lies where the state says, no release beside a live attempt,
                  no end by persons while a lease runs                                                               books, changes
    H5 H6         final means finished and told; what waits will expire; what expired had not been executed          lives, schema
    C1 C2 C3      one payout a reference and base, one withdrawal a reference; one key told; other content told      lives, history, changes
    C4 C5 C7      no more payouts than were asked for; a known reference is never refused; acknowledged is kept      history
    E1 E2 E3      one live attempt, fitting the state; intent before an order arrives; proof before the next attempt,
                  and of all who may have sent the last one (of an operation that was made for it: more than
                  the word about one request; of who never calls an id absent: no such word)                   lives, changes, provider
    E4 E7         ids derive from the base and stay; amount, currency, destination as promised                       lives, changes, provider
    E5            nothing is refused, unsent or paid without a stored message that may say so, in the same commit    lives, changes, provider
    E8 W5         only the table's steps; final stays final, in events and in what clients were shown                lives, changes, history
    E10           epochs and intents never go back or are rewritten; nothing leaves after its owner's lease, and no
                  operation is remembered after its owner's turn                                               changes, provider
    E11           freezes have a stored cause, frozen payouts stand still, nobody is charged twice, and who was
                  called refused and is paid after all is frozen                                                     lives, changes, books
    E13           what was cancelled had nothing opened                                                              lives
    E14           no order comes again later than its provider lets it                                               provider
    E15           a next question stands for all doubt, leases are short by the database's clock; after
                  convergence everything ended or has a reason                                               lives, changes, provider
    S1 S3         canaries in no row read; rows, answers and payouts are their merchant's                                 here, lives, history
    A1            corrections: two persons, about what stands as the first saw it; payouts: as many as their merchant's policies ask for, none the maker      changes, rules
    W2 W3         receivers get each event, signed, in its payout's order, or are stopped in words; what came adds up hooks
    A2 A3         a file's rows: each paid at most once, bad ones never, counters add up, applied means over in the end  registries
    E16 V1        nothing before its time by the database's clock; no limit exceeded, by own sums                    rules
    R1            the provider's book and ours agree, payment by payment and in sum                                  provider

Not held here, and why: C6 (no stored refusals: no request keys exist yet). C9 (one database). C10, E6 (pure: codecs and tables of
decisions have tests of their own; a wrong classification shows as E5, E7 or R1). E9 (any order of evidence: a state machine of
its own; here each order that a seed makes is judged). E12 (the simulator's port asserts it).
W4 (forged callbacks show as R1; repeated ones as L7, E8). S2, S4, S5 (not of a run).
R2 (a run that loses its database's tail starts a new auditor: what is gone is what this one is about). The derivation of a base
from its reference is not recomputed; that one reference always has one base is C1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain

from disburse.simulation.auditor import books, changes, history, hooks, lives, provider, registries, rules, schema
from disburse.simulation.auditor.hooks import Endpoint
from disburse.simulation.auditor.registries import File
from disburse.simulation.auditor.rows import READ, Memory, News
from disburse.simulation.auditor.rulebook import Rulebook
from disburse.simulation.auditor.truths import BookEntry, Exchange, Fetch, Violation

__all__ = ["Auditor", "BookEntry", "Exchange", "Fetch", "Rulebook", "Violation"]


class Auditor:
    """Judges one run. `endpoints`: the webhook receivers there are; `files`: files of payouts. Call `after_commit` once before anything happens: what stands then is where its memory begins.

    `fetch`: see `Fetch`; on a connection of its own, outside any transaction, one call at a time.
    `absence`: seconds between two not-founds that prove absence, by connector; infinity: it never calls an id absent. `repeats`: for how many seconds after its first
    arrival a provider takes the same order again without harm, by connector; one that is not named never does.
    `books_of`: connectors whose books will be shown; None: all. `canaries`: texts that must stand in no row. `rulebook`: what
    merchants with rules asked for and what persons said; None: nobody has rules.
    `clock`: what the database's clock shows, for leases. `two_step`: connectors whose providers make an operation before they execute it.
    """

    def __init__(
        self, fetch: Fetch, *, absence: Mapping[str, float] | None = None, repeats: Mapping[str, float] | None = None,
        books_of: Collection[str] | None = None, canaries: Collection[str] = (), clock: Callable[[], datetime] | None = None,
        two_step: Collection[str] = (), rulebook: Rulebook | None = None,
    ) -> None:  # fmt: skip
        self._fetch = fetch
        self._rulebook = rulebook
        self.endpoints: list[Endpoint] = []
        self.files: list[File] = []
        self._absence = dict(absence or {})
        self._repeats = dict(repeats or {})
        self._books_of = books_of
        self._canaries = tuple(canaries)
        self._clock = clock
        self._two_step = two_step
        self._memory = Memory()
        self._begun = False
        self._first: dict[tuple[str, str], datetime] = {}

    async def after_commit(self) -> list[Violation]:
        """What the commits since the last look broke. One statement; quick enough to follow every commit."""
        news = self._memory.take(await self._fetch(READ, self._memory.since))
        begun, self._begun = self._begun, True
        if not (news.fresh or news.changed or news.gone):
            return []
        found = chain(self._at_any_time(self._memory, news), self._of_a_commit(news) if begun else ())
        if self._rulebook is not None and self.files:
            found = chain(found, registries.of_commit(self._memory, news, self._rulebook, self.files))
        return list(dict.fromkeys(found))

    def received(self, order: BookEntry) -> list[Violation]:
        """An order that could move money has just arrived at a provider: what is wrong with that. Reads nothing."""
        found = list(provider.order(self._memory, order, self._first, self._repeats))
        if self._rulebook is not None:
            found += rules.order(self._memory, self._rulebook, order)
        self._first.setdefault((order.connector, order.key), order.at)
        return found

    def told(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> list[Violation]:
        """A message has just arrived at a webhook receiver: what is wrong with that. Reads nothing."""
        return list(hooks.arrival(self._memory, endpoint, headers, body))

    def untold(self) -> int:
        """How many events are still to come to receivers that nobody stopped."""
        left = [one for one in self.endpoints if not hooks.stopped(self._memory, one)]
        return sum(len(hooks.missing(self._memory, one)) for one in left)

    async def in_full(
        self, book: Sequence[BookEntry], histories: Sequence[Exchange], *, converged: bool, may_stay: Collection[str] = (),
        lied_about: Collection[str] = (), now: datetime | None = None,
    ) -> list[Violation]:  # fmt: skip
        """Everything from scratch, and the three truths beside each other.

        `book`: all that the providers wrote down, read after the last commit. `converged`: faults have stopped and nothing moves
        any more. `may_stay`: payouts that are scripted to stay without an end, by payout id, base or end-to-end id. `lied_about`:
        keys of attempts about which their provider said what was not so. `now`: the simulated moment, for what waits.
        """
        last = await self.after_commit()
        afresh = Memory()
        news = afresh.take(await self._fetch(READ, afresh.since))
        rulebook = self._rulebook
        if rulebook is not None:
            may_stay = [*may_stay, *rules.waits(afresh, rulebook)]
        excuses = provider.Excuses(lied_about, may_stay)
        found = chain(
            last,
            self._same(afresh),
            self._at_any_time(afresh, news),
            books.set_aside(afresh),
            provider.compare(afresh, book, self._books_of, excuses, converged=converged),
            provider.ended(afresh, excuses, now) if converged else (),
            rules.left_lying(afresh, rulebook) if converged and rulebook is not None else (),
            hooks.at_the_end(afresh, self.endpoints) if converged else (),
            history.compare(afresh, histories),
            await schema.stands(self._fetch),
            await registries.at_the_end(afresh, self._fetch, self.files) if converged and self.files else (),
        )
        return list(dict.fromkeys(found))

    def _at_any_time(self, memory: Memory, news: News) -> Iterator[Violation]:
        """What holds of rows whenever they are read: of those that are new, and of every payout and merchant they touch."""
        yield from changes.nothing_lost(news)
        yield from books.numbered(memory, news)
        yield from books.follow(memory, news)
        yield from books.compare(memory, news.merchants())
        yield from books.top_ups(memory, news)
        yield from lives.follow_events(memory, news)
        yield from lives.strays(memory, news)
        yield from changes.by_two_persons(memory, news)
        for name in news.payouts():
            payout = memory.payouts.get(name)
            if payout is not None:
                yield from books.of_payout(memory, payout)
                yield from lives.of_payout(memory, payout, self._absence)
                if self._rulebook is not None:
                    yield from rules.of_payout(memory, self._rulebook, payout)
        if self._rulebook is not None:
            for merchant in {number: None for _, number in news.merchants()}:
                yield from rules.limits(memory, self._rulebook, merchant)
        for table, text in news.texts:
            if any(canary in text for canary in self._canaries):
                yield Violation("S1", f"a row of {table} holds what only the vault may")

    def _of_a_commit(self, news: News) -> Iterator[Violation]:
        now = self._clock() if self._clock is not None else None
        yield from changes.of_commit(self._memory, news, self._absence, now, self._repeats, self._two_step)
        yield from changes.ended_too_early(news, now)

    def _same(self, afresh: Memory) -> Iterator[Violation]:
        """L5: what was remembered commit by commit is what stands there now."""
        for table, kept in self._memory.tables.items():
            for key in [key for key, row in kept.items() if afresh.tables[table].get(key) != row]:
                yield Violation("L5", f"a row of {table} is gone, or is not as it was seen: {', '.join(map(str, key))}")
