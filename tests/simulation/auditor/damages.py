"""What can be done to a town's rows, and which invariant the auditor must name: at the commit that did it, and in full afterwards.

`{story}` stands for the id of the story's payout (`tests/operations/verify_town.py`). None: that look need not notice.
"""

from __future__ import annotations

from typing import NamedTuple

MERCHANT_OF = {"paid by two": 2}


class Damage(NamedTuple):
    """SQL, the invariant that `after_commit` names, and the one that `in_full` of another auditor names."""

    sql: str
    at_once: str | None
    in_full: str | None


def post(
    story: str,
    source: str,
    destination: str,
    minor: int,
    reason: str,
    phase: str,
    currency: str = "RUB",
    origin: str = "",
) -> str:
    """A posting that is numbered and summed up as an honest one."""
    merchant = MERCHANT_OF.get(story, 1)
    changes = "; ".join(
        f"""INSERT INTO balances AS b VALUES (0, {merchant}, '{currency}', '{account}', {change})
            ON CONFLICT (shard, merchant_id, currency, account) DO UPDATE SET balance_minor = b.balance_minor + {change}"""
        for account, change in ((destination, minor), (source, -minor))
    )
    return f"""ALTER TABLE balances DROP CONSTRAINT IF EXISTS no_overdraft;
        UPDATE merchants SET postings = postings + 1 WHERE merchant_id = {merchant};
        INSERT INTO postings SELECT 0, {merchant}, postings, {origin or "{" + story + "}"}, '{phase}', '{currency}', '{source}',
            '{destination}', {minor}, '{reason}', 'epoch', 'doctor' FROM merchants WHERE merchant_id = {merchant}; {changes};"""


def tell(story: str, kind: str, state: str, actor: str = "doctor", by: int = 1) -> str:
    """An event that is numbered as an honest one, and known to its payout."""
    merchant = MERCHANT_OF.get(story, 1)
    return f"""UPDATE merchants SET events = events + {by} WHERE merchant_id = {merchant};
        INSERT INTO events (shard, merchant_id, number, payout_id, kind, state, at, actor)
            SELECT 0, {merchant}, events, {{{story}}}, '{kind}', '{state}', 'epoch', '{actor}' FROM merchants
            WHERE merchant_id = {merchant};
        UPDATE payouts p SET last_event = m.events FROM merchants m
            WHERE p.payout_id = {{{story}}} AND m.merchant_id = {merchant};"""


def say(story: str, kind: str, verdict: str, effect: str = "nothing", attempt: int = 1) -> str:
    """A message about an attempt."""
    return f"""INSERT INTO evidence (shard, end_to_end_id, digest, merchant_id, payout_id, attempt, connector, kind, verdict, detail,
            effect, heard_at, actor)
        SELECT 0, end_to_end_id, '\\x01', merchant_id, payout_id, number, connector, '{kind}', '{verdict}', '', '{effect}',
            'epoch', 'doctor' FROM attempts WHERE payout_id = {{{story}}} AND number = {attempt};"""


def end(story: str, state: str) -> str:
    """An attempt that is over."""
    return f"""UPDATE attempts SET state = '{state}', ended_at = 'epoch', ask_at = NULL, doubt_since = NULL
        WHERE payout_id = {{{story}}};"""


SECOND = """INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
    SELECT 0, payout_id, attempts + 1, merchant_id, 'due', 'epoch', 'doctor' FROM payouts WHERE payout_id = {open};
    UPDATE payouts SET attempts = attempts + 1 WHERE payout_id = {open};"""

MONEY = {
    "a balance changed": Damage(
        "UPDATE balances SET balance_minor = balance_minor + 1 WHERE merchant_id = 2 AND account = 'available'", "L3", "L2"
    ),
    "set aside for nobody": Damage("INSERT INTO balances VALUES (0, 2, 'EUR', 'held', 7)", "L3", "H3"),
    "a posting rewritten": Damage(
        "UPDATE postings SET amount_minor = amount_minor + 1 WHERE merchant_id = 2 AND number = 1", "L5", "L3"
    ),
    "a posting deleted": Damage("DELETE FROM postings WHERE merchant_id = 2 AND number = 2", "L5", "L9"),
    "an account below zero for a moment": Damage(
        post("queued", "held", "available", 10**8, "release", "a") + post("queued", "available", "held", 10**8, "hold", "b"),
        "L4", "L4",
    ),
    "a posting from an account to itself": Damage(
        "ALTER TABLE postings DROP CONSTRAINT postings_check;" + post("queued", "held", "held", 5, "hold", "a"), "L1", "L1"
    ),
    "a fee out of the merchant's available money": Damage(post("paid", "available", "fees", 5, "fee", "a"), "L1", "L1"),
    "a payment at another provider": Damage(
        post("paid", "in_flight:sandbox", "paid:second", 5, "paid", "a"), "L1", "L1"
    ),
    "a posting of nothing": Damage(
        "ALTER TABLE postings DROP CONSTRAINT postings_amount_minor_check;"
        + post("paid", "suspense:sandbox", "paid:sandbox", 0, "contradiction", "a"),
        "L6", "L6",
    ),
    "a posting that names nobody": Damage(
        post("queued", "available", "held", 5, "hold", "a").replace("'doctor'", "' '"), "W1", "W1"
    ),
    "a phase posted twice": Damage(
        "ALTER TABLE postings DROP CONSTRAINT posted_once;" + post("queued", "available", "held", 5, "hold", "hold"), "L7", "L7"
    ),
    "a posting in another currency": Damage(
        post("paid", "suspense:sandbox", "paid:sandbox", 5, "contradiction", "a", "EUR"), "L8", "L8"
    ),
    "a posting for nothing": Damage(
        post("paid", "suspense:sandbox", "paid:sandbox", 5, "contradiction", "a",
             origin="'00000000-0000-7000-8000-000000000001'"),
        "L8", "L8",
    ),  # fmt: skip
    "a top-up of a payout": Damage(post("paid", "funding", "available", 5, "top_up", "a"), "L8", "L7"),
    "a top-up without its posting": Damage(
        "INSERT INTO top_ups VALUES (0, 2, 'x', '00000000-0000-7000-8000-000000000001', 'RUB', 5, 'epoch', 'doctor')", "L7", "L7"
    ),
    "an event of a top-up that never was": Damage(
        tell("paid by two", "top_up", "queued").replace("{paid by two}", "NULL", 1), "W1", "W1"
    ),
    "a reversal of nothing": Damage(
        post("paid", "paid:sandbox", "suspense:sandbox", 5, "reversal", "reverse-a"), "L5", "L5"
    ),
    "a counter of postings ahead": Damage("UPDATE merchants SET postings = postings + 1 WHERE merchant_id = 2", "L9", "L9"),
    "a counter of payouts behind": Damage("UPDATE merchants SET payouts = payouts - 1 WHERE merchant_id = 2", "L9", "L9"),
    "held twice": Damage(post("queued", "available", "held", 1_615, "hold", "a"), "H1", "H1"),
    "held too much": Damage(
        post("created", "available", "held", 1_016, "hold", "hold"), "H1", "H1"
    ),
    "released and settled": Damage(post("paid", "held", "available", 5, "release", "a"), "H2", "H2"),
    "half a release": Damage(post("failed", "available", "held", 5, "hold", "a"), "H2", "H2"),
    "released while an attempt may pay": Damage(post("open", "held", "available", 15, "release", "a"), "H4", "H4"),
    "money in doubt of a payout in flight": Damage(
        post("open", "in_flight:sandbox", "in_doubt:sandbox", 2_000, "doubt", "a"), "H3", "H3"
    ),
    "charged twice": Damage(
        post("frozen paid", "available", "held", 9, "hold", "a") + post("frozen paid", "held", "fees", 9, "fee", "b"),
        "E11", "E11",
    ),
    "suspense without a contradiction": Damage(
        post("paid", "suspense:sandbox", "paid:sandbox", 5, "contradiction", "contradiction-1"), "E11", "E11"
    ),
    "another amount in suspense than was told": Damage(
        post("frozen failed", "suspense:sandbox", "paid:sandbox", 5, "contradiction", "contradiction-1-2"), "E11", "E11"
    ),
    "more paid than was ordered": Damage(
        post("frozen paid", "held", "paid:sandbox", 5, "paid", "a"), "E11", "E11"
    ),
}  # fmt: skip

LIVES = {
    "failed by hand after it was paid": Damage("UPDATE payouts SET state = 'failed' WHERE payout_id = {paid}", "E8", "H5"),
    "paid by hand": Damage("UPDATE payouts SET state = 'paid' WHERE payout_id = {open}", "E5", "H5"),
    "a final payout without an end": Damage("UPDATE payouts SET finished_at = NULL WHERE payout_id = {failed}", "H5", "H5"),
    "a second payout of one reference": Damage(
        "UPDATE payouts SET reference = 'paid' WHERE payout_id = {queued}", "C1", "C1"
    ),
    "a base that names another bucket": Damage(
        "UPDATE payouts SET base = 'b' || substr(base, 2) WHERE payout_id = {created}", "E4", "E4"
    ),
    "another amount than promised": Damage(
        "UPDATE payouts SET amount_minor = amount_minor + 1 WHERE payout_id = {paid}", "E7", "H1"
    ),
    "less came back than before": Damage(
        "UPDATE payouts SET returned_minor = returned_minor - 1 WHERE payout_id = {returned}", "E8", "H2"
    ),
    "a payout made by nobody": Damage("UPDATE payouts SET actor = ' ' WHERE payout_id = {paid}", "W1", "W1"),
    "a payout deleted": Damage("DELETE FROM payouts WHERE payout_id = {paid}", "C7", "L8"),
    "a payout number skipped": Damage("UPDATE payouts SET number = 1000 WHERE payout_id = {created}", "E7", "L9"),
    "a second live attempt": Damage("DROP INDEX one_live_attempt;" + SECOND, "E1", "E1"),
    "a new attempt without proof about the last": Damage(
        "DROP INDEX one_live_attempt;" + end("open", "rejected") + SECOND, "E3", "E5"
    ),
    "an attempt that was born open": Damage(
        """DROP INDEX one_live_attempt;
           INSERT INTO attempts SELECT shard, payout_id, 2, merchant_id, state, due_at, connector, replace(end_to_end_id, '-1', '-2'),
               request_digest, owner, 1, lease_until, opened_at, NULL, 0, NULL, 0, ask_at FROM attempts WHERE false;
           INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, connector, end_to_end_id, request_digest, owner,
               epoch, lease_until, opened_at, ask_at, actor)
           SELECT shard, payout_id, 2, merchant_id, 'open', due_at, connector, replace(end_to_end_id, '-1', '-2'), request_digest,
               owner, 1, lease_until, opened_at, opened_at, 'doctor' FROM attempts WHERE payout_id = {failed}""",
        "E2", "E1",
    ),
    "a live attempt before the last": Damage(
        "DROP INDEX one_live_attempt; UPDATE attempts SET state = 'settled' WHERE payout_id = {elsewhere} AND number = 1",
        "E1", "E3",
    ),
    "attempts that were not counted": Damage(
        "UPDATE payouts SET attempts = attempts + 1 WHERE payout_id = {failed}", "E3", "E3"
    ),
    "attempts forgotten": Damage("UPDATE payouts SET attempts = attempts - 1 WHERE payout_id = {failed}", "E8", "E3"),
    "a paid payout without its attempt": Damage("DELETE FROM attempts WHERE payout_id = {paid}", "L5", "E1"),
    "an attempt before its payout was executed": Damage(
        SECOND.replace("{open}", "{created}"), "E2", "E2"
    ),
    "a settled attempt brought back": Damage(
        "UPDATE attempts SET state = 'open', ended_at = NULL, ask_at = 'epoch' WHERE payout_id = {paid}", "E8", "E1"
    ),
    "settled straight from due": Damage(
        """UPDATE attempts SET state = 'settled', ended_at = 'epoch', connector = 'sandbox', end_to_end_id = 'x', owner = 'doctor',
               request_digest = '\\x00', lease_until = 'epoch', opened_at = 'epoch' WHERE payout_id = {queued}""",
        "E8", "E2",
    ),
    "an end-to-end id of another base": Damage(
        "UPDATE attempts SET end_to_end_id = 'x' || end_to_end_id WHERE payout_id = {open}", "E4", "E4"
    ),
    "an intent whose request is not known": Damage(
        "UPDATE attempts SET request_digest = '' WHERE payout_id = {open}", "E10", "E2"
    ),
    "half an intent": Damage(
        "ALTER TABLE attempts DROP CONSTRAINT an_intent_is_whole; UPDATE attempts SET lease_until = NULL WHERE payout_id = {open}",
        "E10", "E2",
    ),
    "a route under another merchant": Damage(
        """INSERT INTO routings (shard, payout_id, number, merchant_id, decision, since, at)
           VALUES (0, {paid}, 1, 2, '', 'epoch', 'epoch')""",
        "S3", "S3",
    ),
    "a payout that came without an event": Damage(
        """UPDATE merchants SET payouts = payouts + 1 WHERE merchant_id = 3;
           INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, base, fingerprint, rail, currency, amount_minor,
               fee_minor, amount_text, display, destination_digest, sealed, state, attempts, created_at, expires_at, updated_at,
               first_event, last_event, actor)
           SELECT 0, '00000000-0000-7000-8000-000000000001', 3, 1, 'own', translate(base, 'bcdefg', 'cdefgb'), '', 'card', 'RUB', 1,
               0, '', '', '', '', 'created', 0, 'epoch', 'epoch', 'epoch', 1, 1, 'doctor' FROM payouts WHERE payout_id = {paid};
           INSERT INTO expiries VALUES (0, '00000000-0000-7000-8000-000000000001', 3, 'epoch')""",
        "W1", "W1",
    ),
    "an epoch that went down": Damage("UPDATE attempts SET epoch = epoch - 1 WHERE payout_id = {open}", "E10", "E2"),
    "an epoch that was skipped": Damage(
        """UPDATE attempts SET state = 'open', ask_at = 'epoch', connector = 'sandbox', owner = 'doctor', epoch = 2,
               end_to_end_id = (SELECT base FROM payouts WHERE payout_id = {queued}) || '-1', request_digest = sha256('x'),
               lease_until = 'epoch', opened_at = 'epoch' WHERE payout_id = {queued}""",
        "E10", "E1",
    ),
    "an open attempt taken over": Damage("UPDATE attempts SET owner = 'another' WHERE payout_id = {open}", "E10", None),
    "another provider's reference": Damage(
        "UPDATE attempts SET provider_reference = 'another' WHERE payout_id = {accepted}", "E4", None
    ),
    "an attempt of another merchant": Damage("UPDATE attempts SET merchant_id = 2 WHERE payout_id = {queued}", "S3", "S3"),
    "an attempt of no payout": Damage(
        """INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, actor)
           VALUES (0, '00000000-0000-7000-8000-000000000001', 1, 1, 'due', 'epoch', 'doctor')""",
        "S3", "S3",
    ),
    "an attempt made by nobody": Damage("UPDATE attempts SET actor = '' WHERE payout_id = {queued}", "W1", "W1"),
    "a forgotten question": Damage("UPDATE attempts SET ask_at = NULL WHERE payout_id = {doubt}", "E15", "E15"),
    "a doubt without a beginning": Damage("UPDATE attempts SET doubt_since = NULL WHERE payout_id = {doubt}", "E15", "E15"),
    "an ended attempt without an end": Damage("UPDATE attempts SET ended_at = NULL WHERE payout_id = {paid}", "E15", "E15"),
    "given up unsent and still queued": Damage(end("queued", "not_sent"), "E3", "E3"),
    "cancelled after it was opened": Damage(
        "UPDATE payouts SET state = 'cancelled' WHERE payout_id = {open}", "E13", "E13"
    ),
    "expired after it was executed": Damage(
        "UPDATE payouts SET state = 'expired' WHERE payout_id = {cancelled held}", "H6", "H6"
    ),
    "off the sweeper's list": Damage("DELETE FROM expiries WHERE payout_id = {created}", None, "H6"),
    "failed without a refusal": Damage(
        "UPDATE attempts SET state = 'not_sent' WHERE payout_id = {failed}", "E8", "E5"
    ),
}  # fmt: skip

SAID = {
    "a time-out taken for a failure": Damage(say("doubt", "inquiry", "Unknown") + end("doubt", "rejected"), "E5", "E5"),
    "a lapsed lease taken for a failure": Damage(say("doubt", "lease", "Rejected") + end("doubt", "rejected"), "E5", "E5"),
    "not sent, as an inquiry would have it": Damage(say("open", "inquiry", "NotSent") + end("open", "not_sent"), "E5", "E5"),
    "unsent, and an operation was made for it": Damage(
        say("open", "answer", "Made") + say("open", "answer", "NotSent").replace("'\\x01'", "'\\x02'") + end("open", "not_sent"), "E3", "E3"
    ),
    "not found once": Damage(say("open", "inquiry", "NotFound") + end("open", "not_sent"), "E5", "E5"),
    "absent by another provider": Damage(
        say("open", "inquiry", "Absent").replace("connector, 'inquiry'", "'second', 'inquiry'") + end("open", "not_sent"),
        "E5", "E5",
    ),
    "outcome in another commit than its proof": Damage(
        """UPDATE attempts SET state = 'accepted', doubt_since = NULL WHERE payout_id = {heard again};
           UPDATE attempts SET state = 'accepted', doubt_since = NULL WHERE payout_id = {doubt}""",
        "E5", "E3",
    ),
    "evidence deleted": Damage("DELETE FROM evidence WHERE payout_id = {paid}", "L5", "E3"),
    "evidence rewritten": Damage("UPDATE evidence SET verdict = 'Unknown' WHERE payout_id = {failed}", "L5", "E5"),
    "evidence under another attempt": Damage(
        say("paid", "callback", "Settled").replace("0, end_to_end_id", "0, 'x' || end_to_end_id"), "E7", "E7"
    ),
    "a stray message that changed something": Damage(
        """INSERT INTO evidence (shard, end_to_end_id, digest, connector, kind, verdict, detail, effect, heard_at, actor)
           VALUES (0, 'x', 'x', 'sandbox', 'callback', 'Settled', '', 'paid', 'epoch', 'doctor')""",
        "E7", "E7",
    ),
    "an operation that its attempt does not know": Damage(say("paid", "answer", "Made"), "E2", "E2"),
    "a message that nobody heard": Damage(
        say("paid", "callback", "Settled").replace("'doctor'", "''"), "W1", "W1"
    ),
    "a late success that nobody minds": Damage(say("failed", "callback", "Settled"), "E11", "E11"),
    "thawed by hand": Damage("UPDATE payouts SET frozen = NULL WHERE payout_id = {frozen failed}", "E11", "E11"),
    "frozen for nothing": Damage("UPDATE payouts SET frozen = 'x' WHERE payout_id = {queued}", "E11", "E11"),
    "a frozen payout sent": Damage(
        """UPDATE attempts SET state = 'open', ask_at = 'epoch', connector = 'sandbox', owner = 'doctor', epoch = 1,
               end_to_end_id = (SELECT base FROM payouts WHERE payout_id = {frozen queued}) || '-2',
               request_digest = sha256('x'), lease_until = 'epoch', opened_at = 'epoch'
           WHERE payout_id = {frozen queued} AND number = 2""",
        "E11", "E1",
    ),
    "money of a frozen payout moved": Damage(
        post("frozen in flight", "in_flight:sandbox", "paid:sandbox", 6_004, "paid", "end"), "E11", "H3"
    ),
    "money that came back unsaid": Damage(
        "UPDATE payouts SET returned_minor = returned_minor + 1 WHERE payout_id = {returned in parts}", "E5", "H2"
    ),
    "answered by who asked": Damage(
        "UPDATE decisions SET actor = 'operator:1'", "A1", "A1"
    ),
    "ended by one person": Damage("DELETE FROM decisions", "L5", "A1"),
    "two not-founds, the second first": Damage(
        """UPDATE evidence SET clock_at = clock_at + interval '1 h'
           WHERE payout_id = {not found twice} AND verdict = 'NotFound' AND effect = 'nothing'""",
        "L5", "E5",
    ),
    "covered without persons": Damage(
        "UPDATE evidence SET kind = 'callback' WHERE kind = 'person' AND payout_id = {covered}", "L5", "A1"
    ),
    "a message by persons that nobody agreed to": Damage(say("paid", "person", "VouchedPaid"), "A1", "A1"),
    "taken out by one person": Damage(
        "UPDATE decisions d SET verdict = 'refused' FROM requests r WHERE r.request_id = d.request_id AND r.kind = 'withdraw'",
        "L5", "A1",
    ),
}  # fmt: skip

TOLD = {
    "an event rewritten": Damage(
        "UPDATE events SET state = 'created' WHERE payout_id = {accepted} AND kind = 'payout.in_flight'", "L5", "E8"
    ),
    "an event deleted": Damage("DELETE FROM events WHERE payout_id = {paid by two} AND state = 'queued'", "L5", "W1"),
    "an event number skipped": Damage(tell("paid by two", "payout.frozen", "paid", by=2), "W1", "W1"),
    "an event by nobody": Damage(tell("queued", "payout.accepted", "queued", actor=" "), "W1", "W1"),
    "an event after the end": Damage(tell("paid by two", "payout.queued", "queued"), "W5", "W5"),
    "an event that names another state than its kind": Damage(tell("open", "payout.in_doubt", "paid"), "E8", "E8"),
    "a step that there is not": Damage(tell("created", "payout.in_flight", "in_flight"), "E8", "E8"),
    "a state without its event": Damage("UPDATE payouts SET state = 'in_doubt' WHERE payout_id = {open}", "W1", "H5"),
    "events that the payout does not know": Damage(
        "UPDATE payouts SET last_event = last_event - 1 WHERE payout_id = {paid}", "W1", "W1"
    ),
    "a withdrawal that left twice": Damage(
        """INSERT INTO requests SELECT (jsonb_populate_record(r, '{"request_id": "$ID", "origin_id": "$ID"}')).* FROM requests r
               WHERE r.kind = 'withdraw';
           UPDATE merchants SET postings = postings + 1 WHERE merchant_id = 3;
           INSERT INTO postings SELECT (jsonb_populate_record(p, jsonb_build_object('number', m.postings, 'origin_id', '$ID'))).*
               FROM postings p JOIN merchants m USING (shard, merchant_id) WHERE p.reason = 'withdrawal'
        """.replace("$ID", "00000000-0000-7000-8000-000000000009"),
        "C1", "C1",
    ),
    "a mismatch told by no event": Damage(
        "INSERT INTO mismatches VALUES (0, {queued}, 'x', 'epoch')", "C3", "C3"
    ),
    "a mismatch deleted": Damage("DELETE FROM mismatches WHERE payout_id = {queued}", "L5", "C3"),
    "a row of nobody's events": Damage(
        tell("paid by two", "payout.accepted", "paid").replace("{paid by two}", "'00000000-0000-7000-8000-000000000001'", 1),
        "S3", "S3",
    ),
}  # fmt: skip

LOCKS = {
    "the index of live attempts dropped": Damage("DROP INDEX one_live_attempt", None, "E1"),
    "the index of live attempts narrowed": Damage(
        """DROP INDEX one_live_attempt; CREATE UNIQUE INDEX one_live_attempt ON attempts (shard, payout_id)
           WHERE state NOT IN ('rejected', 'not_sent', 'settled')""",
        None, "E1",
    ),
    "a reference that may have two payouts": Damage(
        "ALTER TABLE payouts DROP CONSTRAINT one_payout_a_reference", None, "C1"
    ),
    "postings that may come twice": Damage("ALTER TABLE postings DROP CONSTRAINT posted_once", None, "L7"),
    "keys that may be used twice": Damage("ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey", None, "C4"),
    "requests that may be answered twice": Damage("ALTER TABLE decisions DROP CONSTRAINT decisions_pkey", None, "A1"),
    "evidence that may come twice": Damage("ALTER TABLE evidence DROP CONSTRAINT evidence_pkey", None, "W4"),
    "balances that may fall below zero": Damage("ALTER TABLE balances DROP CONSTRAINT no_overdraft", None, "L4"),
    "postings of nothing allowed": Damage(
        "ALTER TABLE postings DROP CONSTRAINT postings_amount_minor_check", None, "L6"
    ),
    "a trigger between": Damage(
        """CREATE FUNCTION skim() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
           CREATE TRIGGER skim BEFORE INSERT ON postings FOR EACH ROW EXECUTE FUNCTION skim()""",
        None, "L5",
    ),
    "a rule between": Damage("CREATE RULE skim AS ON DELETE TO tokens DO INSTEAD NOTHING", None, "L5"),
    "acts that need no actor": Damage(
        "ALTER TABLE postings ALTER COLUMN actor DROP NOT NULL;"
        + post("queued", "available", "held", 5, "hold", "a").replace("'doctor'", "NULL"),
        "W1", "W1",
    ),
    "postings that may be rewritten": Damage("GRANT UPDATE ON postings TO disburse_app", None, "L5"),
    "a column of evidence that may be rewritten": Damage(
        "GRANT UPDATE (effect) ON evidence TO disburse_app", None, "L5"
    ),
    "money in fractions": Damage("ALTER TABLE top_ups ADD COLUMN exact_amount numeric(18, 2)", None, "L6"),
    "money in a shorter type": Damage("ALTER TABLE top_ups ALTER COLUMN amount_minor TYPE integer", None, "L6"),
}  # fmt: skip

DAMAGES: dict[str, Damage] = {**MONEY, **LIVES, **SAID, **TOLD, **LOCKS}
