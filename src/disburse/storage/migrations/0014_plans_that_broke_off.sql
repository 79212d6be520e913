-- A registry whose planning broke off leaves rows that nobody can ever apply. They may be forgotten, and they alone.

-- While a registry is planned, `lease_until` says until when that is believed to go on, by the database's clock. `forgotten`: of a registry
-- that never had a plan no row is left.
ALTER TABLE registries ADD COLUMN forgotten boolean NOT NULL DEFAULT false;
CREATE INDEX registries_without_plan ON registries (shard, registry_id) WHERE digest IS NULL AND NOT forgotten;

-- The program may not delete rows of registries, for these are what persons agreed to. It may ask the owner to, and the owner looks first:
-- a registry that is cancelled and never had a plan has nothing that anybody could agree to. Returns how many rows are gone.
CREATE FUNCTION forget_unplanned(of_shard smallint, of_registry uuid, most integer) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = disburse, pg_temp AS $$
    WITH gone AS (
        DELETE FROM registry_rows WHERE shard = of_shard AND registry_id = of_registry AND number = ANY (ARRAY(
            SELECT number FROM registry_rows WHERE shard = of_shard AND registry_id = of_registry ORDER BY number LIMIT most))
        AND EXISTS (SELECT FROM registries WHERE shard = of_shard AND registry_id = of_registry AND state = 'cancelled' AND digest IS NULL)
        RETURNING number, payout_id),
    names AS (
        DELETE FROM duplicate_names WHERE shard = of_shard AND payout_id = ANY (ARRAY(SELECT payout_id FROM gone WHERE payout_id IS NOT NULL))),
    pieces AS (
        DELETE FROM registry_chunks WHERE shard = of_shard AND registry_id = of_registry AND last_row <= (SELECT max(number) FROM gone))
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_unplanned FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_unplanned TO disburse_app;
