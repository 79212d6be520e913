-- The duplicate guard found "the newest at this destination that say exactly the same" by walking all payouts to that destination: where one card or
-- account is paid a hundred thousand times in two months, planning a registry timed out. And numbers, which are not keyed, by walking other merchants'.
CREATE INDEX duplicate_traces_by_debt ON duplicate_traces (shard, place, number, detail, at) WHERE number <> 0 OR detail <> 0;
DROP INDEX duplicate_traces_by_number;
CREATE INDEX duplicate_traces_by_number ON duplicate_traces (shard, merchant_id, number, at) WHERE number <> 0;
