-- A worker's heartbeats are counted, and it says on which timeline it has found its own again: whoever was at work through a
-- promotion is the witness that the new primary has all that was acknowledged (decision 13).
ALTER TABLE workers ADD COLUMN beat bigint NOT NULL DEFAULT 0, ADD COLUMN vouches_for integer;

-- A worker that missed its own acknowledged heartbeat says so here: everybody stops until a person has looked.
ALTER TABLE installation ADD COLUMN disputed_by text, ADD COLUMN disputed_at timestamptz;
