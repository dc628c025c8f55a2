#!lua flags=allow-oom
-- Moves a delivery from the schedule to inflight. Fenced by the lease, the
-- record's revision and the schedule itself. Sending it again is harmless.
-- KEYS 1 lease 2 queue 3 due 4 inflight 5 message 6 stat 7 lanes
-- ARGV 1 owner 2 epoch 3 member 4 lane 5 delivery field 6 revision 7 attempt
local lease = call('HMGET', KEYS[1], 'o', 'e')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 'STALE' end
local now = call('HGET', KEYS[4], ARGV[3])
if now == ARGV[7] then return 'OK' end
local rec = call('HGET', KEYS[5], ARGV[5])
if now or not rec or revision(rec) ~= ARGV[6] then return 'STALE' end
if not call('ZSCORE', KEYS[2], ARGV[3]) then return 'STALE' end
call('HSET', KEYS[4], ARGV[3], ARGV[7])
unschedule({due = KEYS[3], lanes = KEYS[7], stat = KEYS[6]}, KEYS[2], ARGV[4], ARGV[3])
return 'OK'
