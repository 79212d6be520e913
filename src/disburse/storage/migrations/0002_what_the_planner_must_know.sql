-- Plans are made once a connection and kept, perhaps on empty tables. Of an empty table PostgreSQL guesses that `shard = $1`
-- leaves one row in two hundred; in truth it leaves all of them, and a plan that walks a whole bucket for each batch looks
-- cheap. So each table is shown a few rows of one bucket, measured, and emptied again: what was measured stays.

INSERT INTO merchants (shard, merchant_id) SELECT 0, n FROM generate_series(1, 300) AS n;

INSERT INTO payouts (shard, payout_id, merchant_id, number, surface, base, fingerprint, rail, currency, amount_minor, fee_minor,
    amount_text, display, destination_digest, sealed, state, attempts, created_at, expires_at, updated_at, first_event,
    last_event, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), n, n, 'own', n::text, '\x00', 'card', 'RUB', 1, 0, '0.01', '', '\x00', '\x00', 'paid',
    1, 'epoch', 'epoch', 'epoch', n, n, 'migration'
FROM generate_series(1, 300) AS n;

INSERT INTO attempts (shard, payout_id, number, merchant_id, state, due_at, connector, end_to_end_id, request_digest, owner,
    lease_until, opened_at, ask_at, actor)
SELECT 0, uuid_in(md5(n::text)::cstring), 1, n, (ARRAY['due', 'open', 'settled'])[1 + n % 3],
    timestamptz 'epoch' + n * interval '1 s', 'x', n::text, '\x00', 'x', 'epoch', 'epoch',
    timestamptz 'epoch' + n * interval '1 s', 'migration'
FROM generate_series(1, 300) AS n;

INSERT INTO postings (shard, merchant_id, number, origin_id, phase, currency, source, destination, amount_minor, reason, at, actor)
SELECT 0, n, 1, uuid_in(md5(n::text)::cstring), 'hold', 'RUB', 'available', 'held', 1, 'hold', 'epoch', 'migration'
FROM generate_series(1, 300) AS n;

INSERT INTO balances (shard, merchant_id, currency, account) SELECT 0, n, 'RUB', 'held' FROM generate_series(1, 300) AS n;

INSERT INTO events (shard, merchant_id, number, kind, at, actor) SELECT 0, n, 1, 'x', 'epoch', 'migration'
FROM generate_series(1, 300) AS n;

INSERT INTO evidence (shard, end_to_end_id, digest, connector, kind, verdict, detail, effect, heard_at, actor)
SELECT 0, n::text, '\x00', 'x', 'answer', 'x', 'x', 'x', 'epoch', 'migration' FROM generate_series(1, 300) AS n;

INSERT INTO expiries (shard, payout_id, merchant_id, expires_at)
SELECT 0, uuid_in(md5(n::text)::cstring), n, 'epoch' FROM generate_series(1, 300) AS n;

INSERT INTO mismatches (shard, payout_id, fingerprint, at)
SELECT 0, uuid_in(md5(n::text)::cstring), '\x00', 'epoch' FROM generate_series(1, 300) AS n;

INSERT INTO top_ups (shard, merchant_id, reference, top_up_id, currency, amount_minor, at, actor)
SELECT 0, n, n::text, uuid_in(md5(n::text)::cstring), 'RUB', 1, 'epoch', 'migration' FROM generate_series(1, 300) AS n;

ANALYZE merchants, payouts, attempts, postings, balances, events, evidence, expiries, mismatches, top_ups;

TRUNCATE merchants, payouts, attempts, postings, balances, events, evidence, expiries, mismatches, top_ups;
