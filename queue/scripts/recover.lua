#!lua flags=allow-oom
-- Ends an attempt of which no fact ever came. Fenced by the lease, the attempt's
-- id and the record's revision.
-- KEYS 1 lease 2 message 3 inflight 4 queue 5 due 6 out 7 stat
-- ARGV 1 owner 2 epoch 3 member 4 delivery number 5 attempt 6 expected revision
--      7 record 8 due ('': held) 9 lane 10 event
local lease = call('HMGET', KEYS[1], 'o', 'e')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return {'STALE'} end
if call('HGET', KEYS[3], ARGV[3]) ~= ARGV[5] then return {'GONE'} end
local rec = call('HGET', KEYS[2], 'd' .. ARGV[4])
if not rec or finished(rec) then
  call('HDEL', KEYS[3], ARGV[3])
  return {'GONE'}
end
if revision(rec) ~= ARGV[6] then return {'CHANGED'} end
call('HDEL', KEYS[3], ARGV[3])
call('HSET', KEYS[2], 'd' .. ARGV[4], ARGV[7])
if ARGV[8] ~= '' then schedule(KEYS[4], KEYS[5], KEYS[7], ARGV[9], ARGV[3], ARGV[8]) end
return {'OK', call('XADD', KEYS[6], '*', 'e', ARGV[10])}
