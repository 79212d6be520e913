"""What the database enforces by itself, read from its catalogue: grants, types, unique indexes, checks. SQL only.

A database that was doctored may have lost the very constraint that made a breach impossible, so the constraints are checked
like the rows are. May not live here: anything that reads money.
"""

from __future__ import annotations

from disburse.storage.verify_check import Check

_APPEND_ONLY = """('postings', 'events', 'evidence', 'requests', 'decisions', 'provider_operations', 'idempotency_keys',
    'limit_uses', 'approval_needs', 'approvals', 'registry_rows', 'registry_fates', 'payout_payees')"""

_TABLES = f"""SELECT c.oid, c.relname::text AS name,
        c.relname IN {_APPEND_ONLY} OR EXISTS (
            SELECT FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
            WHERE i.inhrelid = c.oid AND parent.relname IN {_APPEND_ONLY}) AS append_only
    FROM pg_class c WHERE c.relnamespace = 'disburse'::regnamespace AND c.relkind IN ('r', 'p')"""

# Name of the index, its table, its columns in order, the rows it covers (as PostgreSQL writes it; none: all).
_UNIQUE = """VALUES
    ('one_live_attempt', 'attempts', 'shard payout_id', '(state <> ALL (ARRAY[''rejected''::text, ''not_sent''::text]))'),
    ('posted_once', 'postings', 'shard origin_id phase', NULL),
    ('one_payout_a_reference', 'payouts', 'shard base', NULL),
    ('merchants_pkey', 'merchants', 'shard merchant_id', NULL),
    ('payouts_pkey', 'payouts', 'shard payout_id', NULL),
    ('attempts_pkey', 'attempts', 'shard payout_id number', NULL),
    ('postings_pkey', 'postings', 'shard merchant_id number', NULL),
    ('balances_pkey', 'balances', 'shard merchant_id currency account', NULL),
    ('top_ups_pkey', 'top_ups', 'shard merchant_id reference', NULL),
    ('events_pkey', 'events', 'shard merchant_id number', NULL),
    ('evidence_pkey', 'evidence', 'shard end_to_end_id digest', NULL),
    ('requests_pkey', 'requests', 'shard request_id', NULL),
    ('decisions_pkey', 'decisions', 'shard request_id', NULL),
    ('provider_operations_pkey', 'provider_operations', 'connector reference', NULL),
    ('idempotency_keys_pkey', 'idempotency_keys', 'shard merchant_id key_digest', NULL),
    ('api_keys_pkey', 'api_keys', 'shard key_id', NULL),
    ('payees_pkey', 'payees', 'shard payee_id', NULL),
    ('one_payee_a_reference', 'payees', 'shard merchant_id reference', NULL),
    ('payee_destinations_pkey', 'payee_destinations', 'shard payee_id number', NULL),
    ('payout_payees_pkey', 'payout_payees', 'shard payout_id', NULL),
    ('registries_pkey', 'registries', 'shard registry_id', NULL),
    ('registry_rows_pkey', 'registry_rows', 'shard registry_id number', NULL),
    ('one_row_a_payout', 'registry_rows', 'shard registry_id base', NULL),
    ('registry_chunks_pkey', 'registry_chunks', 'shard registry_id chunk', NULL),
    ('registry_fates_pkey', 'registry_fates', 'shard registry_id number', NULL),
    ('one_registry_a_content', 'registries', 'shard merchant_id content',
     '((NOT again) AND (NOT repeats) AND (state = ANY (ARRAY[''awaiting_approval''::text, ''approved''::text, ''executing''::text, ''completed''::text, ''completed_with_errors''::text])))'),
    ('expiries_pkey', 'expiries', 'shard payout_id', NULL),
    ('mismatches_pkey', 'mismatches', 'shard payout_id fingerprint', NULL),
    ('schedules_pkey', 'schedules', 'shard payout_id', NULL),
    ('unfunded_pkey', 'unfunded', 'shard merchant_id number', NULL),
    ('limit_uses_pkey', 'limit_uses', 'shard payout_id', NULL),
    ('limit_counters_pkey', 'limit_counters', 'shard merchant_id currency period starts_on scope', NULL),
    ('approval_needs_pkey', 'approval_needs', 'shard subject_id digest', NULL),
    ('approvals_pkey', 'approvals', 'shard subject_id digest actor', NULL)"""

# Name of the constraint, its table, a phrase of ours that it must contain.
_CHECKED = """VALUES
    ('no_overdraft', 'balances', 'balance_minor >= 0'),
    ('an_intent_is_whole', 'attempts', 'request_digest IS NOT NULL'),
    ('postings_check', 'postings', 'destination <> source'),
    ('postings_amount_minor_check', 'postings', 'amount_minor >= 1'),
    ('payouts_amount_minor_check', 'payouts', 'amount_minor >= 1'),
    ('payouts_fee_minor_check', 'payouts', 'fee_minor >= 0'),
    ('payouts_check', 'payouts', 'returned_minor <= amount_minor'),
    ('payouts_state_check', 'payouts', 'in_doubt'),
    ('attempts_state_check', 'attempts', 'not_sent'),
    ('a_request_is_whole', 'requests', 'seen_event IS NOT NULL'),
    ('a_plan_is_whole', 'registries', 'rows_digest IS NULL'),
    ('rows_add_up', 'registries', 'given_up'),
    ('a_row_is_whole', 'registry_rows', 'num_nulls(fingerprint'),
    ('a_fate_is_whole', 'registry_fates', 'refused'),
    ('a_key_has_one_answer', 'idempotency_keys', 'num_nonnulls(payout_id, subject_id, refusal) = 1')"""

# What every row that tells of an act must name.
_ACTORS = """('payouts', 'attempts', 'postings', 'top_ups', 'events', 'evidence', 'requests', 'decisions', 'merchant_settings',
    'operators', 'provider_operations', 'idempotency_keys', 'approval_needs', 'approvals', 'webhooks', 'api_keys', 'payees',
    'payee_destinations', 'registries', 'registry_fates')"""

SCHEMA = (
    Check(
        "L5 books and events are append-only",
        "The program's role can neither change nor remove postings, events, evidence, requests, decisions, approvals, whose operations are, "
        "what keys came to, what registries say, whom payouts are for and what of limits is used, nor become a role that can.",
        f"""SELECT name AS "table", privilege AS granted
            FROM ({_TABLES}) AS tables CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
            WHERE append_only AND (has_table_privilege('disburse_app', oid, privilege)
                OR (privilege = 'UPDATE' AND has_any_column_privilege('disburse_app', oid, privilege)))
            UNION ALL
            SELECT 'every table', 'membership of ' || rolname FROM pg_roles
            WHERE rolname <> 'disburse_app' AND pg_has_role('disburse_app', oid, 'MEMBER')
              AND (rolsuper OR rolname = 'disburse_owner')
            UNION ALL
            SELECT 'every table', 'superuser' FROM pg_roles WHERE rolname = 'disburse_app' AND rolsuper""",
    ),
    Check(
        "L5 no trigger or rule stands between",
        "What is written is what is stored: no trigger and no rewrite rule is on any table, and the one function removes only rows of registries that never had a plan.",
        f"""SELECT name AS "table", tgname::text AS found FROM pg_trigger t JOIN ({_TABLES}) AS tables ON tables.oid = t.tgrelid
            WHERE NOT t.tgisinternal
            UNION ALL
            SELECT name, rulename::text FROM pg_rewrite r JOIN ({_TABLES}) AS tables ON tables.oid = r.ev_class
            UNION ALL
            SELECT 'every table', proname::text FROM pg_proc WHERE pronamespace = 'disburse'::regnamespace
              AND (proname <> 'forget_unplanned' OR strpos(prosrc, 'AND state = ''cancelled'' AND digest IS NULL)') = 0)""",
    ),
    Check(
        "L6 amounts are whole numbers",
        "No column is numeric, float or money, and every amount is a bigint of minor units.",
        """SELECT c.relname::text AS "table", a.attname::text AS "column", format_type(a.atttypid, a.atttypmod) AS type
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type inner_type
             ON inner_type.oid IN (nullif(t.typelem, 0), nullif(t.typbasetype, 0))
           WHERE c.relnamespace = 'disburse'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
             AND (t.typname IN ('numeric', 'float4', 'float8', 'money')
                  OR inner_type.typname IN ('numeric', 'float4', 'float8', 'money')
                  OR (a.attname LIKE '%\\_minor' AND t.typname <> 'int8'))""",
    ),
    Check(
        "L7 unique indexes stand",
        "The unique indexes that make a second payout, attempt, posting, owner of an operation or answer of a key impossible are there, valid, and cover what they must.",
        f"""SELECT must.name AS "index", must.tab AS "table" FROM ({_UNIQUE}) AS must (name, tab, columns, rows)
            WHERE NOT EXISTS (
                SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indrelid = to_regclass('disburse.' || must.tab) AND c.relname = must.name
                  AND i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate
                  AND pg_get_expr(i.indpred, i.indrelid) IS NOT DISTINCT FROM must.rows
                  AND must.columns = (
                      SELECT string_agg(a.attname, ' ' ORDER BY place) FROM unnest(i.indkey) WITH ORDINALITY AS key (number, place)
                      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.number))""",
    ),
    Check(
        "L4 check constraints stand",
        "The constraints that refuse an overdraft, half an intent and an impossible amount are there and were validated.",
        f"""SELECT must.name AS "constraint", must.tab AS "table" FROM ({_CHECKED}) AS must (name, tab, phrase)
            WHERE NOT EXISTS (
                SELECT FROM pg_constraint c
                WHERE c.conrelid = to_regclass('disburse.' || must.tab) AND c.conname = must.name AND c.contype = 'c'
                  AND c.convalidated AND strpos(pg_get_constraintdef(c.oid), must.phrase) > 0)""",
    ),
    Check(
        "W1 an actor is required",
        "No row that tells of an act can be stored without naming its actor.",
        f"""SELECT c.relname::text AS "table" FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'actor'
            WHERE c.relnamespace = 'disburse'::regnamespace AND c.relname IN {_ACTORS} AND NOT a.attnotnull""",
    ),
)
