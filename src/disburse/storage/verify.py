"""Every invariant as one named query that yields the rows which break it: the table of all checks, in the order they are put.

Lives here: the table alone. The queries stand in `verify_schema.py` (what the database itself enforces), `verify_books.py`
(the ledger), `verify_lives.py` (payouts, attempts and events), `verify_evidence.py` (what providers said),
`verify_persons.py` (what two persons did), `verify_rules.py` (limits, times, approvals), `verify_registries.py` (files of payouts) and `verify_bank.py` (a bank's own book beside ours; it needs that book, so it is not in the table). A name begins with the
invariant's number in reliability.md section 1, and never changes: people and scripts know a breach by it.

A check trusts nothing that it is to judge: it adds postings and rows up again, and says in its own SQL what must be true,
without the code that made it so. The one thing taken from the domain is the table of moves, which is the law itself.
"""

from __future__ import annotations

from disburse.storage.verify_books import BOOKS
from disburse.storage.verify_check import Check
from disburse.storage.verify_evidence import EVIDENCE
from disburse.storage.verify_lives import LIVES
from disburse.storage.verify_persons import PERSONS
from disburse.storage.verify_registries import REGISTRIES
from disburse.storage.verify_rules import RULES
from disburse.storage.verify_schema import SCHEMA

CHECKS: tuple[Check, ...] = (*SCHEMA, *BOOKS, *LIVES, *EVIDENCE, *PERSONS, *RULES, *REGISTRIES)
